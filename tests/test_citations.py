"""What a run cites: all of what it used, and nothing that it did not use."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlab import EnsembleTeacher, augment, cli
from kdlab.callbacks import EarlyStoppedTeacher, MarginMapPictures, TemperatureAnnealing, WeightAnnealing
from kdlab.citations import BIBTEX, papers
from kdlab.methods.amd import AMDObjective
from kdlab.methods.at import ATObjective
from kdlab.methods.ca_mkd import CAMKDObjective
from kdlab.methods.dist import DISTObjective
from kdlab.methods.fitnet import FitNetObjective
from kdlab.methods.rkd import RKDObjective
from kdlab.methods.simkd import SimKDObjective
from kdlab.methods.sp import SPObjective
from kdlab.methods.tgd import TGDObjective
from kdlab.methods.topological_kd import TopologicalKDObjective
from kdlab.methods.tpkd import TPKDObjective
from kdlab.objective import Objective
from kdlab.types import InputError
from kdlab.views import ScanPersistenceImage
from tests.configs import config_of

HINTON, TUNG = "hinton2015distilling", "tung2019similarity"
#: what every run on these windows with these nets uses
COMMON = {"bagnall2018uea", "zagoruyko2016wide"}


def cited(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[str]:
    monkeypatch.setattr(sys, "argv", ["kdlab", "cite", "--config", str(config)])
    cli.main()
    return set(re.findall(r"^@\w+\{(\w+),$", capsys.readouterr().out, re.M))


def changed(name: str, folder: Path, **changes: Any) -> Path:
    """A config with some of its values set; ``data__augment`` is ``data.init_args.augment``."""
    config = config_of(f"basic_motions/{name}")
    for key, value in changes.items():
        part, _, argument = key.partition("__")
        (config[part] if part == "trainer" else config[part]["init_args"])[argument] = value
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("tgd", {"jeon2024leveraging", HINTON, TUNG, "adams2017persistence"}),
        ("tpkd", {"jeon2024topological", HINTON, TUNG, "adams2017persistence"}),
        ("amd", {"jeon2023leveraging", HINTON}),
        ("eskd", {"cho2019efficacy", "jeon2022role", HINTON}),
        ("sp", {TUNG}),  # its soft targets have weight 0
        ("teacher_raw", {"cho2019efficacy"}),  # stopped early by a callback
        ("scratch", set()),
    ],
)
def test_configs(
    name: str, used: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cited(changed(name, tmp_path), monkeypatch, capsys) == COMMON | used


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({"data__augment": "Mix1", "data__corruption": "Corruption"}, {"jeon2022role"}),
        ({"data__mix": "Mixup"}, {"zhang2018mixup"}),
        ({"trainer__callbacks": "WeightAnnealing"}, {"clark2019bam", HINTON}),  # moves a weight that begins at 0
        (
            {"trainer__callbacks": [{"class_path": "WeightAnnealing", "init_args": {"setting": "similarity_weight"}}]},
            set(),
        ),
        ({"trainer__callbacks+": ["TemperatureAnnealing"]}, {"jafari2021annealing"}),
        ({"trainer__callbacks": None, "model__kd_weight": 0.5}, {HINTON}),
        ({"trainer__callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]}, set()),
    ],
)
def test_augmentations_and_callbacks(
    changes: dict[str, Any],
    used: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cited(changed("sp", tmp_path, **changes), monkeypatch, capsys) == COMMON | {TUNG} | used


def test_a_wrong_callback_is_named(tmp_path: Path) -> None:
    wrong = [{"class_path": "EarlyStoppedTeacher", "init_args": {"patience": 0}}]
    with pytest.raises(InputError, match="patience must be a whole number at least 1, but got 0"):
        cli.build_callbacks(changed("sp", tmp_path, trainer__callbacks=wrong))


def test_what_a_base_class_gives_is_cited_where_it_is_used() -> None:
    expected: dict[Objective, set[str]] = {
        TGDObjective(): {HINTON, TUNG},
        TPKDObjective(kd_weight=0.0): {TUNG},
        TGDObjective(similarity_weight=0.0): {HINTON},
        SPObjective(): {TUNG},
        AMDObjective(): {HINTON},
        CAMKDObjective(): {HINTON},
        TopologicalKDObjective(): {HINTON},
        ATObjective(): set(),
        ATObjective(kd_weight=0.9): {HINTON},
        RKDObjective(): set(),
        FitNetObjective(): set(),
        SimKDObjective(): set(),
        SimKDObjective(kd_weight=0.1): {HINTON},
        DISTObjective(): set(),
    }
    for objective, base in expected.items():
        assert set(papers([objective])) & {HINTON, TUNG} == base, objective
        assert HINTON not in type(objective).paper or type(objective) in (TopologicalKDObjective, SimKDObjective)
    assert HINTON in papers([ATObjective(), WeightAnnealing(start=0.0, end=0.9)])
    assert HINTON not in papers([ATObjective(), WeightAnnealing("attention_weight")])


def test_order_and_classes() -> None:
    assert papers([]) == papers([object(), None, WeightAnnealing("gamma")]) == ()
    assert papers([ATObjective, ATObjective]) == ("zagoruyko2017paying", HINTON)  # a class has no weights yet
    assert papers([ScanPersistenceImage()]) == ("jeon2024leveraging", "adams2017persistence")
    assert papers([EarlyStoppedTeacher(), MarginMapPictures()]) == ("cho2019efficacy", "jeon2023leveraging")
    assert papers([TemperatureAnnealing()]) == ("jafari2021annealing",)
    named = {name: papers([getattr(augment, name)]) for name in ("Removal", "Noise", "Shift", "Mix1", "Mix2", "Crop")}
    assert named == {name: () if name == "Crop" else ("jeon2022role",) for name in named}
    assert papers([EnsembleTeacher]) == ("hansen1990neural",)
    assert papers([augment.RandomResizedCrop()]) == papers([augment.ResizedCropFlip()]) == ("szegedy2015going",)
    assert all(key in BIBTEX for keys in named.values() for key in keys)
