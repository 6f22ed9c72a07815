"""Patient and consistent distillation: what student and teachers read of augmented, mixed windows; no label term."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kdlab import KD, InputError, Supervised, Teacher, TeacherCache
from kdlab.augment import Noise
from kdlab.configs import read_config, stack
from kdlab.data import ArrayDataModule, Mixup
from kdlab.nets import WideResNet
from kdlab.study.configs import get_value
from kdlab.study.plan import Study
from kdlab.views import Raw
from tests.conftest import REPOSITORY, trainer
from tests.test_cross_fit import arrays, data, net

EXPERIMENTS = REPOSITORY / "experiments"
CHANGED = {"augment": Noise(0.3), "mix": Mixup(1.0)}  # a part of a config, as base/consistent.yaml
PATIENT = {"kd_weight": 1.0, "temperature": 1.0}  # likewise methods/patient_kd.yaml


def windows(**kwargs: Any) -> ArrayDataModule:
    views = {"raw": Raw(), "one": Raw(channels=["0"])}
    return data(views=views, channels=["0", "1"], **kwargs)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, found = tmp_path_factory.mktemp("patient"), {}
    for view, channels in (("raw", 2), ("one", 1)):
        L.seed_everything(channels, verbose=False)
        fit = trainer(folder, max_epochs=1)
        fit.fit(Supervised(WideResNet(10, 1, in_channels=channels, num_classes=3), view=view), windows())
        found[view] = str(folder / f"{view}.ckpt")
        fit.save_checkpoint(found[view])
    return found


def student(files: dict[str, str], cls: type[KD] = KD, **kwargs: Any) -> KD:
    teachers = {view: Teacher(file, view=view) for view, file in files.items()}
    return cls(net(), teachers, **{**PATIENT, **kwargs})


def partners(mixed: NDArray[Any], own: NDArray[Any]) -> tuple[list[float], float]:
    """The share of each window of a batch that is its own, and the largest rest, for its best partner."""
    shares, rest = [], 0.0
    for x, a in zip(mixed.astype(np.float64), own.astype(np.float64), strict=True):
        found = []
        for b in own.astype(np.float64):
            away = (b - a).ravel()
            length = float(away @ away)
            share = 0.0 if length == 0 else float((x - a).ravel() @ away) / length
            found.append((float(np.abs(x - (1 - share) * a - share * b).max()), 1 - share))
        best = min(found)
        shares.append(best[1])
        rest = max(rest, best[0])
    return shares, rest


def test_student_and_teachers_read_the_same_augmented_and_mixed_windows(
    tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, list[torch.Tensor]] = {"student": [], "raw": [], "one": []}
    logits: dict[str, list[torch.Tensor]] = {"student": [], "raw": [], "one": []}
    losses: list[float] = []
    steps: list[Any] = []
    forward = Teacher.forward

    def watched(self: Teacher, x: torch.Tensor) -> Any:
        output = forward(self, x)
        if steps and len(read[self.view]) < len(steps):  # validation windows score the teachers before
            read[self.view].append(x)
            logits[self.view].append(output.logits)
        return output

    class Watched(KD):
        def terms(self, batch: Any, student: Any) -> Any:
            steps.append(batch)
            read["student"].append(batch.views["raw"])
            logits["student"].append(student.logits.detach())
            terms = super().terms(batch, student)
            losses.append(float(sum(term.detach() for term in terms.values())))
            assert float(terms["ce"]) == 0.0
            return terms

    monkeypatch.setattr(Teacher, "forward", watched)
    L.seed_everything(5, verbose=False)
    trainer(tmp_path, max_epochs=1).fit(student(files, Watched), windows(**CHANGED))
    assert len(steps) == 12
    plain, unmixed = windows(), windows(augment=CHANGED["augment"])
    clean = {int(i): x for b in plain.batches("train") for i, x in zip(b.index, b.views["raw"].numpy(), strict=True)}
    augmented = {
        int(i): x for b in unmixed.train_dataloader() for i, x in zip(b.index, b.views["raw"].numpy(), strict=True)
    }
    drawn = []
    for k, batch in enumerate(steps):
        assert torch.equal(read["raw"][k], read["student"][k])  # bit by bit
        assert torch.equal(read["one"][k], read["student"][k][:, :1])  # another view of the same window
        index = batch.index.tolist()
        own = np.stack([augmented[i] for i in index])
        assert np.abs(own - np.stack([clean[i] for i in index])).max() > 0.1
        shares, rest = partners(read["student"][k].numpy(), own)
        assert rest < 1e-5  # every window is a mixture of two augmented windows of the batch
        others = [share for share in shares if abs(share - 1) > 1e-4]  # a permutation may leave some in place
        assert np.ptp(others) < 1e-4  # with one share for the batch
        drawn.append(np.mean(others))
        # the loss: the divergence of the student from the teachers' mean divergence, from the equation
        p = {name: torch.log_softmax(logits[name][k].double(), 1).numpy() for name in logits}
        kl = [float((np.exp(p[name]) * (p[name] - p["student"])).sum(1).mean()) for name in ("raw", "one")]
        assert losses[k] == pytest.approx(np.mean(kl), rel=1e-4)
    assert np.ptp(drawn) > 0.5  # uniform shares


def test_labels_have_no_part_in_it(tmp_path: Path, files: dict[str, str]) -> None:
    weights = []
    for y in (arrays()["y"], np.random.default_rng(1).permutation(arrays()["y"])):
        L.seed_everything(5, verbose=False)
        method = student(files)
        trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(method, windows(y=y, **CHANGED))
        weights.append([p.detach().clone() for p in method.net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(("change", "words"), [("mix", r"mix: Mixup\(alpha=1.0"), ("augment", r"augment: Noise\(")])
def test_a_cache_of_outputs_for_other_windows_is_refused(files: dict[str, str], change: str, words: str) -> None:
    for folder in (None, "cache"):
        method = student(files, cache=TeacherCache(folder=folder))
        with pytest.raises(InputError, match=rf"'raw', which is different in every epoch \({words}.* or the cache\."):
            method.prepare(windows(**{change: CHANGED[change]}), "fit")


# ------------------------------------------------------------------------------------------------ the shipped parts
def test_the_parts_say_what_is_tested_here() -> None:
    config = read_config(EXPERIMENTS / "methods/patient_kd.yaml", "method")
    assert config["model"] == {"class_path": "KD", "init_args": {**PATIENT, "cache": None}}
    assert read_config(EXPERIMENTS / "base/consistent.yaml", "part")["data"]["init_args"]["mix"] == {
        "class_path": "Mixup",
        "init_args": {"alpha": 1.0},
    }
    files = ["methods/patient_kd.yaml", "basic_motions/data.yaml", "basic_motions/student.yaml", "base/consistent.yaml"]
    stacked = stack(read_config(EXPERIMENTS / file, "run") for file in files)
    assert get_value(stacked, "data.init_args.augment") == "Mix1"
    assert get_value(stacked, "model.init_args.kd_weight") == 1.0


def test_each_row_has_its_control_on_the_same_windows() -> None:
    study = Study.read(EXPERIMENTS / "sp_sw_har/rows.yaml")
    patient, control = study.runs["kd_patient"], study.runs["scratch_patient"]
    assert patient.updates == control.updates == 800
    for name in ("augment", "mix"):
        where = f"data.init_args.{name}"
        assert get_value(patient.config, where) == get_value(control.config, where) is not None
    assert get_value(patient.config, "model.init_args.cache") is None
    equal = {name for name, run in study.runs.items() if run.updates == 400}
    assert {"scratch", "kd", "kd_out_of_person", "kd_views", "kd_seeds", "amd", "tgd", "tpkd", "three"} <= equal
    crossed = study.runs["kd_out_of_person"].teachers
    assert list(crossed.values()) == [f"teacher_raw_without{j}of3" for j in (1, 2, 3)]
    assert len(study.runs["kd_views"].teachers) == len(study.runs["kd_seeds"].teachers) == 3
