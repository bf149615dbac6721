"""LightGBM without scikit-learn, which it imports first if it is there and which nobody here asks it for.

The ranker uses boosters alone. On two cores scikit-learn is most of the second that `import lightgbm` takes, in every
process that fits or asks a blend, `rectory recommend` among them.
"""

from __future__ import annotations

import importlib
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from types import ModuleType

# On ARM a process must load scikit-learn's OpenMP before LightGBM's: LightGBM issue 6509.
_MAY_HIDE = platform.machine() in ("x86_64", "AMD64") or sys.platform == "darwin"


def import_lightgbm() -> ModuleType:
    """The module lightgbm. The wrappers for scikit-learn in it work only if that was imported before."""
    if not _MAY_HIDE or "lightgbm" in sys.modules:
        return importlib.import_module("lightgbm")
    with hidden("sklearn"):
        return importlib.import_module("lightgbm")


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """To this thread the module is not installed, for the block; others may import it meanwhile."""
    finder = _Absent(module, threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@dataclass(frozen=True)
class _Absent(MetaPathFinder):
    module: str
    thread: int

    def find_spec(self, fullname: str, *_: object) -> None:
        """
        Raises:
            ModuleNotFoundError: it is the module, and this the thread.
        """
        if fullname == self.module and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"{fullname} is hidden from this thread", name=fullname)
