"""Holdout scoring, slices and paired comparison."""
