"""Loaders of pairs ``(x, y)`` and data modules of another origin: every method trains on them, or says what to give."""

from __future__ import annotations

import textwrap
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import kdlab
from kdlab import KD, Batch, Distillation, InputError, Output, Supervised, Teacher, cli
from kdlab.cache import TeacherCache
from kdlab.callbacks import (
    ConfusionMatrixPicture,
    EarlyStoppedTeacher,
    MarginMapPictures,
    PredictionWriter,
    ViewPictures,
)
from kdlab.data import ArrayDataModule, RandomPartner
from kdlab.evaluate import evaluate
from kdlab.evaluate.command import main as evaluation
from kdlab.export import export
from kdlab.export import main as exporting
from kdlab.methods.batches import THREE_LINES, Reads, Unindexed, batch_of
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.receiving import loader_statistics
from kdlab.methods.stubs import made_methods
from kdlab.nets import ReusedClassifier, WideResNet
from kdlab.objectives import SoftTargets

CLASSES, CHANNELS, LENGTH, WINDOWS = 3, 2, 32, 24
METHODS = {"Supervised": Supervised, "Distillation": Distillation, **made_methods()}
#: what needs more than pairs, and the words that say so
NEEDS = {
    "CRD": "keeps embeddings of all training windows by it",
    "PSKD": "keeps its predictions of the epoch before by it",
    "CSKD": "reads view 'raw/pair'",
    "DDGSD": "reads view 'raw/second'",
    "IPS": "reads view 'raw/pair'",
}


def arrays(ndim: int = 1) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    y = torch.arange(WINDOWS) % CLASSES
    x = torch.randn(WINDOWS, CHANNELS, *(LENGTH,) * ndim, generator=made)
    x[:, 0] += 3 * y.view(-1, *(1,) * ndim)
    return x, y


X, Y = arrays()


def loader(*tensors: Any, **kwargs: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), **{"batch_size": 8, **kwargs})


def net(ndim: int = 1, channels: int = CHANNELS) -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1, ndim=ndim, in_channels=channels, num_classes=CLASSES)


def teacher() -> Teacher:
    return Teacher(net=net(), mean=[0.0] * CHANNELS, std=[1.0] * CHANNELS)


def method(name: str) -> Any:
    """A method with teachers of the names that it weights by default."""
    cls = METHODS[name]
    if not issubclass(cls, Distillation):
        return cls(net())
    if name == "WKDL":
        return cls(net(), {"big": teacher()}, costs=(1.0 - torch.eye(CLASSES)).tolist())
    named = getattr(getattr(cls, "made_from", None), "default_weights", None) or {"big": 1.0}
    student = ReusedClassifier(net(), net()) if name == "SimKD" else net()
    more = ["other"] if name == "MTKDRL" else []  # an agent chooses between teachers
    return cls(student, {key: teacher() for key in [*named, *more]})


def run(folder: Path, *callbacks: Any, **kwargs: Any) -> Trainer:
    seed_everything(0)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(
        **{"accelerator": "cpu", "max_epochs": 1, **quiet, **kwargs}, default_root_dir=folder, callbacks=[*callbacks]
    )


def fit(folder: Path, module: Any, train: Any, val: Any = None, **kwargs: Any) -> Any:
    run(folder, enable_checkpointing=False, **kwargs).fit(module, train, loader(X, Y) if val is None else val)
    return module


def refusal(folder: Path, train: Any, val: Any = None, module: Any = None) -> str:
    with pytest.raises(InputError) as refused:
        fit(folder, Supervised(net()) if module is None else module, train, val)
    return str(refused.value)


class FromLines(Dataset):  # type: ignore[type-arg]
    """A data set whose method is the three lines of a message."""

    def __init__(self, message: str, pairs: Any) -> None:
        self.pairs, self.partner, self.distort = pairs, RandomPartner(pairs.tensors[1]), torch.flip
        self.distort = lambda x: x + 0.1 * torch.randn_like(x)  # type: ignore[assignment]
        lines = message[message.index("    def __getitem__") :]
        names: dict[str, Any] = {"kdlab": kdlab}
        exec(textwrap.dedent(lines), names)
        self.made = names["__getitem__"]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Any:
        return self.made(self, i)


# ---- every method ----------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_pairs_or_says_what_to_give(name: str, tmp_path: Path) -> None:
    module = method(name)
    before = {key: value.clone() for key, value in module.net.state_dict().items() if value.is_floating_point()}
    if name in NEEDS:
        message = refusal(tmp_path, loader(X, Y), module=module)
        assert message.startswith(name)
        assert NEEDS[name] in message
        module = method(name)
        if name == "CRD":
            assert "method.objective.remember(range(N))" in message
            module.objective.remember(range(WINDOWS))
        given = DataLoader(FromLines(message, TensorDataset(X, Y)), batch_size=8, shuffle=True)
    else:
        given = loader(X, Y, shuffle=True)
    fit(tmp_path, module, given)
    assert any(not torch.equal(module.net.state_dict()[key], value) for key, value in before.items())


@pytest.mark.filterwarnings("ignore")
def test_costs_of_classes_are_given_where_windows_cannot_be_read(tmp_path: Path) -> None:
    message = refusal(tmp_path, loader(X, Y), module=METHODS["WKDL"](net(), {"big": teacher()}))
    assert message.startswith("WKDL: costs must be given for plain loaders")


def test_pairs_train_as_batches_of_our_own(tmp_path: Path) -> None:
    """The same weights as by hand: SGD on the cross-entropy of the standardised windows."""
    module = fit(tmp_path, Supervised(net(), optimizer=lambda p: torch.optim.SGD(p, 0.1)), loader(X, Y))
    wanted = net()
    mean, std = X.double().mean((0, 2)), X.double().std((0, 2), correction=0)
    wanted.standardize.fill(mean, std)
    wanted.train()
    optimizer = torch.optim.SGD(wanted.parameters(), 0.1)
    for x, y in loader(X, Y):
        optimizer.zero_grad()
        nn.functional.cross_entropy(wanted(x).logits, y).backward()
        optimizer.step()
    for key, value in wanted.state_dict().items():
        torch.testing.assert_close(module.net.state_dict()[key], value)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x.double(), y.short()[:, None]),
        lambda x, y: (x, y.float()),
        lambda x, y: (x, nn.functional.one_hot(y)),
        lambda x, y: (x, nn.functional.one_hot(y).bool()),
        lambda x, y: (x, nn.functional.one_hot(y).double()),
        lambda x, y: (x, y, torch.arange(len(y))),
        lambda x, y: (x, y, torch.arange(len(y), dtype=torch.int32)[:, None]),
    ],
)
def test_types_of_labels_and_index(make: Any, tmp_path: Path) -> None:
    wanted = fit(tmp_path, Supervised(net()), loader(X, Y)).net.state_dict()
    got = fit(tmp_path, Supervised(net()), loader(*make(X, Y)), loader(*make(X, Y))).net.state_dict()
    for key, value in wanted.items():
        torch.testing.assert_close(got[key], value)


class Given:
    """Batches in any form, as a loader."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


Named = namedtuple("Named", "signal label")


@pytest.mark.parametrize("kind", [list, tuple, lambda pair: Named(*pair), lambda pair: [part.numpy() for part in pair]])
def test_forms_of_a_pair(kind: Any, tmp_path: Path) -> None:
    module = fit(tmp_path, Supervised(net()), Given(*(kind(pair) for pair in loader(X, Y))))
    wanted = fit(tmp_path, Supervised(net()), loader(X, Y))
    torch.testing.assert_close(module.net.state_dict(), wanted.net.state_dict())


def test_images_and_soft_labels(tmp_path: Path) -> None:
    x, y = arrays(2)
    soft = 0.8 * nn.functional.one_hot(y) + 0.2 / CLASSES
    fit(tmp_path, Supervised(net(2)), loader(x, soft), loader(x, y))
    message = refusal(tmp_path, loader(x, y), loader(x, soft), Supervised(net(2)))
    assert message == (
        "Supervised: y of shape (B, K) must be one-hot to validate, but got probabilities. Give class indices "
        "(y.argmax(1))."
    )
    last = "Supervised: x must be (B, C, H, W) with C=2, as Supervised reads it, but got shape (8, 32, 32, 2). Channels"
    assert refusal(tmp_path, loader(x.permute(0, 2, 3, 1), y), module=Supervised(net(2))).startswith(last)


# ---- refusals --------------------------------------------------------------------------------------------------------
HOT = nn.functional.one_hot(Y)
BROKEN = X.clone()
BROKEN[3, 0, 0], BROKEN[5] = torch.nan, torch.inf


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (loader(X, Y + 1), "y must be class indices from 0 to 2, the classes of the net, but got 1 to 3. Count"),
        (loader(X, Y + 5), "but got 5 to 7. Number the classes from 0, or set num_classes=8 of the net."),
        (loader(X, Y - 2), "but got -2 to 0. Number the classes from 0, and leave out windows without a"),
        (loader(X, Y + 0.5), "but got fractions or NaN. Number the classes, or give probabilities (B, K)."),
        (loader(X, X), "y must be class indices of shape (8,) or probabilities of shape (8, 3), but got shape (8, 2"),
        (loader(X, torch.ones(WINDOWS, 5)), "but got shape (8, 5). Give class indices, or set num_classes=5 of"),
        (loader(X, HOT.float() + 1), "the rows of y (B, K) must be probabilities, which sum to 1, but sum to 4"),
        (loader(X, HOT.float() - 1), "must be probabilities of at least 0, but got -1."),
        (loader(X, HOT | HOT.roll(1, 1)), "must be one-hot, but got rows that sum to 2 to 2. Give one class per"),
        (loader(X[:, 0], Y), "x must be (B, C, T) with C=2, as Supervised reads it, but got shape (8, 32). Give the"),
        (loader(X.mT, Y), "but got shape (8, 32, 2). Channels seem to be last: give x.transpose(1, 2)."),
        (loader(X[:, [0, 0, 1]], Y), "but got shape (8, 3, 32). Set in_channels=3 of the net, or give its 2 channels."),
        (loader(X[..., None], Y), "but got shape (8, 2, 32, 1). Give 3 axes, or take a net of ndim=2."),
        (loader(BROKEN, Y), "x must be finite, but 2 of the 8 windows of a batch hold NaN or infinite values"),
        (loader(X, Y, batch_size=None), "but got shape (2, 32). Give batches of windows: this looks like one window"),
        (loader(X), "must have labels, (x, y), but got x of shape (8, 2, 32) alone. Give pairs (x, y): torch.utils"),
        (loader(X, Y, Y.float()), "the index of a batch must be whole numbers of shape (8,), the position of each"),
        (loader(X, Y, Y - 5), "the index of a training window must be at least 0, but got -5."),
        (Given((X[:0], Y[:0])), "x must have at least one window and no empty axis, but got shape (0, 2, 32). Leave"),
        (Given(), "the training loader must give batches, but gave none."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(given: Any, said: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, given)
    assert message.startswith("Supervised: ")
    assert said in message
    assert "\n" not in message
    assert message.endswith((".", "]"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Given({"x": X, "y": Y}), "but got a dict with 'x', 'y'."),
        (loader(X, Y, Y, Y), "but got a list of 4 (Tensor, Tensor, Tensor, Tensor)."),
        (Given("abc"), "but got a str."),
        ([loader(X, Y), loader(X, Y)], "but got a list of 2 (list, list). Of several loaders, give one: "),
        ({"a": loader(X, Y)}, "but got a dict with 'a'. Of several loaders, give one: "),
    ],
)
def test_other_forms_are_refused_with_the_three_lines_that_work(given: Any, said: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, given)
    first, lines = message[: -len(THREE_LINES)], message[-len(THREE_LINES) :]
    assert first.startswith("Supervised: a batch must be a kdlab.Batch or a pair of tensors (x, y), but got ")
    assert said in first
    assert "\n" not in first
    assert lines == THREE_LINES
    assert len(lines.strip().splitlines()) == 3
    made = DataLoader(FromLines(message, TensorDataset(X, Y)), batch_size=8)
    module = fit(tmp_path, Supervised(net()), made, made)
    torch.testing.assert_close(module.net.state_dict(), fit(tmp_path, Supervised(net()), loader(X, Y)).net.state_dict())


def test_a_fault_in_a_later_batch_is_found_there(tmp_path: Path) -> None:
    message = refusal(tmp_path, Given((X[:8], Y[:8]), (X[:0], Y[:0])))
    assert "but got shape (0, 2, 32)" in message
    assert "y must be class indices from 0 to 2" in refusal(tmp_path, loader(X, Y), loader(X, Y - 1))


def test_one_loader_to_evaluate_on(tmp_path: Path) -> None:
    both = [loader(X, Y), loader(X, Y)]
    assert "there must be one loader to validate on, because" in refusal(tmp_path, loader(X, Y), both)
    with pytest.raises(InputError, match=r"one loader to test on, .* but got 2\. Join their data sets"):
        run(tmp_path).test(Supervised(net()), both)

    class Two(OnDevice):
        def val_dataloader(self) -> Any:
            return both

    with pytest.raises(InputError, match=r"one loader to validate on, .* but got 2\. Join their data sets"):
        run(tmp_path, enable_checkpointing=False).fit(Supervised(net()), Two())


def test_one_loader_in_a_list_or_mapping_is_that_loader(tmp_path: Path) -> None:
    for val in ([loader(X, Y)], {"a": loader(X, Y)}):
        module = kdlab.AMD(net(), {"big": teacher()})
        pictures = [ConfusionMatrixPicture(), MarginMapPictures(windows=1)]
        run(tmp_path, *pictures, enable_checkpointing=False).fit(module, loader(X, Y), val)
        assert set(module.teacher_scores) == {"big"}


def test_auto_weights_are_measured_on_pairs_as_on_batches(tmp_path: Path) -> None:
    def measured(train: Any) -> Any:
        module = fit(tmp_path, kdlab.SP(net(), {"big": teacher()}, similarity_weight="auto"), train)
        return module.objective.measured_weights["similarity_weight"], module.net.state_dict()

    class Own(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(X, Y)

    wanted = measured(DataLoader(Views("raw"), batch_size=8))
    numbers = loader(
        X.double(), Y, collate_fn=lambda rows: [torch.stack(part).numpy() for part in zip(*rows, strict=True)]
    )
    for train in (loader(X, Y), loader(X.double(), Y), numbers):
        torch.testing.assert_close(measured(train), wanted)
    own = kdlab.SP(net(), {"big": teacher()}, similarity_weight="auto")
    run(tmp_path, enable_checkpointing=False).fit(own, datamodule=Own())
    torch.testing.assert_close(own.net.state_dict(), wanted[1])


def test_auto_weights_need_a_loader_that_can_be_read_again(tmp_path: Path) -> None:
    module = kdlab.SP(net(), {"big": teacher()}, similarity_weight="auto")
    module.net.standardize.fill()
    module.objective.adapt_without_features()
    said = refusal(tmp_path, iter([*loader(X, Y)]), module=module)
    assert "similarity_weight must be a number where the training loader can be read once only" in said


def test_a_method_may_have_loaders_itself_and_need_not_validate(tmp_path: Path) -> None:
    class Own(Supervised):
        def train_dataloader(self) -> Any:
            return loader(X, Y)

    class TrainOnly(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(X, Y)

    wanted = fit(tmp_path, Supervised(net()), loader(X, Y)).net.state_dict()
    for module, data in ((Own(net()), None), (Supervised(net()), TrainOnly())):
        run(tmp_path, enable_checkpointing=False).fit(module, datamodule=data)
        torch.testing.assert_close(module.net.state_dict(), wanted)


class Stream(IterableDataset):  # type: ignore[type-arg]
    """Windows without a length, finite or not."""

    def __init__(self, endless: bool = False) -> None:
        self.endless = endless

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from zip(X, Y, strict=True)
            if not self.endless:
                return


def test_loaders_without_length_and_of_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlab.methods.receiving._UNSIZED", 6)
    wanted = fit(tmp_path, Supervised(net()), loader(X, Y)).net.state_dict()
    finite = fit(tmp_path, Supervised(net()), DataLoader(Stream(), batch_size=8)).net.state_dict()
    torch.testing.assert_close(finite, wanted)
    endless = DataLoader(Stream(endless=True), batch_size=8)
    module = fit(tmp_path, Supervised(net()), endless, max_epochs=-1, max_steps=3)
    torch.testing.assert_close(module.net.state_dict(), wanted)  # 6 batches are each window twice
    once = iter([*loader(X, Y)])
    assert "must be readable more than once, because the net's standardisation" in refusal(tmp_path, once)
    once = iter([*loader(X, Y)])  # of which no first batch is taken beforehand
    module = Supervised(net())
    module.net.standardize.fill(X.double().mean((0, 2)), X.double().std((0, 2), correction=0))
    torch.testing.assert_close(fit(tmp_path, module, once).net.state_dict(), wanted)


def test_a_first_look_changes_no_random_number(tmp_path: Path) -> None:
    orders: list[list[int]] = []

    class Noted(Supervised):
        def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
            orders[-1] += batch.index.tolist()
            return super().terms(batch, student)

    for own in (None, torch.Generator().manual_seed(5)):
        state = torch.Generator().manual_seed(5) if own is not None else None
        orders.append([])
        module = Noted(net())
        module.net.standardize.fill()
        fit(tmp_path, module, loader(X, Y, torch.arange(WINDOWS), shuffle=True, generator=own))
        seed_everything(0)
        wanted = loader(X, Y, torch.arange(WINDOWS), shuffle=True, generator=state)
        if own is not None:
            assert orders[-1] == [int(i) for _, _, index in wanted for i in index]
    assert sorted(orders[0]) == sorted(orders[1]) == [*range(WINDOWS)]


# ---- views, indices, teachers ----------------------------------------------------------------------------------------
class Views(Dataset):  # type: ignore[type-arg]
    """Windows in other views than ``raw``."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, i: int) -> Batch:
        return Batch(dict.fromkeys(self.names, X[i]), Y[i], i)  # type: ignore[arg-type]


def test_a_view_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    given = DataLoader(Views("watch", "phone"), batch_size=8)
    message = refusal(tmp_path, given, given)
    assert message.startswith("Supervised reads view 'raw', but the batch has 'watch', 'phone'. Read 'watch' (view=, ")
    fit(tmp_path, Supervised(net(), view="watch"), given, given)
    student = KD(net(), {"big": Teacher(net=net(), mean=[0.0] * 2, std=[1.0] * 2, view="gaf")}, student_view="watch")
    message = refusal(tmp_path, given, given, student)
    assert message.startswith("KD: teacher 'big' reads view 'gaf', but the batch has 'watch', 'phone'.")
    message = refusal(tmp_path, loader(X, Y), module=Supervised(net(), view="gaf"))
    assert message.startswith("Supervised reads view 'gaf', but x of a pair (x, y) is view 'raw'.")
    both = KD(net(), {"big": Teacher(net=net(), mean=[0.0] * 2, std=[1.0] * 2, view="phone")}, student_view="watch")
    fit(tmp_path, both, given, given)
    assert both.teacher_scores["big"].majority == pytest.approx(1 / CLASSES)


class Indexed(SoftTargets):
    """Soft targets that need the index, or take it where it is known."""

    needed = True
    zero_when_equal = False
    reason = "it is of a test"

    def forward(self, *, student: Any, teachers: Any, target: Tensor, index: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return super().forward(student=student, teachers=teachers, target=target, index=index)


class Optional(SoftTargets):
    """Soft targets that keep what they got."""

    def forward(self, *, student: Any, teachers: Any, target: Tensor, index: Tensor | None = None) -> dict[str, Tensor]:
        self.seen = [*getattr(self, "seen", []), index]
        return super().forward(student=student, teachers=teachers, target=target)


def test_what_needs_an_index_is_refused_by_name_and_the_others_get_none(tmp_path: Path) -> None:
    message = refusal(tmp_path, loader(X, Y), module=Distillation(net(), {"big": teacher()}, Indexed()))
    assert "the index of each window must be given, because Indexed reads it, but got pairs (x, y)" in message
    fit(tmp_path, Distillation(net(), {"big": teacher()}, Indexed()), loader(X, Y, torch.arange(WINDOWS)))
    optional = Distillation(net(), {"big": teacher()}, Optional())
    fit(tmp_path, optional, loader(X, Y))
    assert optional.objective.seen
    assert all(index is None for index in optional.objective.seen)
    optional = Distillation(net(), {"big": teacher()}, Optional())
    fit(tmp_path, optional, loader(X, Y, torch.arange(WINDOWS)))
    assert torch.cat([i for i in optional.objective.seen if i is not None]).tolist() == [*range(WINDOWS)]
    message = refusal(tmp_path, loader(X, Y, torch.arange(WINDOWS)), module=METHODS["CRD"](net(), {"big": teacher()}))
    assert message.startswith("CRD: the index of all training windows must be known, for its memory, but plain loaders")
    cached = KD(net(), {"big": teacher()}, cache=TeacherCache())
    assert "cache: the data module must give its training windows in order" in refusal(
        tmp_path, loader(X, Y), module=cached
    )


def test_a_teacher_of_a_plain_loader_teaches_on_another(tmp_path: Path) -> None:
    stopped = EarlyStoppedTeacher(smoothing=1)
    run(tmp_path / "teacher", stopped, max_epochs=2).fit(Supervised(net()), loader(X, Y), loader(X, Y))
    kept = read_checkpoint(Path(str(stopped.checkpoint)), "test")[KEY]
    assert kept["fingerprint"] is None
    assert kept["view_settings"] is None
    student = KD(net(), {"big": Teacher(str(stopped.checkpoint))})
    said = (
        r"KD: the split of plain loaders is not known, so it cannot be checked that no teacher \(big\) was trained on"
    )
    with pytest.warns(UserWarning, match=said) as warned:
        fit(tmp_path, student, loader(X, Y))
    assert sum("cannot be checked" in str(one.message) for one in warned) == 1
    ours = ArrayDataModule(
        X.repeat(4, 1, 1).numpy(), Y.repeat(4).numpy(), np.arange(4 * WINDOWS) // 6, batch_size=8, seed=0
    )
    with pytest.warns(UserWarning, match="has no record of its training data: its split cannot be checked"):
        run(tmp_path / "ours", enable_checkpointing=False).fit(
            KD(net(), {"big": Teacher(str(stopped.checkpoint))}), ours
        )


def test_figures_of_plain_loaders(tmp_path: Path) -> None:
    student = KD(net(), {"big": teacher()})
    figures = [ConfusionMatrixPicture(), MarginMapPictures(taps=["stage1"], windows=3), ViewPictures()]
    fitted = run(tmp_path, *figures)
    fitted.fit(student, loader(X, Y), loader(X, Y))
    fitted.test(student, loader(X, Y), verbose=False)
    drawn = {path.stem for path in tmp_path.rglob("*.png")}
    assert {"confusion_val", "confusion_test"} <= drawn
    assert any("margin" in name for name in drawn)
    assert "views" not in drawn


def test_statistics_of_two_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(rows: slice) -> list[Batch]:
        nothing = torch.zeros(len(X[rows]), dtype=torch.long)
        return [Batch({"raw": X[rows]}, nothing, nothing)]

    sums: list[Tensor] = []

    def total(x: Tensor) -> Tensor:
        sums.append(x)
        return torch.stack(sums).sum(0)

    monkeypatch.setattr("kdlab.distributed.world_size", lambda: 2)
    monkeypatch.setattr("kdlab.distributed.total", total)
    loader_statistics(batches(slice(5)), "raw")
    mean, std, windows = loader_statistics(batches(slice(5, None)), "raw")
    assert windows == WINDOWS
    np.testing.assert_allclose(mean, X.double().numpy().mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, X.double().numpy().std((0, 2)), rtol=1e-9)


# ---- evaluation and prediction ---------------------------------------------------------------------------------------
def test_validate_test_and_predict_on_plain_loaders(tmp_path: Path) -> None:
    module = fit(tmp_path, Supervised(net()), loader(X, Y))
    module.eval()
    with torch.no_grad():
        logits = module.net(X).logits
    hits = float((logits.argmax(1) == Y).float().mean())
    loss = float(nn.functional.cross_entropy(logits, Y))
    for stage in ("validate", "test"):
        (got,) = getattr(run(tmp_path), stage)(module, loader(X, Y, batch_size=7), verbose=False)
        prefix = {"validate": "val", "test": "test"}[stage]
        assert got[f"{prefix}/accuracy"] == pytest.approx(hits)
        assert got[f"{prefix}/loss"] == pytest.approx(loss, rel=1e-5)
    none = torch.full_like(Y, -1)  # without a label
    loaders = [loader(X), DataLoader(X, batch_size=7), loader(X, Y, batch_size=7), loader(X, none), loader(X, 0 * HOT)]
    for number, given in enumerate(loaders):
        path = tmp_path / f"{number}.csv"
        run(tmp_path, PredictionWriter(str(path))).predict(module, given)
        header, *rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        assert header == ["index", "subject", "target", "prediction", *(f"probability_{k}" for k in range(CLASSES))]
        assert [int(row[0]) for row in rows] == [*range(WINDOWS)]
        assert [int(row[2]) for row in rows] == (Y.tolist() if number == 2 else [-1] * WINDOWS)
        assert [int(row[3]) for row in rows] == logits.argmax(1).tolist()


def test_a_loader_after_a_data_module_is_not_taken_for_it(tmp_path: Path) -> None:
    """Its subjects are not those of the data module that the trainer had before."""
    ours = ArrayDataModule(
        X.repeat(4, 1, 1).numpy(), Y.repeat(4).numpy(), np.arange(4 * WINDOWS) // 6, batch_size=8, seed=0
    )
    again = run(tmp_path, PredictionWriter(str(tmp_path / "p.csv")), enable_checkpointing=False)
    module = Supervised(net())
    again.fit(module, ours)
    again.predict(module, loader(X))
    rows = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [""] * WINDOWS


def test_batches_of_our_own_data_modules_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ArrayDataModule(
        X.repeat(4, 1, 1).numpy(), Y.repeat(4).numpy(), np.arange(4 * WINDOWS) // 6, batch_size=8, seed=0
    )
    read: list[Any] = []
    monkeypatch.setattr("kdlab.methods.receiving.batch_of", lambda given, reads: read.append(given))
    student = KD(net(), {"big": teacher()})
    run(tmp_path, enable_checkpointing=False).fit(student, ours)
    run(tmp_path).test(student, ours, verbose=False)
    assert student.teacher_scores
    assert not read


def test_one_batch_by_hand() -> None:
    reads = Reads("KD", "train", {"raw": ("KD", None)}, 2, torch.float64)
    batch = batch_of((torch.zeros(2, 3, 4), torch.tensor([[0.25, 0.75], [1.0, 0.0]])), reads)
    assert isinstance(batch, Unindexed)
    assert batch.target.dtype == batch.views["raw"].dtype == torch.float64
    assert batch.index.tolist() == [-1, -1]
    assert type(batch_of(Batch({"raw": torch.zeros(2, 3)}, torch.tensor([0, 1]), torch.tensor([4, 5])), reads)) is Batch
    both = Reads("KD", "train", {"a": ("KD", None), "b": ("KD", None)}, 2, torch.float32)
    unequal = Batch({"a": torch.zeros(1, 2), "b": torch.zeros(2, 2)}, torch.zeros(1), torch.zeros(1))
    with pytest.raises(InputError, match=r"the views of a batch must have the same number of windows, but got"):
        batch_of(unequal, both)


def test_partners_are_others_of_the_class() -> None:
    labels = [0, 1, 0, 2, 1, 0]
    partner = RandomPartner(torch.tensor(labels))
    torch.manual_seed(0)
    drawn = [{partner(i) for _ in range(40)} for i in range(len(labels))]
    assert drawn == [{2, 5}, {4}, {0, 5}, {3}, {1}, {0, 2}]
    with pytest.raises(InputError, match=r"RandomPartner: labels must be whole numbers of shape \(N,\)"):
        RandomPartner([0.5, 1.0])


# ---- data modules of another origin ----------------------------------------------------------------------------------
class OnDevice(LightningDataModule):
    """It changes its pairs after their transfer, in their own form."""

    def train_dataloader(self) -> Any:
        return loader(X, Y)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return [x * 2, y]


def test_hooks_of_a_data_module_see_its_own_form(tmp_path: Path) -> None:
    module = Supervised(net())
    run(tmp_path, enable_checkpointing=False).fit(module, OnDevice())
    wanted = fit(tmp_path, Supervised(net()), loader(2 * X, Y), loader(2 * X, Y))
    torch.testing.assert_close(module.net.state_dict(), wanted.net.state_dict())
    assert len(run(tmp_path).predict(module, OnDevice())) == 3


class Opened(OnDevice):
    """Its hook makes the pairs."""

    def train_dataloader(self) -> Any:
        return DataLoader([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)], batch_size=8)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = train_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch["x"], batch["y"]


def test_a_hook_may_make_the_pairs(tmp_path: Path) -> None:
    wanted = fit(tmp_path, Supervised(net()), loader(X, Y))
    module = Supervised(net())
    module.prepare(Opened(), "fit")  # as on the command line, before a trainer has it
    run(tmp_path, enable_checkpointing=False).fit(module, Opened())
    torch.testing.assert_close(module.net.state_dict(), wanted.net.state_dict())
    result = evaluate(module, Opened(), embedding=False, cost=False)
    with torch.no_grad():
        hits = module.net.eval()(X).logits.argmax(1) == Y
    assert result.scalars["accuracy"] == pytest.approx(float(hits.float().mean()))


def test_no_export_of_a_net_of_ours_on_other_windows(tmp_path: Path) -> None:
    ours = ArrayDataModule(
        X.repeat(4, 1, 1).numpy(), Y.repeat(4).numpy(), np.arange(4 * WINDOWS) // 6, batch_size=8, seed=0
    )
    fitted = run(tmp_path)
    fitted.fit(Supervised(net()), ours)
    with pytest.raises(InputError, match=r"must be the one of kdlab that the checkpoint was trained on, which scales"):
        export(fitted.checkpoint_callback.best_model_path, OnDevice())  # type: ignore[union-attr]


CODE = f'''
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

import kdlab


class Pairs(LightningDataModule):
    """Pairs (x, y), and what a hook of theirs may read of the trainer."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        self.ranks = self.trainer.world_size

    def windows(self):
        y = torch.arange({WINDOWS}) % {CLASSES}
        x = torch.randn({WINDOWS}, {CHANNELS}, {LENGTH}, generator=torch.Generator().manual_seed(0))
        x[:, 0] += 3 * y[:, None]
        return TensorDataset(x, y)

    def train_dataloader(self):
        return DataLoader(self.windows(), batch_size=self.batch_size)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


class Batches(Pairs):
    """`kdlab.Batch` for each window, and the names of the classes."""

    classes = ["lie", "sit", "walk"]

    def windows(self):
        return Windows(super().windows())


class Dicts(Pairs):
    """Neither."""

    def windows(self):
        return [{{"x": x, "y": y}} for x, y in super().windows()]


class Windows(torch.utils.data.Dataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)
{THREE_LINES}
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a module in the working directory, with data modules of another origin."""
    name = f"outside_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def config(name: str, cls: str, **more: Any) -> str:
    """The config of a run on a data module of another origin."""
    described = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 3}}
    content = {
        "data": {"class_path": f"{name}.{cls}"},
        "model": {"class_path": "Supervised", "init_args": {"net": described}, **more},
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        "run": f"mine/{cls.lower()}",
    }
    Path(f"{cls}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return f"{cls}.yaml"


@pytest.mark.parametrize("cls", ["Pairs", "Batches"])
def test_a_data_module_of_another_origin_from_yaml(cls: str, outside: str) -> None:
    file = config(outside, cls)
    seen = cli.run(["fit", "--config", file])
    folder = f"runs/mine/{cls.lower()}"
    for stage in ("validate", "test", "predict"):
        cli.run([stage, "--config", file, "--ckpt_path", folder])
    header, *rows = Path(f"{folder}/version_0/predictions.csv").read_text(encoding="utf-8").splitlines()
    named = "probability_lie" if cls == "Batches" else "probability_0"
    assert header.split(",")[:5] == ["index", "subject", "target", "prediction", named]
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(WINDOWS)]
    assert [row.split(",")[2] for row in rows] == [str(int(y)) for y in Y]
    wanted = X.double().mean((0, 2)).float()
    torch.testing.assert_close(seen.model.net.standardize.mean, wanted)
    scheduled = ["--model.init_args.scheduler", "OneCycleLR", "--model.init_args.scheduler.max_lr=0.1"]
    results = evaluation([folder, "--trust-config"], cli.build)
    (result,) = results.values()
    predicted = [[float(p) for p in row.split(",")[4:]] for row in rows]
    np.testing.assert_allclose(result.probabilities, predicted, atol=1e-5)
    assert result.scalars["accuracy"] == pytest.approx(np.mean(np.argmax(predicted, 1) == Y.numpy()))
    assert result.classes == (["lie", "sit", "walk"] if cls == "Batches" else ["0", "1", "2"])
    assert {"parameters", "macs", "latency_ms"} <= set(result.scalars)
    assert not {"view_ms", "accuracy_noise1"} & set(result.scalars)
    with pytest.raises(InputError, match=r"a WindowDataModule of kdlab, but got .*pass --trust-config"):
        evaluation([folder, "--out", "untrusted"], cli.build)
    with pytest.warns(UserWarning, match=rf"export: units, channels and scaling of {cls} are not known to kdlab"):
        exported = exporting([folder, "--format", "torch", "--trust-config", "--windows", "test"], cli.build)
    np.testing.assert_allclose(exported(X).softmax(1).numpy(), predicted, atol=1e-5)
    assert exported.card["scale"] == {"offset": [0.0, 0.0], "divisor": [1.0, 1.0], "clip": False}
    assert exported.card["input"]["units"].startswith("not known: as the data module gave them")
    assert exported.card["classes"] == result.classes
    assert exported.card["check"]["accuracy"]["before"] == pytest.approx(result.scalars["accuracy"])
    assert exported.card["provenance"]["fingerprint"] == {}
    again = cli.run(["fit", "--config", file, *scheduled])
    assert again.trainer.lr_scheduler_configs[0].scheduler.total_steps == 3
    cli.run(
        ["fit", "--config", file, "--ckpt_path", f"{folder}/version_0/checkpoints/last.ckpt", "--trainer.max_epochs=2"]
    )


def test_another_form_is_refused_before_a_folder_is_made(outside: str) -> None:
    with pytest.raises(InputError) as refused:
        cli.run(["fit", "--config", config(outside, "Dicts")])
    assert "must be a kdlab.Batch or a pair of tensors (x, y), but got a dict with 'x', 'y'" in str(refused.value)
    assert str(refused.value).endswith(THREE_LINES)
    assert not Path("runs").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_nets_of_16_bits_are_refused_where_windows_have_32(dtype: torch.dtype, tmp_path: Path) -> None:
    half = Teacher(net=net().to(dtype), mean=[0.0] * CHANNELS, std=[1.0] * CHANNELS)
    for module, who in ((KD(net(), {"big": half}), "teacher 'big'"), (Supervised(net().to(dtype)), "Supervised")):
        with pytest.raises(
            InputError, match=rf"{who}: the net must have 32-bit weights .* {dtype}. Pass net.float\(\)"
        ):
            fit(tmp_path, module, loader(X, Y))
