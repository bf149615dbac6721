"""`make bench`: seconds, memory and ratios on real data. docs/benchmarks.md says what each number means."""
