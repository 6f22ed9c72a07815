"""Two gloo processes equal one process, in loss and gradient, for every objective; fits on two learn the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdlab import distributed
from kdlab.data import BasicMotions
from kdlab.functional import unit
from kdlab.methods.comodo import COMODOObjective
from kdlab.methods.dkd import DKDObjective
from kdlab.methods.rkd import RKDObjective
from kdlab.methods.sp import SPObjective
from kdlab.methods.tgd import TGDObjective
from kdlab.methods.tpkd import TPKDObjective
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.types import Output
from tests.conftest import trainer
from tests.test_adapters import METHODS as ADAPTED
from tests.test_adapters import method
from tests.test_objectives import OBJECTIVES as WALKED
from tests.test_objectives import names

WORLD, BATCH, CLASSES = 2, 16, 4
TAPS = ("stage1", "stage2")
#: every objective as it is by default, and with settings that compute something else
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    **{cls.__name__: cls for cls in WALKED},
    "TGD": lambda: TGDObjective(taps=TAPS),
    "TGD normalised": lambda: TGDObjective(taps=TAPS, merge="normalised"),
    "TPKD square": lambda: TPKDObjective(taps=TAPS, oth="square"),
    "TPKD sp": lambda: TPKDObjective(taps=TAPS, oth="sp"),
    "SP with logits": lambda: SPObjective(taps=TAPS, kd_weight=0.5),
    "RKD on maps": lambda: RKDObjective(taps=TAPS, kd_weight=0.5),
}


def learnt_temperature(cls: type[Objective]) -> Objective:
    """An objective of standardised logits whose temperature is learnt, with its gradient reversed."""
    objective = cls(learn_temperature=True, standardise=True)
    objective.adapt_without_features()
    objective.adapters.double()
    objective.advance(4)
    return objective


def with_a_queue() -> Objective:
    """COMODO in the middle of a fit, about to queue a batch."""
    made = COMODOObjective(queue=40, hidden=5)
    student, teacher = (Output(torch.zeros(2, 4).double(), {"embedding": torch.randn(2, n).double()}) for n in (10, 12))
    made.adapt(student=student, teachers={"raw": teacher})
    made.adapters["raw"].write(unit(torch.randn(30, 12).double()))  # type: ignore[operator]
    made.advance(0)
    return made


OBJECTIVES["COMODO with a queue"] = with_a_queue
OBJECTIVES |= {f"{cls.__name__} learnt": partial(learnt_temperature, cls) for cls in (SoftTargets, DKDObjective)}
#: read the first half of a batch as one distortion, and the second as the other
HALVES = {"DDGSDObjective", "IPSObjective"}
#: the terms that every process computes on the whole batch
WHOLE = {"similarity", "distance", "angle", "affinity", "inter", "intra", "geodesic", "map", "relation"}


class Net(nn.Module):
    """Three convolutions and a head, without batch norm."""

    def __init__(self, third: int = 10) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 3, padding=1), nn.Conv1d(6, 8, 3, stride=2, padding=1)
        self.third, self.head = nn.Conv1d(8, third, 3, stride=2, padding=1), nn.Linear(third, CLASSES)

    def forward(self, x: Tensor) -> Output:
        one = self.first(x)
        two = self.second(one.relu())
        three = self.third(two.relu())
        embedding = three.relu().mean(2)
        return Output(self.head(embedding), {"stage1": one, "stage2": two, "stage3": three, "embedding": embedding})


def rows_of(name: str, rank: int) -> list[int]:
    """The rows of a fixed batch that a process has."""
    parts = 2 if name in HALVES else 1
    return torch.arange(BATCH).view(parts, WORLD, -1)[:, rank].flatten().tolist()


def step(name: str, rows: list[int], parallel: bool = False) -> dict[str, Any]:
    """Terms and gradients of one step on these rows of a fixed batch."""
    torch.manual_seed(0)
    x, target = torch.randn(BATCH, 3, 20, dtype=torch.float64), torch.arange(BATCH) % CLASSES
    net: nn.Module = Net().double()
    objective = OBJECTIVES[name]()
    wide = 10 if name == "SimKDObjective" else 12  # its student has the teacher's channels
    teachers = {role: Net(wide).double() for role in names(objective)}
    objective.check(batch_size=len(x[rows]), teachers=teachers)
    student = DistributedDataParallel(net) if parallel else net
    with torch.no_grad():
        answers = {key: teacher(x[rows] ** (2 if key == "pi" else 1)) for key, teacher in teachers.items()}
    said = student(x[rows])
    objective.adapt(student=said, teachers=answers)
    objective.adapters.eval()  # on given features: the batch norm of adapters is each process's own
    terms = objective(student=said, teachers=answers, target=target[rows])
    (torch.stack(list(terms.values())).sum() + 0 * sum(f.sum() for f in said.features.values())).backward()
    return {
        "terms": {key: term.detach() for key, term in terms.items()},
        "grad": torch.cat([p.grad.flatten() for p in net.parameters()]),
        "adapters": torch.cat([torch.zeros(0), *(p.grad.flatten() for p in objective.adapters.parameters())]),
        "held": torch.cat([torch.zeros(0), *(b.flatten().double() for b in objective.adapters.buffers())]),
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD)
    found: dict[str, Any] = {name: step(name, rows_of(name, rank), parallel=True) for name in OBJECTIVES}
    found["rank"] = (distributed.rank(), distributed.world_size())
    found["gathered"] = distributed.gather(torch.arange(3.0)[:, None] + 10 * rank)
    found["total"] = distributed.total(torch.tensor([1.0, float(rank)]))
    try:
        distributed.gather(torch.zeros(2 + rank, 3))
    except ValueError as error:
        found["uneven"] = str(error)
    distributed.gather = detached
    found["without autograd"] = step("TGD", rows_of("TGD", rank), parallel=True)
    distributed.gather = lambda x, checked=False: x
    found["local"] = step("TGD", rows_of("TGD", rank), parallel=True)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def detached(x: Tensor, *, checked: bool = False) -> Tensor:
    """What a plain all_gather gives: all values, and a gradient to the own rows only."""
    parts = [torch.empty_like(x) for _ in range(WORLD)]
    dist.all_gather(parts, x.detach())
    parts[dist.get_rank()] = x
    return torch.cat(parts)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gloo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        mp.spawn(worker, (str(folder),), nprocs=WORLD)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm()) if b.any() else float(a.norm())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_equal_one(name: str, processes: list[dict[str, Any]]) -> None:
    one = step(name, list(range(BATCH)))
    for key, term in one["terms"].items():
        mean = torch.stack([found[name]["terms"][key] for found in processes]).mean()
        assert distance(mean, term) < 1e-9, key
    for found in processes:
        assert distance(found[name]["grad"], one["grad"]) < 1e-9
    mean = torch.stack([found[name]["adapters"] for found in processes]).mean(0)  # as DistributedDataParallel takes it
    assert distance(mean, one["adapters"]) < 1e-9
    assert all(distance(found[name]["held"], one["held"]) < 1e-9 for found in processes)  # such as a queue
    whole = [{k: float(v) for k, v in found[name]["terms"].items() if k in WHOLE} for found in processes]
    assert whole[0] == whole[1]


def test_some_terms_are_of_the_whole_batch(processes: list[dict[str, Any]]) -> None:
    assert {term for name in OBJECTIVES for term in processes[0][name]["terms"]} >= WHOLE


def test_some_objectives_have_adapters_with_gradients(processes: list[dict[str, Any]]) -> None:
    """Each process has gradients of its own, so that taking their mean matters."""
    learning = {name for name in OBJECTIVES if processes[0][name]["adapters"].any()}
    assert {"AFDObjective", "CRDObjective", "FitNetObjective", "SAKDNObjective", "VIDObjective"} <= learning
    for name in learning - {"SAKDNTeacherObjective"}:  # of absolute differences: signs, as many in either process
        assert distance(*(found[name]["adapters"] for found in processes)) > 1e-3, name


@pytest.mark.parametrize("way", ["without autograd", "local"])
def test_the_test_can_fail(way: str, processes: list[dict[str, Any]]) -> None:
    one = step("TGD", list(range(BATCH)))
    assert all(distance(found[way]["grad"], one["grad"]) > 0.1 for found in processes)


def test_gather(processes: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(processes):
        assert found["rank"] == (rank, WORLD)
        assert found["gathered"].flatten().tolist() == [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]
        assert found["total"].tolist() == [2.0, 1.0]
        assert "[2, 3]" in found["uneven"]


def test_one_process_needs_nothing() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather(x) is x
    assert distributed.total(x) is x
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


# ---------------------------------------------------------------------------------- whole fits of methods with adapters


class Seeded(pl.Callback):
    """Adapters that begin with other numbers in each process, unless something makes them equal."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        torch.manual_seed(trainer.global_rank)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.before = learnt(pl_module)
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen += batch.index.tolist() if trainer.current_epoch == 0 else []


def learnt(module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}


def fits(rank: int, folder: str, teacher: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # tells Lightning that there is nothing to launch
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD)
    found = {}
    for name in ADAPTED:
        module, seeded = method(name, teacher), Seeded()
        settings: dict[str, Any] = {"strategy": "ddp", "devices": WORLD, "limit_val_batches": 0, "max_epochs": 2}
        trainer(Path(folder), callbacks=[seeded], **settings).fit(module, BasicMotions(batch_size=4))
        found[name] = {"before": seeded.before, "after": learnt(module), "seen": seeded.seen}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def fitted(teachers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ddp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        mp.spawn(fits, (str(folder), teachers["raw"]), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", ADAPTED)
def test_a_fit_on_two_processes_learns_the_same_adapters_on_both(name: str, fitted: list[dict[str, Any]]) -> None:
    one, other = (found[name] for found in fitted)
    assert not set(one["seen"]) & set(other["seen"])  # of other windows
    adapters = [key for key in one["after"] if key.startswith("objective.adapters.")]
    assert bool(adapters) == (name != "SimKD")
    for when in ("before", "after"):
        assert list(one[when]) == list(other[when])
        assert all(torch.equal(value, other[when][key]) for key, value in one[when].items()), when
    assert all(not torch.equal(one["before"][key], one["after"][key]) for key in adapters if "norm" not in key)
