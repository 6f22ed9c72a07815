"""Ratios against reference packages, measured in one run: ``python -m benchmarks.<name>``."""
