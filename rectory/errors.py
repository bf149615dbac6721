"""Everything that Rectory raises on purpose.

    RectoryError                 exit 1  something failed; the text says what, where and what to do
    |-- UsageError               exit 2  wrong use: an argument, a params key, a card key
    |   |-- ParamsError                  params.yaml does not parse or breaks a limit
    |   `-- CardError                    a data card does not parse or breaks a limit
    |-- DataError                exit 3  the data was refused
    |   |-- FetchError                   the source could not be reached or is not what was pinned
    |   `-- CapacityError                the data would not fit into memory
    |-- GateRefused              exit 4  no challenger passed (only with --require-promotion)
    |-- StoreError               exit 1  the model store is locked, unreachable or inconsistent
    |-- DiskError                exit 1  no room, no right or no luck when writing a file; also an OSError
    `-- BusyError                exit 1  another run holds the lock

Each text is one paragraph that carries its cure. The command line prints it without a traceback.
"""

from __future__ import annotations


class RectoryError(Exception):
    """Base of all errors that carry a message for a person."""

    exit_code = 1


class UsageError(RectoryError):
    """Wrong use: the caller can mend the call."""

    exit_code = 2


class ParamsError(UsageError):
    """params.yaml does not parse or breaks a limit."""


class CardError(UsageError):
    """A data card does not parse or breaks a limit."""


class DataError(RectoryError):
    """The data was refused; nothing was trained on it."""

    exit_code = 3


class FetchError(DataError):
    """The source could not be reached or is not what the card pins."""


class CapacityError(DataError):
    """The data would not fit into this machine's memory."""


class GateRefused(RectoryError):
    """No challenger passed the gate and the caller had asked that one must."""

    exit_code = 4


class StoreError(RectoryError):
    """The model store is locked, unreachable or inconsistent."""


class DiskError(RectoryError, OSError):
    """A file could not be written: the disk is full, read-only or broken."""


class BusyError(RectoryError):
    """Another run holds the lock."""
