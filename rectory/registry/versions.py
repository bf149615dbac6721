"""Registered versions: reading them and adding one. Who holds which seat is in store.py."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rectory.errors import StoreError, UsageError
from rectory.files import exclusive, read_json, replacing, tree_digests
from rectory.models.bundle import Bundle
from rectory.registry.connection import Connection, local_path
from rectory.registry.publish import log_facts, log_model
from rectory.registry.record import BEHAVIOUR_FILE, CURVE_FILE, DIGESTS_FILE, FIT_FILE, TIMING_FILE, Record, RunContext
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "recommender"
_READY = "READY"


@dataclass(frozen=True)
class Version:
    """One registered version. created: ISO 8601, UTC. tags: see docs/registry.md."""

    version: str
    run_id: str
    model_id: str
    created: str
    tags: dict[str, str]

    @property
    def candidate(self) -> str:
        return self.tags["candidate"]

    @property
    def dataset(self) -> str:
        return self.tags["dataset"]

    @property
    def baseline(self) -> bool:
        return self.tags["baseline"] == "true"

    @property
    def lineage_key(self) -> str:
        return self.tags["lineage_key"]

    @property
    def recipe(self) -> str | None:
        """None: registered before recipes were noted."""
        return self.tags.get("recipe")

    @property
    def trained_until(self) -> str:
        return self.tags["trained_until"]

    @property
    def refit_of(self) -> str | None:
        """Version that the gate has measured and whose recipe this one is, fitted again; None: it is no refit."""
        return self.tags.get("refit_of")

    @property
    def warm_start_of(self) -> str | None:
        """Lineage key of the version that it continues from; None: fitted from scratch."""
        return self.tags.get("warm_start_of")

    @property
    def chain(self) -> tuple[str, ...]:
        """Versions that lead to this one, the full fit first; empty: it is a full fit itself."""
        told = self.tags.get("warm_start_chain", "")
        return tuple(told.split(",")) if told else ()


@dataclass(frozen=True)
class Registered:
    """reused: the same model was there already."""

    version: Version
    reused: bool


class MissingFilesError(StoreError):
    """The store answers, but a version's files are not there."""


class Versions:
    """Reads and adds versions of the registered model `recommender`.

    Args:
        workspace: the project whose store it is; see Connection for what may name another.
        patience_seconds: how long a locked store is tried again before StoreError; see Connection.
    """

    def __init__(self, workspace: Workspace, patience_seconds: float | None = None) -> None:
        self.workspace = workspace
        self.connection = Connection(workspace, patience_seconds)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time in this project. Not re-entrant across ModelStore objects of one process."""
        with exclusive(self.workspace.lock("registry"), "writing to the model store"):
            yield

    def versions(self, dataset: str | None = None) -> list[Version]:
        """All complete versions (of one data set), newest first."""
        where = f" and tags.`dataset` = '{_quoted(dataset)}'" if dataset else ""
        return self._search(f"name = '{MODEL_NAME}'{where}")

    def version(self, number: str) -> Version:
        """One version by its number.

        Raises:
            UsageError: there is none.
        """
        number = str(number)
        found = [one for one in self.versions() if one.version == number]
        if not found:
            known = ", ".join(one.version for one in self.versions()[:20]) or "none yet"
            raise UsageError(f"no version {number!r} of {MODEL_NAME} is registered; there are: {known}.")
        return found[0]

    def find(self, lineage_key: str) -> Version | None:
        """The version with this lineage key, if the model was made before."""
        found = self._search(f"name = '{MODEL_NAME}' and tags.`lineage_key` = '{_quoted(lineage_key)}'")
        return found[-1] if found else None

    def find_continued(self, fresh_key: str) -> Version | None:
        """The first warm start from data, params, code and lock that would give a fit from scratch this key."""
        found = self._search(f"name = '{MODEL_NAME}' and tags.`fresh_key` = '{_quoted(fresh_key)}'")
        return found[-1] if found else None

    def links(self, version: Version) -> list[Version]:
        """The full fit, the warm starts after it, and `version` last.

        Raises:
            StoreError: one of them is not registered any more.
        """
        links = [version]
        while (key := links[0].warm_start_of) is not None:
            parent = self.find(key)
            if parent is None:
                raise StoreError(
                    f"version {links[0].version} continues from version {links[0].chain[-1]}, which is not registered "
                    "any more: restore it in MLflow, or make a full fit with "
                    "`rectory run --set train.warm_start.full_every=1`."
                )
            links.insert(0, parent)
        return links

    def measured(self, version: Version) -> Version:
        """The version that the gate's evidence is about: itself, or of a refit the one whose recipe it is.

        Raises:
            StoreError: that one is not registered any more.
        """
        if version.refit_of is None:
            return version
        found = [one for one in self.versions(version.dataset) if one.version == version.refit_of]
        if not found:
            raise StoreError(
                f"version {version.version} is a refit of version {version.refit_of}, which is not registered any "
                "more: restore it in MLflow, or seat another version with `rectory promote VERSION`."
            )
        return found[0]

    def bundle_folder(self, version: Version, *, fresh: bool = False) -> Path:
        """Folder of the version's bundle: in place when the artifacts are local files, else a cached download.

        Args:
            fresh: download again what is cached.
        Raises:
            MissingFilesError: the files are gone. StoreError: they cannot be reached.
        """
        call, client = self.connection.call, self.connection.client()
        model = call(lambda: client.get_logged_model(version.model_id), f"find the files of version {version.version}")
        inside = f"artifacts/{version.candidate}"
        local = local_path(model.artifact_location)
        if fresh and not local:
            shutil.rmtree(self._cache(version) / "bundle", ignore_errors=True)
        folder = local / inside if local else self._downloaded(version, f"{model.artifact_location}/{inside}")
        if not (folder / "bundle.json").is_file():
            raise MissingFilesError(
                f"the files of {MODEL_NAME} version {version.version} are missing at {folder}. Put the folder back, or "
                f"rebuild it from the same data: delete the version in MLflow and run `rectory run` again."
            )
        return folder

    def bundle(self, version: Version) -> Bundle:
        """The version's bundle."""
        return Bundle.load(self.bundle_folder(version))

    def fault(self, version: Version) -> str | None:
        """What is wrong with the version's files, by the digests that were noted at its registration; None: nothing.

        Raises:
            StoreError: the store cannot be reached, which says nothing about the files.
        """
        noted = self.artifact(version, DIGESTS_FILE)
        if noted is None:
            return "the digests of its files are gone"
        try:
            folder = self.bundle_folder(version, fresh=True)
        except MissingFilesError as error:
            return str(error)
        expected, found = read_json(noted), tree_digests(folder)
        wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        if not wrong:
            return None
        return f"{len(wrong)} of its files differ from what was registered ({', '.join(wrong[:3])}) in {folder}"

    def artifact(self, version: Version, name: str) -> Path | None:
        """A file that was logged beside the version (names: record.py); None when it has none of that name."""
        client = self.connection.client()
        what = f"read {name} of version {version.version}"
        run = self.connection.call(lambda: client.get_run(version.run_id), what)
        if local := local_path(run.info.artifact_uri):
            return local / name if (local / name).is_file() else None
        parent = name.rpartition("/")[0] or None
        listed = self.connection.call(lambda: client.list_artifacts(version.run_id, parent), what)
        if name not in {one.path for one in listed}:
            return None
        target = self._cache(version) / "run"
        target.mkdir(parents=True, exist_ok=True)
        return Path(self.connection.call(lambda: client.download_artifacts(version.run_id, name, str(target)), what))

    def restore(self, version: Version, workspace: Workspace) -> None:
        """Put the version's bundle, fit report, learning curve and timing into a run, as if trained there."""
        candidate = version.candidate
        with replacing(workspace.model(candidate)) as scratch:
            shutil.copytree(self.bundle_folder(version), scratch)
        targets = {
            FIT_FILE: workspace.fit_report(candidate),
            TIMING_FILE: workspace.timing(f"train-{candidate}"),
            CURVE_FILE: workspace.learning_curve(candidate),
        }
        for name, target in targets.items():
            if source := self.artifact(version, name):
                with replacing(target) as scratch:
                    shutil.copyfile(source, scratch)

    def begin(self, run: RunContext) -> tuple[str, str]:
        """(experiment id, id of the parent run); a run with the same lineage key is continued, not doubled."""
        client, call = self.connection.client(), self.connection.call
        name = experiment_name(run.params.dataset)

        def opened() -> str:
            known = client.get_experiment_by_name(name)
            if known is not None:
                return str(known.experiment_id)
            place = f"{self.connection.artifacts}/{run.params.dataset}" if self.connection.artifacts else None
            return str(client.create_experiment(name, artifact_location=place))

        experiment = call(opened, f"open experiment {name}")
        same = f"tags.`lineage_key` = '{run.lineage.key}' and tags.`rectory.part` = 'run'"
        found = call(lambda: client.search_runs([experiment], same, max_results=1), "look for an earlier run")
        if found:
            return experiment, str(found[0].info.run_id)
        tags = {
            "mlflow.runName": run.run_id,
            "rectory.part": "run",
            "rectory.run_id": run.run_id,
            "dataset": run.params.dataset,
            "as_of": str(run.snapshot["as_of"]),
            "snapshot_hash": run.lineage.data,
            "lineage_key": run.lineage.key,
            "commit": run.checkout.commit,
        }
        return experiment, str(call(lambda: client.create_run(experiment, tags=tags), "start a run").info.run_id)

    def end(self, parent: str) -> None:
        """Mark the parent run as finished."""
        client = self.connection.client()
        self.connection.call(lambda: client.set_terminated(parent), "end a run")

    def register(self, record: Record, experiment: str, parent: str) -> Registered:
        """Register a candidate once: an equal lineage key gives the version that is there.

        The version appears in one step, with all its tags, after everything else is stored: a killed process leaves a
        run without a version, which the next registration of the same candidate clears away.
        """
        with self.writing():
            if known := self.find(record.lineage.key):
                self._refresh(known, record)
                return Registered(known, reused=True)
            self._clear_half_written(experiment, record.lineage.key)
            return Registered(self._add(record, experiment, parent), reused=False)

    def _add(self, record: Record, experiment: str, parent: str) -> Version:
        client, call = self.connection.client(), self.connection.call
        tags = {
            **record.tags(),
            "rectory.part": "candidate",
            "mlflow.runName": record.candidate,
            "mlflow.parentRunId": parent,
        }
        run = call(lambda: client.create_run(experiment, tags=tags), f"start the run of {record.candidate}").info.run_id
        model_id = call(lambda: log_model(self.connection, run, record), f"store the model of {record.candidate}")
        log_facts(self.connection, run, record, model_id)
        call(lambda: client.set_terminated(run), "end a run")
        _ensure_model(self.connection)
        described = f"{record.candidate} ({tags['kind']}) on {record.dataset} as of {tags['as_of']}"

        def create() -> Version:
            # A server that died over its answer may have done it: a second version would be a twin.
            if known := self.find(record.lineage.key):
                return known
            trained_at = datetime.now(UTC).isoformat(timespec="seconds")
            made = client.create_model_version(
                MODEL_NAME,
                f"models:/{model_id}",
                run_id=run,
                model_id=model_id,
                tags={**record.tags(), "trained_at": trained_at},
                description=described,
            )
            return _version(made)

        # MLflow looks the model up in its global store, whatever the client was made for.
        with self.connection.fluent():
            return call(create, f"register {record.candidate}")

    def _refresh(self, version: Version, record: Record) -> None:
        """Other evaluate params, same model: keep the newest test metrics on its run; MLflow keeps the older ones."""
        from mlflow.entities import Metric

        client, call = self.connection.client(), self.connection.call
        kept = call(lambda: client.get_run(version.run_id), "read an earlier run").data.metrics
        now = int(datetime.now(UTC).timestamp() * 1000)
        cost = ("fit_seconds", "peak_memory_mb")
        new = {name: value for name, value in record.numbers().items() if name not in cost and kept.get(name) != value}
        if new:
            metrics = [Metric(name, value, now, 0) for name, value in new.items()]
            call(lambda: client.log_batch(version.run_id, metrics=metrics), "log metrics")
            call(lambda: client.log_dict(version.run_id, record.metrics, "metrics.json"), "log metrics")
        if record.behaviour is not None:
            found, path = record.behaviour, self.artifact(version, BEHAVIOUR_FILE)
            if path is None or read_json(path) != found:
                call(lambda: client.log_dict(version.run_id, found, BEHAVIOUR_FILE), "log behavioural tests")

    def _clear_half_written(self, experiment: str, lineage_key: str) -> None:
        """Runs of this candidate that never became a version."""
        client, call = self.connection.client(), self.connection.call
        where = f"tags.`lineage_key` = '{lineage_key}' and tags.`rectory.part` = 'candidate'"
        for run in call(lambda: client.search_runs([experiment], where), "look for half-written runs"):
            for model in run.outputs.model_outputs if run.outputs else []:
                call(partial(client.delete_logged_model, model.model_id), "clear a half-written model")
            call(partial(client.set_terminated, run.info.run_id, "KILLED"), "clear a half-written run")
            call(partial(client.delete_run, run.info.run_id), "clear a half-written run")

    def _search(self, where: str) -> list[Version]:
        if not self.connection.exists:
            return []
        client = self.connection.client()
        found: list[Version] = []
        token: str | None = None
        while True:
            page = self.connection.call(
                partial(client.search_model_versions, where, max_results=1000, page_token=token),
                "list the registered versions",
            )
            # Versions that others registered under the same name have no lineage; they are not ours to judge.
            found += [_version(one) for one in page if one.status == _READY and "lineage_key" in one.tags]
            token = page.token
            if not token:
                return sorted(found, key=lambda one: int(one.version), reverse=True)

    def _downloaded(self, version: Version, address: str) -> Path:
        """The bundle folder in the project's cache, fetched once."""
        folder = self._cache(version) / "bundle"
        if not folder.is_dir():
            with (
                self.connection.fluent() as mlflow,
                replacing(folder) as scratch,
                tempfile.TemporaryDirectory(dir=folder.parent) as received,
            ):
                fetched = self.connection.call(
                    lambda: mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=received),
                    f"download version {version.version}",
                )
                shutil.move(fetched, scratch)
        return folder

    def _cache(self, version: Version) -> Path:
        return self.workspace.state / "bundles" / version.model_id


def experiment_name(dataset: str) -> str:
    """Name of the MLflow experiment of a data set."""
    return f"rectory/{dataset}"


def _ensure_model(connection: Connection) -> None:
    client = connection.client()
    text = "Rectory: ranks items for a user. Aliases: champion, challenger, previous."

    def ensure() -> None:
        if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
            client.create_registered_model(MODEL_NAME, description=text)

    connection.call(ensure, "create the model")


def _version(made: ModelVersion) -> Version:
    created = datetime.fromtimestamp(made.creation_timestamp / 1000, UTC).isoformat(timespec="seconds")
    model_id = made.model_id or str(made.source).removeprefix("models:/")
    return Version(str(made.version), str(made.run_id), str(model_id), created, dict(made.tags))


def _quoted(text: str) -> str:
    if "'" in text or "`" in text:
        raise UsageError(f"{text!r} cannot be looked up in the model store: it has quotes in it.")
    return text
