"""What goes into MLflow for one candidate: numbers, files, and the model with the code that it needs."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from rectory.registry.connection import Connection
from rectory.registry.lineage import source_of
from rectory.registry.record import Record

# What loading and asking a bundle needs; the whole lock is kept beside it as an artifact.
_REQUIRED = ("mlflow", "numpy", "pandas", "scipy", "pyarrow", "pydantic", "filelock")
_MOST_PARAMS_PER_CALL = 100


def log_facts(connection: Connection, run: str, record: Record, model_id: str) -> None:
    """Log metrics, params, the data set and the record's files to `run`, the metrics to its model too.

    After the model: MLflow would ask for the history of each metric that it finds when a model comes.
    """
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag, Metric, Param

    client, call = connection.client(), connection.call
    now = int(datetime.now(UTC).timestamp() * 1000)
    metrics = [Metric(name, value, now, 0, model_id) for name, value in record.numbers().items()]
    params = [Param(name, value) for name, value in record.params().items()]
    call(lambda: client.log_batch(run, metrics=metrics), "log metrics")
    for start in range(0, len(params), _MOST_PARAMS_PER_CALL):
        part = params[start : start + _MOST_PARAMS_PER_CALL]
        call(partial(client.log_batch, run, params=part), "log params")
    source = CodeDatasetSource({"snapshot_hash": record.lineage.data, "get": "rectory data checkout HASH"})
    dataset = MetaDataset(source, name=record.dataset, digest=record.lineage.data[:32])
    used = DatasetInput(dataset._to_mlflow_entity(), tags=[InputTag("mlflow.data.context", "training")])
    call(lambda: client.log_inputs(run, [used]), "log the data set")
    with tempfile.TemporaryDirectory(prefix="rectory-") as folder:
        record.write_artifacts(Path(folder))
        call(lambda: client.log_artifacts(run, folder), "log artifacts")


def log_model(connection: Connection, run: str, record: Record) -> str:
    """Store the pyfunc model with the sources it needs; gives the id of the logged model."""
    import pandas as pd

    users = pd.read_parquet(record.bundle / "users.parquet", columns=["user_id"]).head(2)
    with (
        connection.fluent() as mlflow,
        tempfile.TemporaryDirectory(prefix="rectory-") as folder,
        warnings.catch_warnings(),
        _same_path(),
    ):
        warnings.simplefilter("ignore")
        package = source_of("rectory").parent
        bundle = record.bundle
        if bundle.name != record.candidate:  # MLflow keeps it under the folder's own name.
            bundle = shutil.copytree(bundle, Path(folder) / record.candidate)
        with mlflow.start_run(run_id=run, nested=True):
            logged = mlflow.pyfunc.log_model(
                name=record.candidate,
                python_model=str(package / "registry" / "pyfunc_model.py"),
                artifacts={"bundle": str(bundle)},
                # The version brings its own code, so that it still loads when Rectory has moved on or is not installed.
                code_paths=[str(package)],
                signature=_signature(),
                input_example=users if len(users) else None,
                pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIRED],
            )
    return str(logged.model_id)


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    lists = (("string", "user_id"), ("integer", "rank"), ("string", "item_id"), ("float", "score"))
    return ModelSignature(
        inputs=Schema([ColSpec("string", "user_id")]),
        outputs=Schema([ColSpec(kind, name) for kind, name in lists]),
        params=ParamSchema([ParamSpec("k", "long", 10), ParamSpec("exclude_seen", "boolean", None)]),
    )


@contextmanager
def _same_path() -> Iterator[None]:
    """MLflow tries the stored model out and leaves a folder that is gone in sys.path."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
