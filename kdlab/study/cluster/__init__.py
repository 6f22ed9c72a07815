"""A study on a cluster: its stages as arrays of jobs, and its report last."""
