"""Seats and decisions in a fraction of a second: what `status` shows and who answers, read without importing mlflow.

A SQLite store is opened read-only; a server is asked over REST. Any other store goes the long way round (ModelStore).
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectory.errors import StoreError
from rectory.registry import audit
from rectory.registry.connection import Connection, local_path
from rectory.workspace import Workspace

MODEL = "recommender"
_WHO_ASKS = " Say who asks with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Seated:
    """A version in a seat. run: id of its MLflow run. created: milliseconds since 1970.

    files: folder of the model as MLflow stored it; None: not on this machine, or not looked for.
    """

    version: str
    run: str
    created: int
    tags: dict[str, str]
    files: Path | None = None


@dataclass(frozen=True)
class Glance:
    """aliases: alias -> version number. seats: number -> version, for every version that has an alias.
    metrics: reads a run's metrics.json; {} where it has none."""

    aliases: dict[str, str]
    seats: dict[str, Seated]
    metrics: Callable[[str], dict[str, Any]]


def glance(workspace: Workspace) -> Glance:
    """Who sits where.

    Raises:
        StoreError: the store cannot be reached.
    """
    uri = Connection(workspace).uri
    if uri.startswith("sqlite:///") and "?" not in uri:
        return _of_sqlite(Path(uri.removeprefix("sqlite:///")))
    if uri.startswith(("http://", "https://")):
        return _of_server(uri.rstrip("/"))
    return _of_store(workspace)


def status(workspace: Workspace, decisions: int = 5) -> dict[str, Any]:
    """As `ModelStore.status`: {champion, previous, challenger, data, drift, last_decisions}."""
    found = glance(workspace)
    champion = _ours(found.seats.get(found.aliases.get("champion", "")))
    previous = None
    if champion is not None:
        own = f"previous-{champion.tags['dataset'].replace('.', '--')}"
        for alias in ("previous", own):
            seated = _ours(found.seats.get(found.aliases.get(alias, "")))
            if seated is not None and seated.tags["dataset"] == champion.tags["dataset"]:
                previous = seated
                break
    return {
        "champion": _facts(champion, found) if champion else None,
        "previous": _named(previous),
        "challenger": _named(_ours(found.seats.get(found.aliases.get("challenger", "")))),
        "data": {
            "dataset": champion.tags["dataset"],
            "hash": champion.tags["snapshot_hash"],
            "as_of": champion.tags["as_of"],
        }
        if champion
        else None,
        "drift": last_line(workspace.drift_history),
        "last_decisions": audit.read(workspace, decisions)[::-1],
    }


def champion_folder(workspace: Workspace) -> Path | None:
    """Folder of the bundle that serves; None: the way to it is longer (ModelStore), or there is no champion."""
    store = Connection(workspace).local_file
    if store is None:
        return None
    try:
        found = _of_sqlite(store)
    except StoreError:  # Locked, say: ModelStore has more patience, and words for what is wrong.
        return None
    champion = _ours(found.seats.get(found.aliases.get("champion", "")))
    if champion is None or champion.files is None:
        return None
    folder = champion.files / "artifacts" / champion.tags["candidate"]
    return folder if (folder / "bundle.json").is_file() else None


def last_line(path: Path) -> Any:
    """The newest whole line of a file of JSON lines; None: there is none."""
    if not path.is_file():
        return None
    for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            continue
    return None


def _ours(seated: Seated | None) -> Seated | None:
    """Versions that others registered under the same name have no lineage."""
    return seated if seated is not None and "lineage_key" in seated.tags else None


def _named(seated: Seated | None) -> dict[str, Any] | None:
    return {"name": seated.tags["candidate"], "version": seated.version} if seated else None


def _facts(seated: Seated, found: Glance) -> dict[str, Any]:
    tags = seated.tags
    return {
        **(_named(seated) or {}),
        "kind": tags["kind"],
        "dataset": tags["dataset"],
        "trained_at": tags.get("trained_at", ""),
        "as_of": tags["as_of"],
        "lineage_key": tags["lineage_key"],
        "refit_of": tags.get("refit_of"),
        "reproducible": tags["reproducible"] == "true",
        "metrics": found.metrics(seated.run),
    }


def _of_sqlite(path: Path) -> Glance:
    if not path.is_file():
        return Glance({}, {}, lambda _: {})
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_TIMEOUT_SECONDS)) as store:
            aliases = dict(
                store.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ?", (MODEL,)).fetchall()
            )
            seats: dict[str, Seated] = {}
            folders: dict[str, str] = {}
            for number in set(aliases.values()):
                row = store.execute(
                    "SELECT run_id, creation_time, storage_location FROM model_versions WHERE name = ? AND version = ?",
                    (MODEL, number),
                ).fetchone()
                if row is None:
                    continue
                tags = store.execute(
                    "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?", (MODEL, number)
                )
                seats[str(number)] = Seated(
                    str(number), str(row[0]), int(row[1]), dict(tags.fetchall()), local_path(row[2]) if row[2] else None
                )
                folder = store.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (row[0],)).fetchone()
                if folder is not None:
                    folders[str(row[0])] = str(folder[0])
    except sqlite3.Error as error:
        raise StoreError(
            f"could not read the model store {path}: {error}. If another process has locked it, find it with "
            f"`fuser {path}`; if it is damaged, restore it from a backup."
        ) from error
    return Glance({str(alias): str(number) for alias, number in aliases.items()}, seats, _local_metrics(folders))


def _local_metrics(folders: dict[str, str]) -> Callable[[str], dict[str, Any]]:
    def read(run: str) -> dict[str, Any]:
        folder = local_path(folders[run]) if run in folders else None
        if folder is None or not (path := folder / "metrics.json").is_file():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        return found

    return read


def _of_server(uri: str) -> Glance:
    def ask(route: str, /, **query: str) -> Any:
        request = urllib.request.Request(f"{uri}/{route}?{urllib.parse.urlencode(query)}")  # noqa: S310  http only
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
        if user and password:
            request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            return json.load(answer)

    api = "api/2.0/mlflow"
    try:
        model = ask(f"{api}/registered-models/get", name=MODEL)["registered_model"]
        aliases = {one["alias"]: str(one["version"]) for one in model.get("aliases", [])}
        seats = {}
        for number in set(aliases.values()):
            made = ask(f"{api}/model-versions/get", name=MODEL, version=number)["model_version"]
            tags = {tag["key"]: tag["value"] for tag in made.get("tags", [])}
            seats[number] = Seated(number, made["run_id"], int(made["creation_timestamp"]), tags)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return Glance({}, {}, lambda _: {})
        cure = _WHO_ASKS if error.code in (401, 403) else ""
        raise StoreError(f"the model store {uri} answered {error.code} {error.reason}.{cure}") from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the model store {uri} cannot be reached ({error}). Start it, or see `rectory up`."
        ) from error

    def metrics(run: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = ask("get-artifact", run_uuid=run, path="metrics.json")["metrics"]
        except (OSError, ValueError):
            return {}
        return found

    return Glance(aliases, seats, metrics)


def _of_store(workspace: Workspace) -> Glance:
    from datetime import datetime

    from rectory.files import read_json
    from rectory.registry.store import ModelStore

    store = ModelStore(workspace)
    versions = {one.version: one for one in store.versions()}
    aliases = store.aliases()
    seats = {
        number: Seated(
            number,
            versions[number].run_id,
            int(datetime.fromisoformat(versions[number].created).timestamp() * 1000),
            versions[number].tags,
        )
        for number in set(aliases.values())
        if number in versions
    }

    def metrics(run: str) -> dict[str, Any]:
        path = next((store.artifact(one, "metrics.json") for one in versions.values() if one.run_id == run), None)
        return dict(read_json(path)["metrics"]) if path else {}

    return Glance(aliases, seats, metrics)
