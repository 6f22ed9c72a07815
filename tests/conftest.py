"""What the tests share: the recordings, the real embedded data, small nets, a GPU mark that skips with a reason."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a suite in the background of a script: Ctrl-C is tested, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import lightning.pytorch as pl
import pytest
import torch

import kdlab
from kdlab.data import BasicMotions
from kdlab.nets import WideResNet
from tests.configs import make_laboratory

REPOSITORY = Path(__file__).resolve().parent.parent
#: files whose tests take minutes, the longest first: with several workers they begin first, so that none is left alone
LONG = (
    *("test_experiments", "test_tuning", "test_cli", "test_study", "test_study_ends", "test_study_course"),
    *("test_cluster", "test_adapters", "test_distributed", "test_export_int8", "test_study_logs", "test_study_sharing"),
)
#: seconds that a process may take: a slow, busy machine takes minutes, only a hang takes so long
PATIENCE = 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run test files, and the tests within each, in the random order of this seed"
    parser.addoption("--shuffle", type=int, default=None, metavar="SEED", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist would begin with the files that have the most tests


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (seed := config.getoption("--shuffle")) is not None:
        rng = random.Random(seed)
        place = {file: rng.random() for file in sorted({item.path for item in items})}
        tests = {item.nodeid: rng.random() for item in sorted(items, key=lambda item: item.nodeid)}
        items.sort(key=lambda item: (place[item.path], tests[item.nodeid]))
    elif hasattr(config, "workerinput"):  # one of several workers
        counts = Counter(item.path for item in items)
        items.sort(key=lambda item: place_of(item.path.stem, counts[item.path], str(item.path)))
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))


def place_of(name: str, tests: int, path: str) -> tuple[int, int, str]:
    """Where a test file comes among others: long ones first, then those with the most tests."""
    return (LONG.index(name) if name in LONG else len(LONG)), -tests, path


@pytest.fixture(autouse=True)
def loud() -> None:
    """Studies quiet Lightning for their process; the tests that come after one want to hear it."""
    for name in ("pytorch", "fabric"):
        logger = logging.getLogger(f"lightning.{name}")
        logger.setLevel(logging.INFO)  # also after a study in a fixture of many tests
        logger.propagate = True  # Lightning 2.6.0 keeps its messages from pytest's caplog


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread in this process: the threads of OpenMP are not there in a forked one, which would wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recordings() -> Path:
    folder = os.environ.get("KDLAB_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("KDLAB_DATA does not name a folder of recordings")
    return Path(folder)


def net(channels: int = 6, classes: int = 4, ndim: int = 1, width: int = 1, depth: int = 10) -> WideResNet:
    return WideResNet(depth, width, ndim, in_channels=channels, num_classes=classes)


def trainer(folder: Path, **kwargs) -> pl.Trainer:
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**settings, **kwargs})


@pytest.fixture(scope="session")
def teachers(tmp_path_factory) -> dict[str, str]:
    """Checkpoints of a raw and a persistence-image teacher on BasicMotions, two epochs each, stopped early."""
    files = {}
    for name, views, backbone in (
        ("raw", {"raw": kdlab.views.Raw()}, net()),
        ("pi", {"pi": kdlab.views.PersistenceImage(size=16)}, net(ndim=2)),
    ):
        folder = tmp_path_factory.mktemp(f"teacher_{name}")
        pl.seed_everything(0)
        stop = kdlab.callbacks.EarlyStoppedTeacher(smoothing=1, patience=5, stop=False)
        fit = trainer(folder, max_epochs=2, callbacks=[stop])
        fit.fit(kdlab.Supervised(backbone, view=name), BasicMotions(views=views))
        files[name] = stop.checkpoint
    return files


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory) -> Path:
    """A folder as a user has it: experiments, and the data sets in their official layouts."""
    return make_laboratory(tmp_path_factory.mktemp("laboratory"))
