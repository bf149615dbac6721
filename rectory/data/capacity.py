"""Would a table fit into memory? Estimated from what is known before it is read."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rectory.errors import CapacityError

# Measured by benchmarks/scale.py. A text cell costs about 40 bytes: a code of four, and seventy for each distinct text
# (few users, nearly as many moments as rows). Any other cell 8. Validation holds the raw and the canonical table at
# once: hence twice.
_TEXT_BYTES = 40
_OTHER_BYTES = 8
_COPIES = 2
_SAMPLE_BYTES = 8 << 20


@dataclass(frozen=True)
class Size:
    """What is known of a table before it is read."""

    rows: int
    text_columns: int
    other_columns: int

    @property
    def memory_bytes(self) -> int:
        """Bytes that fetch and validate will need for it."""
        return _COPIES * self.rows * (_TEXT_BYTES * self.text_columns + _OTHER_BYTES * self.other_columns)


@dataclass(frozen=True)
class Room:
    """Memory that a fetch may use: at most `max_share` of `free_bytes`."""

    max_share: float
    free_bytes: int

    @property
    def allowed_bytes(self) -> float:
        return self.max_share * self.free_bytes


def free_memory() -> int:
    """Bytes that this process can still take."""
    import psutil

    return int(psutil.virtual_memory().available)


def require_memory(sizes: dict[str, Size], room: Room, where: str) -> None:
    """Refuse tables that would not fit, before they are read.

    Raises:
        CapacityError: their estimate is above what the room allows; names both and each table's rows.
    """
    needed = sum(size.memory_bytes for size in sizes.values())
    if needed <= room.allowed_bytes:
        return
    rows = ", ".join(f"{table}: about {size.rows:,} rows" for table, size in sizes.items())
    raise CapacityError(
        f"{where}: reading it would need about {needed / 2**30:.1f} GiB of memory ({rows}), and fetch.max_memory_share "
        f"{room.max_share:g} of the free {room.free_bytes / 2**30:.1f} GiB allows {room.allowed_bytes / 2**30:.1f}. "
        "Narrow the source in the card (a glob or a query with fewer days or columns), use a larger machine, or raise "
        "fetch.max_memory_share in params.yaml."
    )


def estimate_lines(paths: Sequence[Path]) -> int:
    """Lines in text files, from each file's size and the mean length of its first lines."""
    return sum(_estimate_lines(path) for path in paths)


def _estimate_lines(path: Path) -> int:
    size = path.stat().st_size
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
        handle.seek(0)
        if not packed:
            sample, consumed = handle.read(_SAMPLE_BYTES), min(size, _SAMPLE_BYTES)
        else:
            try:
                with gzip.GzipFile(fileobj=handle) as unpacked:
                    sample = unpacked.read(_SAMPLE_BYTES)
                # The unpacker reads ahead in blocks, so small files count whole.
                consumed = min(size, handle.tell())
            except (EOFError, OSError):
                return 0  # damaged: reading it will say so in full
    lines = sample.count(b"\n")
    return round(lines * size / consumed) if consumed else 0
