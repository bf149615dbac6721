"""Rectory: a recommender factory. The library; it knows nothing of prefect or of dvc.yaml."""
