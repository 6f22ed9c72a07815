"""Studies: teachers and students over seeds, folds and conditions, from one file to one table."""

from kdlab.study.reading import read

__all__ = ["read"]
