"""Drift of inputs and of what is recommended. The sole importer of evidently."""
