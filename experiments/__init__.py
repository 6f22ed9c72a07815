"""Shipped runs: one config a run, and the scripts that train several of them into one table."""
