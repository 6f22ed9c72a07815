"""Checks that take minutes: kills at random moments, studies of many runs."""
