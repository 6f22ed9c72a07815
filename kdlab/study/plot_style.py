"""What the figures of a study share: size, colours and markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdlab.evaluate.plots import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY, BLACK = COLOURS[0], "#737373", "#000000"
_COLOURS = [colour for colour in COLOURS if colour != BLACK]  # black are means


def style(position: int) -> dict[str, Any]:
    """Colour and marker of the n-th of many."""
    return {"color": _COLOURS[position % len(_COLOURS)], "marker": MARKERS[position // len(_COLOURS) % len(MARKERS)]}


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
