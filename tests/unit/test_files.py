"""Atomic writes, digests, locks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from rectory import files
from rectory.errors import BusyError, DataError, UsageError
from rectory.workspace import Workspace, safe_name


def test_a_failed_block_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space left"), files.replacing(target) as scratch:
        scratch.write_text("new")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").touch()
    with files.replacing(target) as scratch:
        scratch.mkdir()
        (scratch / "fresh").touch()
    assert [path.name for path in target.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [target]


def test_scratch_of_a_dead_process_is_swept_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    dead = tmp_path / f".a.json.{pid}-0123abcd.part"
    living = tmp_path / f".a.json.{os.getpid()}-0123abcd.part"
    dead.touch()
    living.touch()
    files.write_json(tmp_path / "a.json", {})
    assert not dead.exists()
    assert living.exists()


def test_full_disk_while_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte as a full disk does."""
    target = tmp_path / "model"
    target.write_bytes(b"champion")
    with pytest.raises(OSError, match="No space left"), files.replacing(target) as scratch:
        scratch.symlink_to("/dev/full")
        with scratch.open("wb", buffering=0) as out:
            out.write(b"challenger")
    assert target.read_bytes() == b"champion"
    assert list(tmp_path.iterdir()) == [target]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    matrix = csr_array(np.eye(3, dtype=np.float32))
    for name in ("one.npz", "two.npz"):
        files.write_sparse(tmp_path / name, matrix)
    assert files.sha256_file(tmp_path / "one.npz") == files.sha256_file(tmp_path / "two.npz")
    assert (files.read_sparse(tmp_path / "one.npz") != matrix).nnz == 0


def test_truncated_parquet_is_a_data_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    files.write_parquet(pd.DataFrame({"a": range(1000)}), path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"a\.parquet"):
        files.read_parquet(path)


def test_a_held_lock_is_busy_and_says_what_to_do(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "run.lock"
    held, second = files.exclusive(lock, "first"), files.exclusive(lock, "second", timeout_seconds=0)
    with held, pytest.raises(BusyError, match="Wait for it"), second:
        pass
    with files.exclusive(lock, "third", timeout_seconds=0):
        pass


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 101, "x\n", "a..b"])
def test_no_name_from_outside_becomes_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="file name"):
        safe_name(name, "candidate")
    with pytest.raises(UsageError):
        Workspace().model(name)
