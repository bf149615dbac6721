"""Reading and writing so that a killed process leaves nothing half-written, and equal content gives equal bytes."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.errors import BusyError, DataError, DiskError

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

    from rectory.arrays import Array

# What the disk is to blame for; a missing file, say, is not among them.
_DISK_FAULTS = {
    errno.ENOSPC: "free some space there (`df -h`; old folders under runs/ can go)",
    errno.EDQUOT: "free some space there or ask for a larger quota",
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`) or write to another disk",
    errno.EROFS: "it is mounted read-only: write elsewhere",
    errno.EACCES: "make it writable for this user",
    errno.EPERM: "make it writable for this user",
    errno.EIO: "the disk is failing: look into the system's log",
}
_SCRATCH = re.compile(r"\.(\d+)-[0-9a-f]{8}\.(?:part|old)$")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a scratch name beside `path`; move it into place when the block ends well, remove it when not.

    The block makes a file or a folder at the scratch name. A folder cannot be replaced in one system call, so the old
    one is first renamed away: the moment without it is two renames long and `path` is never half of anything. What a
    killed process had left beside `path` is removed.

    Raises:
        DiskError: the disk is full, read-only or failing; what was at `path` is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
    except OSError as error:
        raise disk_error(error, path) or error from error
    unique = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    scratch = path.parent / f".{path.name}.{unique}.part"
    old = path.parent / f".{path.name}.{unique}.old"
    try:
        yield scratch
        if path.is_dir() and not path.is_symlink():
            os.replace(path, old)
        os.replace(scratch, path)
    except OSError as error:
        elsewhere = error.filename is not None and str(path.parent) not in str(error.filename)
        if isinstance(error, DiskError) or elsewhere or (told := disk_error(error, path)) is None:
            raise
        raise told from error
    finally:
        _remove(scratch)
        _remove(old)


def disk_error(error: OSError, path: Path | None = None) -> DiskError | None:
    """`error` in words if a disk is to blame for it, else None. path: what was being written, where that is known."""
    if error.errno not in _DISK_FAULTS:
        return None
    what = f"write {path}" if path else f"read or write {error.filename or 'a file'}"
    return DiskError(
        f"could not {what}: {os.strerror(error.errno)}. Nothing half-written was left and what was there before "
        f"is untouched: {_DISK_FAULTS[error.errno]}, then run again."
    )


def _sweep(path: Path) -> None:
    """Remove scratch files of processes that are gone; those of living ones are theirs."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        owner = _SCRATCH.search(left.name)
        if owner and not _alive(int(owner[1])):
            _remove(left)


def scratch_owner_is_gone(path: Path) -> bool:
    """`path` is a scratch name of `replacing`, and the process that made it is no more."""
    owner = _SCRATCH.search(path.name)
    return owner is not None and not _alive(int(owner[1]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def exclusive(lock: Path, what: str, timeout_seconds: float = 600) -> Iterator[None]:
    """Hold `lock` for the block; the operating system frees it if the process dies.

    Raises:
        BusyError: somebody else held it for `timeout_seconds`.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=timeout_seconds)
    except Timeout:
        raise BusyError(
            f"{what}: another process has held {lock} for {timeout_seconds:.0f} s. Wait for it to end, or stop it."
        ) from None
    try:
        yield
    finally:
        held.release()


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value`, keys sorted, floats as they are."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the step that writes it first (see dvc.yaml).") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}). Delete it and run the step that writes it again.") from error


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Atomically write `frame` as zstd parquet, without its index."""
    with replacing(path) as scratch:
        frame.to_parquet(scratch, index=False, compression="zstd", engine="pyarrow")


def read_parquet(path: Path, columns: list[str] | None = None, *, coded: bool = False) -> pd.DataFrame:
    """Read a parquet file, or a folder of them as one table in the order of their names.

    Args:
        coded: text columns of a file become categoricals: four bytes a row and each distinct text once, where Python
            strings take some seventy. Categories are in no order and may have no row.
    Raises:
        DataError: the file is missing, truncated or has not the columns.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        if not path.is_dir():
            return _read_coded(path, columns) if coded else pd.read_parquet(path, columns=columns, engine="pyarrow")
        # A folder's name is no data (`month=5`), and each file knows only its own categories: put in order of the ids.
        frame = pd.read_parquet(path, columns=columns, engine="pyarrow", partitioning=None)
        for name in frame.columns[frame.dtypes == "category"]:
            frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
        return frame
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the step that writes it first (see dvc.yaml).") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({error}). Write it again.") from error


def _read_coded(path: Path, columns: list[str] | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [field.name for field in pq.read_schema(path) if pa.types.is_string(field.type)]
    table = pq.read_table(path, columns=columns, read_dictionary=texts, partitioning=None).unify_dictionaries()
    # Arrow's own memory is given back column by column.
    frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
    return frame


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Atomically write arrays to one npz; equal arrays give equal bytes (numpy stamps 1980 on each member)."""
    import numpy as np

    with replacing(path) as scratch, scratch.open("wb") as handle:
        np.savez(handle, **{name: arrays[name] for name in sorted(arrays)})


def read_arrays(path: Path) -> dict[str, Array]:
    """Read an npz; object arrays are refused, so nothing is ever unpickled."""
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_sparse(path: Path, matrix: csr_array) -> None:
    """Atomically write a csr array."""
    import numpy as np

    write_arrays(
        path,
        {
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "shape": np.asarray(matrix.shape, dtype=np.int64),
        },
    )


def read_sparse(path: Path) -> csr_array:
    """Read what `write_sparse` wrote."""
    from scipy.sparse import csr_array

    part = read_arrays(path)
    rows, columns = (int(size) for size in part["shape"])
    return csr_array((part["data"], part["indices"], part["indptr"]), shape=(rows, columns))


def sha256_file(path: Path) -> str:
    """Hex digest of one file, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """Relative posix path -> sha256 of every file below `folder`, sorted."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
