"""Figures of arrays, drawn without pyplot: what callbacks and evaluations show."""
