"""The few things that data versions ask of DVC, run in this process: four times as fast as its command line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEFAULT_REMOTE = "local"


class StorageError(Exception):
    """DVC or what lies below it could not do what was asked."""


class Storage:
    """A DVC repository without git that shares cache and remotes with the project's.

    Args:
        root: its folder; made when it is not there.
        project: folder whose .dvc/config and .dvc/config.local count, if it has them.
    """

    def __init__(self, root: Path, project: Path) -> None:
        self._root = root.resolve()
        self._project = project.resolve()
        self._repo: Any = None
        self._config = self._settings()
        self.remote: str | None = self._config["core"]["remote"]
        self.cache = Path(self._config["cache"]["dir"])

    def __enter__(self) -> Self:
        from dvc.repo import Repo

        with _told():
            if not (self._root / ".dvc" / "config").exists():
                self._initialise()
            # Another process may hold DVC's own lock for a moment (a person typing `dvc` in this folder): wait.
            self._repo = Repo(str(self._root), config=self._config, _wait_for_lock=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._repo.close()
        self._repo = None

    def add(self, folder: Path) -> str:
        """Put a folder's files into the cache.

        Returns:
            `<md5>.dir`; it depends on the names and contents of the files only.
        Raises:
            StorageError: the cache cannot be written.
        """
        with _told(), self._scratch() as scratch:
            # A copy, because `add` may turn the files it is given into read-only links into the cache.
            shutil.copytree(folder, scratch / "tables")
            stages = self._repo.add([str(scratch / "tables")])
            return str(stages[0].outs[0].hash_info.value)

    def push(self, content: str) -> None:
        """Copy a version from the cache to the remote; does nothing when it is there.

        Raises:
            StorageError: the remote cannot be reached or written.
        """
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.transfer import transfer

        with _told():
            # Not `repo.push`: it trusts an index of what was pushed before, so that a remote that has been emptied or
            # replaced would be called complete. Without an index each file is looked for.
            remote = self._repo.cloud.get_remote_odb(None, "push")
            result = transfer(
                self._repo.cache.local, remote, {HashInfo("md5", content)}, dest_index=None, shallow=False
            )
            if result.failed:
                raise StorageError(f"{len(result.failed)} file(s) could not be copied to remote {self.remote!r}")

    @contextlib.contextmanager
    def fetched(self, content: str) -> Iterator[Path]:
        """A folder with a version's files for the length of the block, from the cache or the remote.

        Raises:
            StorageError: neither has all of it.
        """
        with self._scratch() as scratch:
            with _told():
                pointer = scratch / "tables.dvc"
                pointer.write_text(f"outs:\n- md5: {content}\n  hash: md5\n  path: tables\n", encoding="utf-8")
                try:
                    self._repo.checkout([str(pointer)], force=True)
                except Exception:
                    if self.remote is None:
                        raise
                    self._forget_what_was_fetched()
                    self._repo.pull([str(pointer)], force=True)
            yield scratch / "tables"

    def objects(self, content: str) -> dict[str, str]:
        """md5 of each file of a version -> its path in the version; empty when neither cache nor remote has its list.

        Raises:
            StorageError: the remote cannot be reached.
        """
        with _told():
            for store in self._stores():
                path = store.oid_to_path(content)
                if store.fs.exists(path):
                    with store.fs.open(path, "rb") as handle:
                        return {one["md5"]: one["relpath"] for one in json.load(handle)}
            return {}

    def intact(self, content: str) -> bool:
        """An object is in the cache or the remote, with the content that its name says."""
        with _told():
            for store in self._stores():
                path = store.oid_to_path(content)
                if store.fs.exists(path):
                    with store.fs.open(path, "rb") as handle:
                        if (
                            hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                            == content
                        ):
                            return True
            return False

    def drop(self, objects: Iterable[str]) -> int:
        """Remove objects from the cache and the remote, for good; gives how many files there were.

        Raises:
            StorageError: the cache or the remote cannot be reached or written.
        """
        wanted, gone = list(objects), 0
        with _told():
            for store in self._stores():
                for one in wanted:
                    path = store.oid_to_path(one)
                    if store.fs.exists(path):
                        store.fs.remove(path)
                        gone += 1
            self._forget_what_was_fetched()
        return gone

    def _stores(self) -> list[Any]:
        remote = [] if self.remote is None else [self._repo.cloud.get_remote_odb(None, "push")]
        return [self._repo.cache.local, *remote]

    def _forget_what_was_fetched(self) -> None:
        """DVC remembers what the cache and the remote had; after somebody cleaned them up that would be wrong."""
        self._repo.drop_data_index()

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = self._root / "scratch" / uuid.uuid4().hex[:8]
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _initialise(self) -> None:
        """Like `Repo.init(no_scm=True)`, and complete or not there at all, so that a killed process leaves no half."""
        dvc = self._root / ".dvc"
        dvc.mkdir(parents=True, exist_ok=True)
        (self._root / ".dvcignore").touch()
        (dvc / "tmp").mkdir(exist_ok=True)
        part = dvc / "config.part"
        part.write_text(
            "[core]\n    no_scm = True\n    analytics = false\n    check_update = false\n", encoding="utf-8"
        )
        part.replace(dvc / "config")

    def _settings(self) -> dict[str, Any]:
        """Core, cache and remote of the project; its own folders for a project that is no DVC repository."""
        from dvc.config import Config, ConfigError

        project_dvc = self._project / ".dvc"
        theirs: Mapping[str, Any] = {}
        if project_dvc.is_dir():
            try:
                theirs = Config(str(project_dvc))
            except ConfigError as error:
                raise StorageError(f"{project_dvc / 'config'}: {error}") from error
        has_project = project_dvc.is_dir()
        default_cache = project_dvc / "cache" if has_project else self._root / ".dvc" / "cache"
        remotes = {name: dict(remote) for name, remote in theirs.get("remote", {}).items()}
        chosen = theirs.get("core", {}).get("remote")
        if chosen is None and not has_project:
            chosen, remotes = DEFAULT_REMOTE, {DEFAULT_REMOTE: {"url": str(self._root.parent / "remote")}}
        cache = dict(theirs.get("cache", {}))
        return {
            # The index of hashes stays with the data, not in a folder that users of one machine share.
            "core": {"remote": chosen, "site_cache_dir": str(self._root / ".dvc" / "tmp" / "site"), "no_scm": True},
            "cache": {**cache, "dir": str(cache.get("dir") or default_cache)},
            "remote": remotes,
        }


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Everything that DVC and the file systems below it raise, as one error; DVC's own printing is silenced."""
    from dvc.exceptions import CheckoutError

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (StorageError, KeyboardInterrupt):
        raise
    except CheckoutError as error:
        raise StorageError("not all of its files are there") from error
    except Exception as error:
        # One paragraph: several lines of advice about `dvc` commands would only lead astray.
        raise StorageError(f"{type(error).__name__}: {' '.join(str(error).splitlines()[:1])}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
