"""Lineage, the promotion gate and the model store. The sole importer of mlflow."""
