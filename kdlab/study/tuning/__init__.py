"""Tuning of a study: settings chosen on validation people alone, with the same number of trials for every row."""
