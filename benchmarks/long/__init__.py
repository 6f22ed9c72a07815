"""Checks that take minutes to hours; each has a small twin in the tests."""
