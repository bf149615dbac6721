"""`python -m benchmarks.soak`: simulated days on a real installation, faults at random; docs/operations.md, Soak."""
