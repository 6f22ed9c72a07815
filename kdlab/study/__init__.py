"""Studies: teachers and students over seeds, folds and conditions, from one file to one table."""
