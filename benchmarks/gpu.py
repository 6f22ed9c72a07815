"""The figures of `benchmarks.views` and `benchmarks.step` on a GPU, in one table: ``python -m benchmarks.gpu``.

Views: diagrams are computed on the host; images are computed by the host and copied, or by the GPU from the host's
diagrams; both against ripser + persim on one thread of the host (fields against pyts). A step: that of
`benchmarks.step`, on the GPU, timed by events in its stream; waiting is time in which the GPU has nothing to do; memory
is the most that PyTorch allocated on the GPU. That both paths give the same images, and the cached terms are the live
ones, is asserted in the same run.

Without a GPU nothing is measured. ``--device cpu`` runs the same code on the host at a small size, as a test; its
figures have no meaning.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import step, views
from benchmarks.step import Setting, synchronize
from kdlab.views import GramianAngularField, PersistenceImage, View
from kdlab.views.diagrams import sublevel_diagrams

Table = list[tuple[str, str, str]]
SMALL = Setting("cpu", batch=8, size=8, train=24, length=50, width=1, student_steps=4, live_steps=4)


def every(view: View, batches: Sequence[torch.Tensor], device: str) -> Callable[[], None]:
    """Draws all batches, where they lie, and has them on the device."""

    def work() -> None:
        for batch in batches:
            view(batch).to(device, non_blocking=True)
        synchronize(device)

    return work


def same(view: View, batch: torch.Tensor, device: str, name: str) -> None:
    """The device draws what the host draws."""
    apart = float((view(batch.to(device)).cpu() - view(batch)).abs().max())
    assert apart <= 2e-5, f"{name}: {type(view).__name__} {apart:.1e} apart"


def drawn(name: str, x: np.ndarray, view: View, peer: Callable[[np.ndarray], object], few: int, device: str) -> Table:
    """How many times faster than the peer the host's and the device's images are computed."""
    rows = x.reshape(-1, x.shape[-1])
    host = [torch.from_numpy(x[i : i + views.BATCH]) for i in range(0, len(x), views.BATCH)]
    there = [batch.to(device) for batch in host]
    some = rows[np.linspace(0, len(rows) - 1, few).astype(int)]
    same(view, host[0], device, name)

    def theirs() -> None:
        for series in some:
            peer(series)

    by_host = views.versus(every(view, host, device), len(rows), theirs, few)
    by_device = views.versus(every(view, there, device), len(rows), theirs, few)
    kind = "images" if isinstance(view, PersistenceImage) else "GAF"
    better = "device" if by_device > by_host else "host"
    return [
        (f"{kind}, {name}: host and copy", f"{by_host:.0f}x", ""),
        (f"{kind}, {name}: device", f"{by_device:.0f}x", f"{by_device / by_host:.2f} times the host; faster: {better}"),
    ]


def diagrams(name: str, x: np.ndarray, few: int) -> Table:
    """Diagrams are the host's in any case."""
    rows = x.reshape(-1, x.shape[-1])
    some = rows[np.linspace(0, len(rows) - 1, few).astype(int)]
    ratio = views.versus(
        lambda: sublevel_diagrams(rows), len(rows), lambda: [views.ripser_pairs(series) for series in some], few
    )
    return [(f"diagrams, {name}: host", f"{ratio:.0f}x", "ripser")]


def view_rows(device: str, count: int, small: bool) -> Table:
    """The views on each kind of signal."""
    table: Table = []
    signals = {name: np.ascontiguousarray(x[:count], dtype=np.float32) for name, x in views.signals()}
    if small:
        signals = dict(list(signals.items())[:1])
    few = min(64, count)
    for name, x in signals.items():
        views.check(name, x)
        table += diagrams(name, x, few)
        table += drawn(name, x, views.VIEW, lambda s: views.imager_image(views.ripser_pairs(s)), few, device)
    if small:  # pyts compiles for half a minute
        return table
    from pyts.image import GramianAngularField as Reference

    theirs = Reference(views.SIZE)
    for name, x in signals.items():
        table += drawn(name, x, GramianAngularField(views.SIZE), lambda s: theirs.transform(s[None]), few, device)
    return table


def memory_rows(costs: step.Costs) -> Table:
    """The most that was allocated on the device."""
    names = {
        "student": "the student alone",
        "live": "teachers run in every step",
        "cached": "teachers cached, and filled",
    }
    peaks = {name: costs[f"memory/{name}"] for name in names if f"memory/{name}" in costs}
    return [(f"memory, {names[name]}", f"{peak / 1e6:.0f} MB", "of the device") for name, peak in peaks.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Views and steps on a GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a small run without a GPU")
    device = parser.parse_args(arguments).device
    if device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: no GPU here, so nothing was measured; --device cpu goes through the code without one")
        return
    step.quiet()
    setting = SMALL if device == "cpu" else Setting("cuda")
    name = "no GPU, small sizes" if device == "cpu" else torch.cuda.get_device_name()
    print(f"{name}\n{views.machine(('torch', 'lightning', 'numpy', 'numba', 'ripser', 'persim', 'pyts'), '1 thread')}")
    print(
        f"{setting.train} training windows 3 x {setting.length}, batches of {setting.batch}, "
        f"images {setting.size} x {setting.size}\n"
    )
    with threadpool_limits(1):
        costs = step.measure(setting)
        table = view_rows(device, 16 if device == "cpu" else views.WINDOWS, small=device == "cpu")
    cost = step.rows(costs, setting)
    step.show(cost if device == "cuda" else [(what, value, "") for what, value, _ in cost])
    step.show(memory_rows(costs))
    print("\nviews, as multiples of the speed of ripser, ripser + PersistenceImager, and pyts series by series")
    for what, value, note in table:
        print(f"{what:52}{value:>10}   {note}")


if __name__ == "__main__":
    main()
