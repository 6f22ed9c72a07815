"""Saving the figures of a study: formats, font and size, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.files import replacing
from kdlab.study.keys import FORMATS
from kdlab.study.paper import Figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUAL_SIZE = 10.0  # points, matplotlib's own
#: what would differ from one time to the next
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def save_figure(draw: Callable[[], Figure], folder: Path, stem: str, figures: Figures) -> str:
    """Draw a figure, and save it in each format; each file is replaced at once.

    Args:
        draw: makes the figure.
        folder: where the files go.
        stem: their name without ending.
        figures: formats, font and size.

    Returns:
        The name of the PNG file.
    """
    import matplotlib as mpl

    name = _file_stem(stem)
    settings: dict[str, Any] = {"svg.hashsalt": "kdlab", "pdf.fonttype": 42}  # 42: text of a PDF stays text
    if figures.font:
        settings["font.family"] = figures.font
    with mpl.rc_context(settings):
        figure = draw()
        _resize(figure, figures)
        for ending in figures.formats:
            with replacing(folder / f"{name}.{ending}") as part:
                figure.savefig(part, format=ending, dpi=120, metadata=_METADATA[ending])
    return f"{name}.png"


def remove_figures(stems: Iterable[str], folder: Path, drawn: Collection[str], figures: Figures) -> None:
    """Remove the figures of an earlier report that this one has not drawn.

    Args:
        stems: names without ending of all figures that a report may draw.
        folder: where they are.
        drawn: the names of the PNG files of this report.
        figures: its formats.
    """
    for stem in stems:
        name = _file_stem(stem)
        kept = figures.formats if f"{name}.png" in drawn else ()
        for ending in FORMATS:
            if ending not in kept:
                (folder / f"{name}.{ending}").unlink(missing_ok=True)


def _file_stem(stem: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)


def _resize(figure: Figure, figures: Figures) -> None:
    """Set the width, the height in proportion, and the size of all text."""
    if figures.font_size is not None and figures.font_size != USUAL_SIZE:
        figure.draw_without_rendering()  # labels of ticks are made when they are drawn
        _scale_text(figure, figures.font_size / USUAL_SIZE)
    if figures.width is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(figures.width, height * figures.width / width)


def _scale_text(figure: Figure, factor: float) -> None:
    from matplotlib.text import Text

    labels: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = axis.get_major_ticks()
            labels.update(label for tick in ticks for label in (tick.label1, tick.label2))
            if ticks:  # those that are made later get the size, too
                axis.set_tick_params(labelsize=float(ticks[0].label1.get_fontsize()) * factor)
    for text in figure.findobj(Text):
        if text not in labels:
            text.set_fontsize(float(text.get_fontsize()) * factor)
