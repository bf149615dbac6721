"""WHEN and IN WHAT ORDER. The only importer of prefect."""
