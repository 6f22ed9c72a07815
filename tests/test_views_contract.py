"""What every view keeps, found by walking the subclasses: shape, digest, batches, pickles, refusals, YAML."""

import hashlib
import inspect
import os
import pickle
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import jsonargparse
import numpy as np
import pytest
import torch

import kdlab.views
from kdlab.types import InputError
from kdlab.views import (
    GramianAngularField,
    MarkovTransitionField,
    PersistenceImage,
    Raw,
    RecurrencePlot,
    Resampled,
    ScanPersistenceImage,
    Spectrogram,
    View,
)
from tests.conftest import PATIENCE


def _walk(cls):
    for one in cls.__subclasses__():
        if one.__module__.startswith("kdlab.") and not inspect.isabstract(one):
            yield one
        yield from _walk(one)


VIEWS = sorted(set(_walk(View)), key=lambda cls: cls.__name__)
KINDS = [
    *(cls() for cls in VIEWS),
    GramianAngularField(size=None, method="difference"),
    PersistenceImage(size=9, grid="legacy", sigma=0.05),
    PersistenceImage(size=12, dtype="float64"),
    PersistenceImage(size=50, sigma=3.0),
    GramianAngularField(size=32, floor=4.5),
    PersistenceImage(size=9, floor=4.5),
    PersistenceImage(size=9, weight="absolute", normalize=False),
    MarkovTransitionField(size=9, bins=3, strategy="uniform", floor=1.0),
    RecurrencePlot(size=None, dimension=3, delay=2),
    RecurrencePlot(size=40, threshold=0.5),
    Spectrogram(segment=25, step=7, transform=50, floor=None),
    Raw(samples=40, part="centre"),
    Resampled(rate=30.0, source_rate=100.0),
    Resampled(rate=100, length=300, scale=0.5, source_rate=62.5, border="mean"),
]


def _samples(view, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, 3, 9, 11) if view.sample_ndim == 3 else (batch, 3, 96)).astype(np.float32)


def _length(view):
    return (9, 11) if view.sample_ndim == 3 else 96


def _name(view):
    return f"{type(view).__name__}-{view.digest[:4]}"


@pytest.fixture(params=KINDS, ids=_name)
def view(request):
    return request.param


def test_the_walk_finds_the_public_views():
    assert {Raw, GramianAngularField, PersistenceImage, ScanPersistenceImage} <= set(VIEWS)
    assert {cls.__name__ for cls in VIEWS} <= set(kdlab.views.__all__)


def test_views_are_frozen_hashable_dataclasses_with_defaults(view):
    cls = type(view)
    assert is_dataclass(cls)
    assert all(p.default is not p.empty for p in inspect.signature(cls).parameters.values())
    assert {"channels", "source"} <= {field.name for field in fields(view)}
    assert hash(view) == hash(replace(view))
    assert replace(view) == view
    with pytest.raises(AttributeError):
        view.source = "other"


def test_shape_and_dtype_are_true(view):
    if isinstance(view, GramianAngularField) and view.size is not None:
        view = replace(view, size=64)
    x = _samples(view)
    one, batch = view(x[0]), view(x)
    assert view.shape(3, _length(view)) == tuple(one.shape)
    assert tuple(batch.shape) == (3, *one.shape)
    assert batch.is_contiguous()
    assert batch.dtype is (torch.float64 if getattr(view, "dtype", "") == "float64" else torch.float32)
    picked = replace(view, channels=[2, 0])
    assert picked.shape(3, _length(view)) == tuple(picked(x[0]).shape)
    assert torch.equal(picked(x), view(x[:, [2, 0]]))


def test_a_batch_equals_its_windows_whatever_the_threads(view):
    x = _samples(view, batch=40)
    batch = view(x)
    assert torch.equal(batch, torch.stack([view(one) for one in x]))
    assert torch.equal(batch, view(x))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(batch, view(x))
    finally:
        torch.set_num_threads(threads)


def test_arrays_tensors_layouts_and_precisions_agree(view):
    x = _samples(view)
    expected = view(x)
    assert torch.equal(expected, view(torch.from_numpy(x)))
    assert torch.equal(expected, view(np.asfortranarray(x)))
    x.setflags(write=False)
    assert torch.equal(expected, view(x))
    assert torch.allclose(expected, view(x.astype(np.float64)), atol=1e-6)
    integers = (x * 10).astype(np.int64)
    assert torch.allclose(view(integers), view(integers.astype(np.float64)))
    assert view(torch.tensor(x).bfloat16()).dtype is expected.dtype


def test_the_input_is_not_changed_or_shared(view):
    x = torch.from_numpy(_samples(view))
    before = x.clone()
    view(x).fill_(7.0)
    assert torch.equal(x, before)


def test_pickle(view):
    assert pickle.loads(pickle.dumps(view)) == view
    assert pickle.loads(pickle.dumps(view)).digest == view.digest


@pytest.mark.parametrize("kind", ["zero", "constant", "offset", "spike", "tiny", "huge"])
def test_finite_on_degenerate_windows(view, kind):
    x = np.zeros_like(_samples(view))
    spike = (..., 3, 4) if view.sample_ndim == 3 else (..., 50)
    if kind == "constant":
        x += 0.1
    elif kind == "offset":
        x += 1e6
    elif kind == "spike":
        x[spike] = 5.0
    elif kind == "tiny":
        x[spike] = 1e-40
    elif kind == "huge":
        x[spike] = 3e38
    out = view(x)
    assert bool(torch.isfinite(out).all())
    if isinstance(view, PersistenceImage) and kind in ("zero", "constant", "offset", "tiny"):
        assert not out.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(view, bad):
    x = _samples(view)
    x[1, 2].flat[[3, 4]] = bad
    x[2, 2].flat[5] = bad
    with pytest.raises(InputError, match=r"x: expected finite samples, got 3 .* channel 2, the first in window 1"):
        view(x)
    with pytest.raises(InputError, match=r"got 2 .* channel 2, the first in window 0"):
        view(x[1])
    unread = replace(view, channels=(0, 1))
    assert bool(torch.isfinite(unread(x)).all())
    with pytest.raises(InputError, match="channel 2"):
        replace(view, channels=(1, 2))(torch.from_numpy(x))


def test_finite_samples_whose_sum_overflows_are_taken():
    assert bool(torch.isfinite(Raw()(np.full((2, 8), 3e38, np.float32))).all())


def test_refuses_a_wrong_number_of_axes(view):
    x = _samples(view)
    for bad in (x[0, 0, 0], x[None], np.zeros((0,) * view.sample_ndim)):
        with pytest.raises(InputError, match=r"\bx must (be|have) "):
            view(bad)
    with pytest.raises(InputError, match="numbers"):
        view(np.full(x.shape, "a"))


def test_an_empty_batch_is_an_empty_view(view):
    x = _samples(view)
    assert view(x[:0]).shape == (0, *view(x[0]).shape)


def test_channels_by_name_need_binding(view):
    named = replace(view, channels=["c", "a"])
    x = _samples(view)
    with pytest.raises(InputError, match="bind"):
        named(x)
    with pytest.raises(InputError, match="bind"):
        named.shape(3, _length(view))
    bound = named.bind(["a", "b", "c"])
    assert bound.channels == (2, 0)
    assert torch.equal(bound(x), replace(view, channels=(2, 0))(x))
    assert view.bind(["a", "b", "c"]) == view
    with pytest.raises(InputError, match=r"'c'.*a, b"):
        named.bind(["a", "b"])
    with pytest.raises(InputError, match="no channel 2"):
        replace(view, channels=[2]).bind(["a", "b"])
    with pytest.raises(InputError, match=r"below 3.*got 3"):
        replace(view, channels=[3])(x)


@pytest.mark.parametrize("bad", ["abc", 0, (), [-1], [1.5], [True], [None]])
def test_bad_channels(view, bad):
    with pytest.raises(InputError, match="channels must be"):
        replace(view, channels=bad)


BAD = [
    (GramianAngularField, {"size": 1}),
    (GramianAngularField, {"size": 2.5}),
    (GramianAngularField, {"method": "sum"}),
    (GramianAngularField, {"backend": "gpu"}),
    (PersistenceImage, {"size": 0}),
    (PersistenceImage, {"size": "64"}),
    (PersistenceImage, {"sigma": 0}),
    (PersistenceImage, {"sigma": -1.0}),
    (PersistenceImage, {"sigma": float("nan")}),
    (PersistenceImage, {"birth": (1.0, 1.0)}),
    (PersistenceImage, {"birth": (2.0, -2.0)}),
    (PersistenceImage, {"birth": 4.0}),
    (PersistenceImage, {"birth": (0.0, float("inf"))}),
    (PersistenceImage, {"persistence": (0.0, 1.0, 2.0)}),
    (PersistenceImage, {"persistence": ("a", "b")}),
    (PersistenceImage, {"threshold": -0.1}),
    (PersistenceImage, {"grid": "old"}),
    (PersistenceImage, {"backend": "gudhi"}),
    (PersistenceImage, {"dtype": "float16"}),
    (PersistenceImage, {"grid": "legacy", "birth": (-2.0, -1.0)}),
    (PersistenceImage, {"grid": "legacy", "persistence": (1.0, 2.0)}),
    (PersistenceImage, {"grid": "legacy", "backend": "persim"}),
    (ScanPersistenceImage, {"sigma": 0}),
    (MarkovTransitionField, {"bins": 1}),
    (MarkovTransitionField, {"bins": None}),
    (MarkovTransitionField, {"strategy": "normal"}),
    (MarkovTransitionField, {"floor": -1.0}),
    (RecurrencePlot, {"dimension": 0}),
    (RecurrencePlot, {"delay": 1.5}),
    (RecurrencePlot, {"threshold": 0.0}),
    (Spectrogram, {"segment": 1}),
    (Spectrogram, {"step": 33}),
    (Spectrogram, {"step": None}),
    (Spectrogram, {"transform": 16}),
    (Spectrogram, {"floor": float("nan")}),
]


@pytest.mark.parametrize(("cls", "arguments"), BAD, ids=lambda v: str(v) if isinstance(v, dict) else v.__name__)
def test_bad_parameters_are_named(cls, arguments):
    with pytest.raises(InputError, match=r"(expected|must be) .* got ") as caught:
        cls(**arguments)
    assert re.split(r":| must ", str(caught.value))[0] in {*arguments, "birth", "persistence"}


def test_gaf_needs_enough_samples():
    with pytest.raises(InputError, match=r"size: expected at most the 96 samples .* got 97"):
        GramianAngularField(97)(np.zeros((3, 96)))
    with pytest.raises(InputError, match="size"):
        GramianAngularField(97).shape(3, 96)


def test_plots_and_spectrograms_need_enough_samples():
    with pytest.raises(InputError, match=r"size: expected at most the 96 samples .* got 98"):
        RecurrencePlot(94, dimension=3, delay=2)(np.zeros((3, 96)))
    with pytest.raises(InputError, match=r"dimension must be so small .* 2 points are left of 4 samples, but got 4"):
        RecurrencePlot(None, dimension=4).shape(3, 4)
    for call in (lambda view: view(np.zeros((3, 31))), lambda view: view.shape(3, 31)):
        with pytest.raises(InputError, match="segment must be at most the 31 samples of a window, but got 32"):
            call(Spectrogram())


def test_equal_settings_have_equal_digests():
    same = [PersistenceImage(sigma=1), PersistenceImage(sigma=1.0), PersistenceImage(sigma=np.float32(1))]
    same += [PersistenceImage(sigma=1.0, birth=[-4, 4]), PersistenceImage(sigma=1.0, size=np.int64(64))]
    assert len({view.digest for view in same}) == 1
    assert len(set(same)) == 1
    assert Raw([0]).digest == Raw((np.int64(0),)).digest
    distinct = [*KINDS, Raw([0]), Raw([1]), Raw(["0"]), Raw(source="watch"), PersistenceImage(normalize=False)]
    assert len({view.digest for view in distinct}) == len(distinct)


def test_digest_and_values_are_the_same_in_another_process_and_nothing_heavy_is_imported():
    code = (
        "import sys, kdlab.views as v\n"
        "heavy = {'numba', 'pyts', 'persim', 'ripser'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(v.PersistenceImage(size=32, birth=[-1, 1]).digest, v.Raw(['a']).digest)\n"
        "import numpy as np, hashlib\n"
        "x = np.sin(np.arange(200.0) ** 1.5).reshape(2, 100)\n"
        "for view in (v.PersistenceImage(), v.GramianAngularField()):\n"
        "    print(hashlib.sha256(view(x).numpy().tobytes()).hexdigest())\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    heavy, digests, *values = lines.splitlines()
    assert heavy == "[]"
    assert digests.split() == [PersistenceImage(size=32, birth=(-1, 1)).digest, Raw(["a"]).digest]
    x = np.sin(np.arange(200.0) ** 1.5).reshape(2, 100)
    views = (PersistenceImage(), GramianAngularField())
    assert values == [hashlib.sha256(view(x).numpy().tobytes()).hexdigest() for view in views]


def test_forked_children_have_their_own_threads():
    view, x = PersistenceImage(size=16), _samples(PersistenceImage(), batch=64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = view(x)  # starts the parent's pool
        data = [(x[i : i + 16],) for i in range(0, 64, 16)]

        class Views(torch.utils.data.Dataset):
            def __len__(self):
                return len(data)

            def __getitem__(self, i):
                return view(*data[i])

        loader = torch.utils.data.DataLoader(
            Views(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=PATIENCE
        )
        assert torch.equal(torch.cat(list(loader)), expected)
    finally:
        torch.set_num_threads(threads)


class Holder:
    """As a data module takes its views."""

    def __init__(self, views: dict[str, View | None] | None = None, view: View | None = None):
        self.views, self.view = views, view


YAML = """
views:
  raw: Raw
  watch: {class_path: Raw, init_args: {channels: [acc_x, 3]}}
  pi: {class_path: PersistenceImage, init_args: {size: 32, birth: [-4, 4]}}
  gaf: {class_path: GramianAngularField, init_args: {method: difference, size: null, source: phone}}
  scan: ScanPersistenceImage
  mtf: MarkovTransitionField
  plot: RecurrencePlot
  spectrogram: Spectrogram
  far/physical: {class_path: Resampled, init_args: {rate: 30, length: 300, scale: 0.102}}
  last: {class_path: Raw, init_args: {samples: 100}}
  later: null
view: PersistenceImage
"""


def _parse(text):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "holder")
    config = parser.parse_string("holder:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    again = parser.parse_string(parser.dump(config, skip_none=False))
    make = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return make(config).holder, make(again).holder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_yaml_with_bare_class_names():
    for holder in _parse(YAML):
        assert holder.views == {
            "raw": Raw(),
            "watch": Raw(["acc_x", 3]),
            "pi": PersistenceImage(size=32),
            "gaf": GramianAngularField(None, "difference", source="phone"),
            "scan": ScanPersistenceImage(),
            "mtf": MarkovTransitionField(),
            "plot": RecurrencePlot(),
            "spectrogram": Spectrogram(),
            "far/physical": Resampled(rate=30, length=300, scale=0.102),
            "last": Raw(samples=100),
            "later": None,
        }
        assert holder.view == PersistenceImage()
        assert {hash(view) for view in holder.views.values()}


def test_yaml_typos_are_refused_by_name():
    with pytest.raises(Exception, match="siz"):
        _parse("views: {pi: {class_path: PersistenceImage, init_args: {siz: 32}}}")
    with pytest.raises(Exception, match="PersistentImage"):
        _parse("views: {pi: PersistentImage}")
