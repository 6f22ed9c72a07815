"""What a study measures of its runs, beside accuracy, calibration and size: only what its file names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.types import InputError

#: what ``measure`` of a study file may name -> a value of a row that has it
MEASURES = {"robustness": "test_accuracy_noise1", "embeddings": "test_v_measure", "latency": "latency_ms"}


def read_measure(value: Any, where: str) -> tuple[str, ...]:
    """``measure`` of a study file: accuracies of corrupted windows, embeddings with their figure, times of the nets.

    Raises:
        InputError: no list of these names.
    """
    names = [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name in MEASURES for name in names):
        raise InputError(
            f"{where}: measure must be a list of {', '.join(MEASURES)}, but got {value!r:.80}. Write for example "
            "measure: [robustness]."
        )
    return tuple(name for name in MEASURES if name in names)


def lacks(row: Mapping[str, Any], measure: tuple[str, ...]) -> list[str]:
    """What a study measures that a row has not; a clustering of embeddings needs one label per window.

    >>> lacks({"test_accuracy": 0.9, "latency_ms": 1.0}, ("robustness", "latency"))
    ['robustness']
    """
    many = "test_map" in row
    return [name for name in measure if MEASURES[name] not in row and not (many and name == "embeddings")]
