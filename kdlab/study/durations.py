"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """
    >>> duration(59.4), duration(59.6), duration(3720)
    ('59 s', '1 min', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
