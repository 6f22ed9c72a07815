"""Taps of nets with several sensors: ``"<sensor>/semantic"``, ``"<sensor>/logits"``, ``"<sensor>/<tap>"``."""

from __future__ import annotations

from torch import Tensor

from kdlab.types import Output


def sensors_of(output: Output) -> list[str]:
    """The sensors of which an output has semantic vectors; ``[""]`` for a net without, which counts as one sensor.

    Example:
        >>> import torch
        >>> sensors_of(Output(torch.zeros(1, 2), {"acc/semantic": torch.zeros(1, 3), "embedding": torch.zeros(1, 3)}))
        ['acc']
        >>> sensors_of(Output(torch.zeros(1, 2), {"embedding": torch.zeros(1, 3)}))
        ['']
    """
    return [tap.removesuffix("/semantic") for tap in output.features if tap.endswith("/semantic")] or [""]


def vector_of(output: Output, sensor: str) -> str:
    """The tap of a sensor's semantic vector: the embedding of a net without sensors."""
    return f"{sensor}/semantic" if sensor else "embedding"


def logits_of(output: Output, sensor: str) -> Tensor:
    """The logits of a sensor: those of the net, where there are no sensors."""
    return output.features[f"{sensor}/logits"] if sensor else output.logits


def ablated_of(output: Output, sensor: str) -> Tensor | None:
    """The logits of a sensor for all-zero windows, where they are among the features."""
    return output.features.get(f"{sensor}/ablated" if sensor else "ablated")
