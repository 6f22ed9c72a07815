"""Classes held out as unknown: nothing of them is learnt, and how well nets tell them apart is scikit-learn's AUROC."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from kdlab import KD, Batch, InputError, Supervised, Teacher, cli, functional
from kdlab.augment import Corruption
from kdlab.callbacks import OpenSetScore
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.data.classes import known_classes
from kdlab.evaluate import evaluate, tables
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.study.report import write_report
from tests.configs import LIMIT
from tests.conftest import REPOSITORY, net, trainer

# -------------------------------------------------------------------------------------------------------------- score


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    known, unknown = random.normal(0.5, 1, 30 + seed).round(1), random.normal(0, 1, 17).round(1)  # with ties
    found = functional.auroc(torch.tensor(known), torch.tensor(unknown))
    expected = roc_auc_score([1] * len(known) + [0] * 17, np.concatenate([known, unknown]))
    assert found.item() == pytest.approx(expected, abs=1e-12)
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    assert found.item() == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_auroc_refuses() -> None:
    with pytest.raises(InputError, match=r"at least one each, got \(2,\) and \(0,\)"):
        functional.auroc(torch.zeros(2), torch.zeros(0))
    with pytest.raises(InputError, match="not a number"):
        functional.auroc(torch.tensor([float("nan")]), torch.zeros(1))


def test_scores() -> None:
    random = torch.Generator().manual_seed(0)
    z = 4 * torch.randn(6, 5, generator=random, dtype=torch.float64)
    x, w = (torch.randn(n, 3, generator=random, dtype=torch.float64) for n in (6, 5))
    for i, row in enumerate(z.tolist()):
        expected = {
            "probability": max(math.exp(v) for v in row) / sum(math.exp(v) for v in row),
            "logit": max(row),
            "energy": math.log(sum(math.exp(v) for v in row)),
            "cosine": max(float(x[i] @ c) / math.sqrt(float(x[i] @ x[i]) * float(c @ c)) for c in w),
        }
        for name, value in expected.items():
            assert functional.known_score(z, name, x, w)[i].item() == pytest.approx(value, abs=1e-12)
    assert functional.known_score(torch.tensor([[100.0, 0.0]], dtype=torch.float16), "energy").item() == 100
    with pytest.raises(InputError, match="score must be one of 'probability', 'logit', 'energy', 'cosine'"):
        functional.known_score(z, "entropy")
    with pytest.raises(InputError, match=r"'cosine' needs.*\(6, 3\) and None"):
        functional.known_score(z, "cosine", x)


# --------------------------------------------------------------------------------------------------------------- data


def test_nobody_is_told_of_unknown_classes() -> None:
    whole, data = BasicMotions(), BasicMotions(unknown_classes=["Running"])
    names, label = whole.classes, whole.data.target
    assert data.classes == ["Badminton", "Standing", "Walking"]
    assert data.num_classes == 3
    for stage in ("train", "val", "test"):
        batches, all_of_them = list(data.batches(stage)), list(whole.batches(stage))
        index = torch.cat([b.index for b in batches])
        assert [data.classes[t] for b in batches for t in b.target] == [names[label[i]] for i in index]
        assert set(index.tolist()) == {i for b in all_of_them for i in b.index.tolist() if names[label[i]] != "Running"}
    unknown = torch.cat([b.index for b in data.batches("unknown")]).tolist()
    assert {names[label[i]] for i in unknown} == {"Running"}
    assert set(unknown) == {int(i) for b in whole.batches("test") for i in b.index if names[label[i]] == "Running"}
    assert all((b.target == -1).all() for b in data.batches("unknown"))
    predicted = {i for b in data.predict_dataloader() for i in b.index.tolist()}
    assert not predicted & set(unknown)


def test_the_fingerprint_knows() -> None:
    whole, data = BasicMotions(), BasicMotions(unknown_classes=["Running"])
    assert "unknown_classes" not in whole.fingerprint
    assert data.fingerprint["unknown_classes"] == ["Running"]
    assert data.fingerprint["classes"] == data.classes
    assert len(data.fingerprint["unknown"]) == 10
    ids = {d.fingerprint["id"] for d in (whole, data, BasicMotions(unknown_classes=["Walking"]))}
    assert len(ids) == 3
    assert not set(data.fingerprint["unknown"]) & {*data.fingerprint["train"], *data.fingerprint["val"]}
    standard = np.asarray(data.data.windows["raw"])[data.train_index].astype(np.float64)
    assert data.fingerprint["scale"]["raw"]["offset"] == pytest.approx(standard.mean((0, 2)).tolist())


def subjects(**settings: Any) -> ArrayDataModule:
    """Eight subjects with two windows of each of four classes; class "odd" is done by subject 7 alone."""
    random = np.random.default_rng(0)
    who, what = np.repeat(np.arange(8), 8), np.tile(np.arange(4), 16)
    keep = (what < 3) | (who == 7)
    x = random.normal(size=(64, 2, 16)).astype(np.float32)[keep]
    names = ["lie", "sit", "walk", "odd"]
    return ArrayDataModule(x, what[keep], who[keep], classes=names, batch_size=4, **settings)


def test_unknown_windows_are_of_the_test_subjects() -> None:
    data = subjects(test_subjects=[6, 7], unknown_classes=["walk"])
    with pytest.raises(InputError, match="no training window of class odd"):
        data.setup()
    data = subjects(test_subjects=[6, 7], unknown_classes=["walk", "odd"])
    whole = subjects(test_subjects=[6, 7], unknown_classes=["odd"])
    index = {s: [int(i) for b in data.batches(s) for i in b.index] for s in ("train", "val", "test", "unknown")}
    assert {s: set(data.subject_of(i)) for s, i in index.items()} == {
        s: set(data.fingerprint["test" if s == "unknown" else s]) for s in index
    }
    assert len(index["unknown"]) == 4 + 2  # two persons walk, one is odd
    assert all(data.fingerprint[s] == whole.fingerprint[s] for s in ("train", "val", "test"))
    everything = sum(map(len, index.values()))
    assert everything == len(data.data) - 2 * 6  # the walks of who trains and validates are nowhere


def test_a_number_is_a_label_unless_a_class_has_that_name() -> None:
    by_label, by_name = (BasicMotions(unknown_classes=[c]) for c in (1, "Running"))
    assert by_label.classes == ["Badminton", "Standing", "Walking"]
    assert by_label.fingerprint == by_name.fingerprint
    assert known_classes(["a", "b", "c", "d"], [0, "c"]) == [1, 3]
    assert known_classes(["5", "6", "7", "1"], [1, "6"]) == [0, 2]  # named 1 and 6, not labelled
    assert known_classes(["5", "6", "7", "1"], [0]) == [1, 2, 3]  # no class is named 0


def test_corruption_is_the_same_for_known_and_unknown() -> None:
    clean, noisy = (BasicMotions(unknown_classes=["Running"], corruption=c) for c in (None, Corruption("noise", 3)))
    for stage in ("test", "unknown"):
        a, b = (torch.cat([x.views["raw"] for x in d.batches(stage)]) for d in (clean, noisy))
        assert float((a - b).std()) == pytest.approx(0.12, abs=0.005)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BasicMotions(unknown_classes=["Swimming"]).setup(), "no class Swimming; there are Badminton"),
        (lambda: BasicMotions(unknown_classes=[4]).setup(), r"no class 4; there are Badminton.*\(or labels, 0 to 3\)"),
        (lambda: BasicMotions(unknown_classes=[-1]).setup(), "no class -1"),
        (lambda: BasicMotions(unknown_classes=["1"]).setup(), "no class 1; there are"),
        (
            lambda: BasicMotions(unknown_classes="Badminton").setup(),  # type: ignore[arg-type]
            r"unknown_classes must be a list of classes, but got 'Badminton'. Write \[Badminton\]",
        ),
        (lambda: BasicMotions(unknown_classes=1).setup(), r"got 1. Write \[1\]"),  # type: ignore[arg-type]
        (lambda: BasicMotions(unknown_classes=["Running", "Walking", "Standing"]).setup(), "1 would be known"),
        (lambda: list(BasicMotions().batches("unknown")), "all classes are known"),
        (lambda: OpenSetScore("entropy"), "score must be one of"),  # type: ignore[arg-type]
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# --------------------------------------------------------------------------------------------------------------- runs


def expected_auroc(module: Any, data: BasicMotions, score: str) -> float:
    def scores(stage: str) -> list[float]:
        batches = [b.views["raw"] for b in data.batches(stage)]
        with torch.no_grad():
            said = module.net.eval()(torch.cat(batches))
        x, w = (v.detach().double().numpy() for v in (said.features["embedding"], module.net.head.weight))
        cosine = (x @ w.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(w, axis=1)
        z = said.logits.double().numpy()
        table = {
            "probability": (np.exp(z) / np.exp(z).sum(1, keepdims=True)).max(1),
            "logit": z.max(1),
            "energy": np.log(np.exp(z).sum(1)),
            "cosine": cosine.max(1),
        }
        return list(table[score])

    known, unknown = scores("test"), scores("unknown")
    return float(roc_auc_score([1] * len(known) + [0] * len(unknown), known + unknown))


@pytest.mark.parametrize("score", functional.SCORES)
def test_a_student_of_any_method(score: Any, tmp_path: Path) -> None:
    """No window of an unknown class is in a training or validation step of teacher or student."""
    data = BasicMotions(unknown_classes=["Running"])
    running = {i for i, k in enumerate(data.data.target) if data.data.classes[k] == "Running"}
    seen: list[int] = []

    class Watched(KD):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            seen.extend(batch.index.tolist())
            return super().training_step(batch, batch_idx)

    teacher = Supervised(net(classes=3))
    trainer(tmp_path, max_epochs=1).fit(teacher, data)
    module = Watched(net(classes=3), {"raw": Teacher(net=teacher.net)})
    run = trainer(tmp_path, max_epochs=2, callbacks=[OpenSetScore(score)])
    run.fit(module, data)
    assert len(seen) == 2 * 24
    assert not running & set(seen)
    (found,) = run.test(module, data, verbose=False)
    assert set(found) == {"test/loss", "test/accuracy", "test/f1", "test/open_set_auroc"}
    assert found["test/open_set_auroc"] == pytest.approx(expected_auroc(module, data, score), abs=1e-6)


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(REPOSITORY / "experiments/basic_motions/a_softmax.yaml")
    words = ["--config", config, "--model.init_args.net.init_args.depth=10"]
    cli.run(["fit", *words, *LIMIT])
    limits = ["--trainer.limit_test_batches=1.0"]
    tested = cli.run(["test", *words, *LIMIT, *limits, "--ckpt_path", "runs/basic_motions/a_softmax"])
    found = float(tested.trainer.callback_metrics["test/open_set_auroc"])
    assert found == pytest.approx(expected_auroc(tested.model, tested.datamodule, "cosine"), abs=1e-6)
    said = read_checkpoint("runs/basic_motions/a_softmax/version_0/checkpoints/best.ckpt")[KEY]
    assert said["fingerprint"]["unknown_classes"] == ["Badminton"]
    other = ["--data.init_args.unknown_classes=[Walking]"]
    with pytest.raises(InputError, match="classes are Running, Standing, Walking, here Badminton, Running, Standing"):
        cli.run(["test", *words, *LIMIT, *other, "--ckpt_path", "runs/basic_motions/a_softmax"])
    known = ["--data.init_args.unknown_classes=null", "--model.init_args.net.init_args.num_classes=4", "--run=x/known"]
    with pytest.raises(InputError, match=r"OpenSetScore.*holds no class out"):
        cli.run(["fit", *words, *LIMIT, *known])  # not after hours of training
    pictures = ["--trainer.callbacks+=MarginMapPictures", "--run=x/pictures"]
    with pytest.raises(InputError, match=r"MarginMapPictures.*ASoftmax has no teachers"):
        cli.run(["fit", *words, *LIMIT, *pictures])
    assert not Path("runs/x").exists()


def test_a_teacher_of_all_classes_is_refused(teachers: dict[str, str], tmp_path: Path) -> None:
    module = KD(net(classes=3), {"raw": Teacher(teachers["raw"])})
    with pytest.raises(InputError, match="teacher 'raw' must have the 3 classes of the student, but has 4"):
        trainer(tmp_path).fit(module, BasicMotions(unknown_classes=["Running"]))


def test_the_callback_needs_unknown_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no class out.*unknown_classes"):
        trainer(tmp_path, callbacks=[OpenSetScore()]).test(Supervised(net()), BasicMotions(), verbose=False)


def test_a_fold_without_unknown_windows_says_so(tmp_path: Path) -> None:
    data = subjects(test_subjects=[5, 6], val_subjects=[3, 4], unknown_classes=["odd"])
    run = trainer(tmp_path, callbacks=[OpenSetScore()])
    with pytest.warns(UserWarning, match="no test window of an unknown class"):
        (found,) = run.test(Supervised(net(2, 3)), data, verbose=False)
    assert "test/open_set_auroc" not in found


def test_repeats_do_not_count(tmp_path: Path) -> None:
    data, module, callback = BasicMotions(unknown_classes=["Running"]), Supervised(net(classes=3)), OpenSetScore()
    run = trainer(tmp_path, callbacks=[callback])
    run.test(module, data, verbose=False)
    batch = next(data.batches("test"))
    scores = callback._scores(module, batch._replace(index=torch.where(batch.index % 2 == 0, batch.index, -1)))
    assert scores.isinf().tolist() == (batch.index % 2 == 1).tolist()
    assert len(callback._gathered(module, scores)) == int((batch.index % 2 == 0).sum())


def test_a_net_that_has_diverged_is_not_scored_by_the_rest_of_its_answers(tmp_path: Path) -> None:
    module = Supervised(net(classes=3))
    with torch.no_grad():
        module.net.head.bias.fill_(torch.nan)
    with pytest.raises(InputError, match=r"score is not a number.*outputs are finite"):
        trainer(tmp_path, callbacks=[OpenSetScore()]).test(module, BasicMotions(unknown_classes=["Running"]))


# --------------------------------------------------------------------------------------------- evaluation and studies


@pytest.mark.filterwarnings("ignore:.*training data of the net are not known.*")
def test_an_evaluation_scores_every_way() -> None:
    data, module = (
        BasicMotions(unknown_classes=["Running"], corruption=Corruption("noise", 3)),
        Supervised(net(classes=3)),
    )
    found = evaluate(module, data, cost=False)
    assert data.corruption is not None
    clean = BasicMotions(unknown_classes=["Running"])
    for score in functional.SCORES:
        assert found.scalars[f"open_set_auroc_{score}"] == pytest.approx(expected_auroc(module, clean, score), abs=1e-6)
        assert f"open-set AUROC %, {score}" in tables.summary({"net": found})
    assert not any("open_set" in name for name in evaluate(Supervised(net()), BasicMotions(), cost=False).scalars)
    assert not any("open_set" in name for name in evaluate(module, clean, stage="val", cost=False).scalars)


@pytest.mark.filterwarnings("ignore:.*training data of the net are not known.*")
def test_an_evaluation_leaves_out_what_cannot_be_scored() -> None:
    none = subjects(test_subjects=[5, 6], val_subjects=[3, 4], unknown_classes=["odd"])
    found = evaluate(Supervised(net(2, 3)), none, robustness=False, cost=False)
    assert not any("open_set" in name for name in found.scalars)
    module = Supervised(net(classes=3))
    module.net.head = torch.nn.Sequential(module.net.head)  # no class weights to hold an embedding against
    scalars = evaluate(module, BasicMotions(unknown_classes=["Running"]), robustness=False, cost=False).scalars
    assert [n for n in scalars if "open_set" in n] == [f"open_set_auroc_{s}" for s in functional.SCORES[:3]]


def test_a_study_reports_unknown_classes(tmp_path: Path) -> None:
    row = {"run": "scratch", "stage": "scratch", "labels": {}, "fold": "", "view": "raw", "test_accuracy": 0.9}
    rows = [{**row, "seed": s, "test_open_set_auroc_cosine": 0.7 + 0.1 * s} for s in range(3)]
    text = write_report(rows, [], tmp_path, name="open", draw=False).read_text()
    assert "## Unknown classes" in text
    assert "| scratch | raw | 80.0 ± 10.0 |" in text
    assert "test_open_set_auroc_cosine" in (tmp_path / "results.csv").read_text().splitlines()[0]
    plain = [{k: v for k, v in one.items() if "open_set" not in k} for one in rows]
    assert "Unknown" not in write_report(plain, [], tmp_path, name="closed", draw=False).read_text()
