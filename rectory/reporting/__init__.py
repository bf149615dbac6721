"""Plots and the page that people read."""
