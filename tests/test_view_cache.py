"""Views on disk: equal to computed ones bit for bit, found by all that they depend on, whole or absent, bounded."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab.augment import Noise
from kdlab.data import ArrayDataModule, Scale, ViewCache, stored_views
from kdlab.data.stored_views import HEADER, code_of
from kdlab.data.view_cache import ABOUT
from kdlab.types import InputError
from kdlab.views import PersistenceImage, Raw, RecurrencePlot, Resampled, Spectrogram, View
from tests.conftest import PATIENCE

VIEWS: dict[str, View | None] = {
    "raw": Raw(),
    "plot": RecurrencePlot(size=8),
    "plot/clean": None,
    "pi": PersistenceImage(size=6, dtype="float64"),
    "far/physical": Resampled(rate=25, length=12),
}


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_views, "BLOCK", 4000)  # a few windows a file


def module(folder: Path | None = None, seed: int = 0, budget: Any = "1MB", **more: Any) -> ArrayDataModule:
    x = 9.81 + np.random.default_rng(seed).standard_normal((40, 2, 40))
    cache = None if folder is None else ViewCache(str(folder), budget)
    given: dict[str, Any] = {"views": VIEWS, "batch_size": 7, "sampling_rate": 50, "seed": 0, **more}
    return ArrayDataModule(x, np.arange(40) % 2, np.arange(40) // 4, view_cache=cache, **given)


def batches(data: ArrayDataModule, epoch: int = 0) -> list[dict[str, Tensor]]:
    """The views of all batches of training, validation and test."""
    data.setup()
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    return [batch.views for loader in loaders for batch in loader]


def equal(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    assert len(one) == len(other) > 3
    return all(
        a.keys() == b.keys() and all(a[k].dtype is b[k].dtype and torch.equal(a[k], b[k]) for k in a)
        for a, b in zip(one, other, strict=True)
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.views"))


@pytest.mark.parametrize("more", [{}, {"augment": Noise(0.5)}, {"scale": "minmax", "corruption": Noise(0.5)}])
def test_views_are_those_that_are_computed(tmp_path: Path, more: dict[str, Any], monkeypatch: Any) -> None:
    expected = batches(module(**more))
    assert equal(batches(module(tmp_path, **more)), expected)
    assert files(tmp_path)
    assert len({path.parent for path in files(tmp_path)}) == 3  # plot, pi and far
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    if not more:
        monkeypatch.setattr(RecurrencePlot, "compute", lambda self, x: pytest.fail("computed again"))
        monkeypatch.setattr(stored_views.Source, "__call__", probe_alone)
    assert equal(batches(module(tmp_path, **more)), expected)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before


def probe_alone(self: stored_views.Source, rows: slice) -> Any:
    """The first window, for its shape; the view itself may not be computed."""
    assert rows == slice(0, 1)
    shape = self.view.shape(2, 40)
    return np.zeros((1, *shape), np.float64 if self.physical or getattr(self.view, "dtype", "") == "float64" else "f4")


def test_only_what_nothing_changes_is_kept(tmp_path: Path) -> None:
    data = module(tmp_path, augment=Noise(0.5), views={"plot": RecurrencePlot(size=8)})
    data.setup()
    list(data.train_dataloader())
    assert not files(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    list(data.val_dataloader())
    assert files(tmp_path)


def test_other_data_scales_and_settings_are_other_views(tmp_path: Path) -> None:
    views = {"plot": RecurrencePlot(size=8)}
    changed = [
        {},
        {"seed": 1},
        {"scale": Scale([0.0, 0.0], [2.0, 1.0])},
        {"views": {"plot": RecurrencePlot(size=9)}},
        {"views": {"plot/physical": RecurrencePlot(size=8)}},
    ]
    for count, more in enumerate(changed, start=1):
        given: dict[str, Any] = {"views": views, **more}
        assert equal(batches(module(tmp_path, **given)), batches(module(**given)))
        assert len({path.parent for path in files(tmp_path)}) == count
    about = json.loads(next(tmp_path.glob(f"*/{ABOUT}")).read_text())
    assert about["key"]["view"].startswith("kdlab.views.recurrence.RecurrencePlot(")


@pytest.mark.parametrize("damage", ["cut", "flipped", "header", "empty", "pickle"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    expected = batches(module(tmp_path))
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    bad = {
        "cut": whole[:-3],
        "flipped": whole[: HEADER + 5] + bytes([whole[HEADER + 5] ^ 1]) + whole[HEADER + 6 :],
        "header": whole.replace(b'"file": 0', b'"file": 1').replace(b'"file": 0', b""),
        "empty": b"",
        "pickle": b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.".ljust(len(whole)),
    }[damage]
    assert bad != whole
    path.write_bytes(bad)
    with pytest.warns(UserWarning, match=r"view_cache: .*\.views' is damaged \(.*\); its views are computed again"):
        assert equal(batches(module(tmp_path)), expected)
    assert path.read_bytes() == whole


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(UserWarning, match=r"cannot be written \(.*No space left on device.*computed in every"):
        assert equal(batches(module(tmp_path)), batches(module()))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".views"] == []


def test_a_folder_that_can_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batches(module(tmp_path))
    missing = files(tmp_path)[0]
    missing.unlink()
    kept = len(files(tmp_path))
    before = Path.open

    def refused(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if tmp_path in self.parents and mode != "rb":
            raise PermissionError(13, "Permission denied", str(self))
        return before(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)  # the superuser may write into every folder
    with pytest.warns(UserWarning, match="view_cache: nothing can be written into .*Views that are there are read"):
        assert equal(batches(module(tmp_path)), expected)
    assert len(files(tmp_path)) == kept


def test_the_budget_holds(tmp_path: Path) -> None:
    views = {"plot": RecurrencePlot(size=8)}
    need = 40 * 2 * 8 * 8 * 4
    with pytest.raises(
        InputError, match=r"budget must be at least .* for the views of this data module, but got 10\.0"
    ):
        batches(module(tmp_path, budget=10240, views=views))
    stranger = tmp_path / "thesis"
    stranger.mkdir()
    (stranger / "chapter.txt").write_text("mine")
    budget = 2 * (need + 6 * HEADER)
    for seed in range(4):
        data = module(tmp_path, seed=seed, budget=budget, views=views)
        assert equal(batches(data), batches(module(seed=seed, views=views)))
        del data
        assert sum(path.stat().st_size for path in files(tmp_path)) <= budget
    assert len({path.parent for path in files(tmp_path)}) == 2
    assert (stranger / "chapter.txt").read_text() == "mine"


def test_views_in_use_are_not_deleted(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    views, budget = {"plot": RecurrencePlot(size=8)}, 40 * 2 * 8 * 8 * 4 + 6 * HEADER
    first = module(tmp_path, budget=budget, views=views)
    batches(first)
    kept = files(tmp_path)
    with pytest.warns(UserWarning, match="view_cache: other processes use .* are computed in every epoch"):
        assert equal(
            batches(module(tmp_path, seed=1, budget=budget, views=views)), batches(module(seed=1, views=views))
        )
    assert files(tmp_path) == kept


def work(folder: str, out: str) -> None:
    views = {"plot": RecurrencePlot(size=8), "pi": PersistenceImage(size=6)}
    data = module(Path(folder), views=views)
    torch.save(batches(data), out)


def test_several_processes_and_workers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=work, args=(str(tmp_path / "v"), str(tmp_path / f"{i}.pt"))) for i in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(PATIENCE)
        assert job.exitcode == 0
    views = {"plot": RecurrencePlot(size=8), "pi": PersistenceImage(size=6)}
    expected = batches(module(views=views))
    for i in range(3):
        assert equal(torch.load(tmp_path / f"{i}.pt", weights_only=True), expected)
    shutil.rmtree(tmp_path / "v")
    for _ in range(2):
        loaded = batches(module(tmp_path / "v", views=views, num_workers=2, multiprocessing_context="fork"))
        assert equal(loaded, expected)
    assert not list((tmp_path / "v").rglob(".kdlab-part*"))


def test_a_class_of_ones_own_is_found_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(Spectrogram()) == ""
    text = "from kdlab.views import RecurrencePlot\nclass Mine(RecurrencePlot):\n    number = {}\n"
    digests = []
    for number in (1, 2):
        (tmp_path / f"mine_{number}.py").write_text(text.format(number))
        monkeypatch.syspath_prepend(tmp_path)
        name = f"mine_{number}"
        digests.append(code_of(__import__(name).Mine(size=8)))
    assert len({*digests, "", None}) == 4
    lost = types.ModuleType("lost")
    exec(text.format(3), lost.__dict__)
    monkeypatch.setitem(sys.modules, "lost", lost)
    assert code_of(lost.Mine(size=8)) is None
    with pytest.warns(UserWarning, match="view_cache: the code of Mine cannot be read"):
        assert equal(
            batches(module(tmp_path / "v", views={"m": lost.Mine(size=8)})),
            batches(module(views={"m": lost.Mine(size=8)})),
        )
    assert not files(tmp_path / "v")


@pytest.mark.parametrize(
    ("arguments", "message"), [(("",), "folder must be"), (("v", "much"), "budget must be a size")]
)
def test_wrong_settings(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"view_cache: {message}"):
        ViewCache(*arguments)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="view_cache: folder must be one that can be made"):
        module(tmp_path / "file" / "views").setup()
