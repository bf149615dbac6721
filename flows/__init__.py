"""WHEN and IN WHAT ORDER. The only importer of prefect."""

from flows.outliving import outlive_worker

outlive_worker()
