"""Colours, markers and sizes of figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
#: those of Okabe and Ito, which colour-blind readers tell apart; markers differ too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
BLUE, GREY, BLACK = COLOURS[0], "#737373", "#000000"
_COLOURS = [colour for colour in COLOURS if colour != BLACK]  # black are means


def style(position: int) -> dict[str, Any]:
    """Colour and marker of the n-th of many; neighbours differ in both, and 56 in one of them.

    >>> len({tuple(style(i).values()) for i in range(56)})
    56
    """
    return {"color": _COLOURS[position % len(_COLOURS)], "marker": MARKERS[position % len(MARKERS)]}


def in_lines(panels: Sequence[T], most: int = 4) -> list[list[T]]:
    """Panels of a figure in as few lines as hold them, of equal length but for the last.

    >>> in_lines("abcde"), in_lines("abc")
    ([['a', 'b', 'c'], ['d', 'e']], [['a', 'b', 'c']])
    """
    columns = math.ceil(len(panels) / math.ceil(len(panels) / most))
    return [list(panels[i : i + columns]) for i in range(0, len(panels), columns)]


def new_figure(width: float, height: float, dpi: float | None = None) -> Figure:
    """A figure of so many inches, without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=dpi)
