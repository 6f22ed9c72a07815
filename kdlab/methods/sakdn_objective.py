"""The objective of SAKDN's student; the equation is in :mod:`kdlab.methods.sakdn`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.class_embeddings import check_classes, read_embeddings
from kdlab.methods.dask import translator
from kdlab.methods.sensors import ablated_of, logits_of, sensors_of, vector_of
from kdlab.objective import Classifier, Need, checked_taps, gather
from kdlab.objectives import Reduction, WeightedTeachers
from kdlab.types import Output


class SAKDNObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"kd"``, ``"map"`` and ``"semantic"``.

    A teacher with sensors (`SensorFusion`) counts as ``M`` of equal weight, any other net as one. The logits of student
    and teachers for all-zero windows are read from the taps ``"ablated"`` and ``"<sensor>/ablated"``, ``(1, K)`` or
    ``(B, K)``, which `SAKDN` adds; without them every weight ``w`` is 1.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, for class embeddings
            with zeros and relative weights, or with both shapes if maps do not fit.

    Example:
        >>> maps = {"stage1": torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), "embedding": torch.tensor([[1.0], [1.0]])}
        >>> student = Output(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), maps)
        >>> maps = {"stage1": torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]), "embedding": torch.tensor([[0.0], [1.0]])}
        >>> teacher = Output(student.logits, maps)
        >>> objective = SAKDNObjective(taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'map': 0.2, 'semantic': 0.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("liu2021semantics", "hinton2015distilling")

    map_weight: Setting = setting("``beta``, at least 0.", default=1.0)
    semantic_weight: Setting = setting("``gamma``, at least 0.", default=1.0)
    temperature: Setting = setting("``T > 0`` of the soft targets.", default=4.0, low=1e-3)
    kd_weight: Setting = setting(
        "``w_st``, at least 0; the cross-entropy keeps its weight of 1. Released: .01 on UTD-MHAD, 0 on Berkeley-MHAD "
        "and MMAct.",
        default=0.01,
    )
    weights: dict[str, float] | None = argument(
        "teacher name -> weight; ``None`` weights all teachers equally, with sum 1.", default=None
    )
    taps: tuple[str, ...] = argument(
        "names of the maps, without the sensor.", default=("stage1", "stage2", "stage3"), check=checked_taps
    )
    gsdm_weight: Literal["cosine", "relative"] = argument(
        '``"cosine"``, or ``"relative"`` as released; see :func:`kdlab.functional.semantic_weight`.', default="cosine"
    )
    class_embeddings: str | list[list[float]] | None = argument(
        "``None``: those that the teachers were trained towards, or one-hot ones where they hold none; "
        '``"one-hot"``; a file (``.npy``, ``.npz`` with one array, ``.csv``) or rows, in the order of the classes.',
        default=None,
    )
    collapse: Literal["rows"] | None = argument(
        '``None`` refuses maps of images beside maps of signals; ``"rows"`` averages the maps of a teacher on images '
        "over their rows, for images of which both axes are time, and then compares them as signals.",
        default=None,
    )
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def __post_init__(self) -> None:
        """Read the class embeddings, which are kept as a buffer ``table``."""
        super().__post_init__()
        self.table: Tensor | None
        self.register_buffer("table", None, persistent=False)
        self.given = self.class_embeddings is not None
        if self.class_embeddings is not None:
            self.use(read_embeddings(self.class_embeddings))
        del self.class_embeddings

    def use(self, embeddings: Tensor | None) -> None:
        """Set class embeddings ``(K, E)``; ``None``: one-hot ones.

        Raises:
            InputError: for entries of 0, with relative weights.
        """
        if embeddings is None and self.gsdm_weight == "relative":
            embeddings = torch.eye(2)  # for the message
        if embeddings is not None:
            functional.check_embeddings(embeddings, self.gsdm_weight)
        self.table = None if embeddings is None else embeddings.detach().clone()

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """The maps and the embedding."""
        return {name: dict.fromkeys((*self.taps, "embedding"), "feature") for name in teachers}

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """A linear layer to the semantic vectors of each teacher; the identity where the lengths are equal."""
        own = self.feature(student, "embedding", "the student")
        return {
            name: translator(own, self.feature(out, vector_of(out, sensors_of(out)[0]), f"teacher {name!r}"))
            for name, out in teachers.items()
        }

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "kd": w_st KD, "map": beta GSDM, "semantic": gamma mse}``, means over sensors."""
        self.adapt(student=student, teachers=teachers)
        if self.table is not None:
            check_classes(self.table, student.logits)
        gathered, zeros = gather(student), ablated_of(student, "")
        own = [gathered(self._map(student, tap, student.logits, zeros, "the student")) for tap in self.taps]
        terms: dict[str, list[Tensor]] = {"kd": [], "map": [], "semantic": []}
        for name, weight in self.weights_of(teachers).items():
            output, sensors = teachers[name], sensors_of(teachers[name])
            translated = self.adapted(name, self.feature(student, "embedding", "the student"))
            for sensor in sensors:
                who, share = f"teacher {name!r}", weight / len(sensors)
                logits = logits_of(output, sensor)
                vector = self.feature(output, vector_of(output, sensor), who).detach()
                pair = self.scaled(student.logits), self.scaled(logits)
                kd = functional.soft_target_kl(*pair, self.temperature, self.kl_reduction)
                terms["kd"].append(share * kd)
                terms["semantic"].append(share * functional.mean_square(translated, vector))
                for mine, tap in zip(own, self.taps, strict=True):
                    tap = f"{sensor}/{tap}" if sensor else tap
                    other = gathered(self._map(output, tap, logits, ablated_of(output, sensor), who).detach())
                    with self.comparing(who, tap):
                        distance = functional.ablation_distance(mine, other, self.collapse)
                    terms["map"].append(share / len(self.taps) * distance)
        kd, maps, semantic = (torch.stack(values).sum(0) for values in terms.values())
        return {
            "ce": self.label_loss(student.logits, target),
            "kd": self.kd_weight * kd,
            "map": self.map_weight * maps,
            "semantic": self.semantic_weight * semantic,
        }

    def _map(self, output: Output, tap: str, logits: Tensor, ablated: Tensor | None, who: str) -> Tensor:
        """The ablation map of one tap, ``(B, *S)``."""
        feature, weight = self.feature(output, tap, who), None
        if ablated is not None:
            weight = functional.semantic_weight(logits.argmax(1), ablated.argmax(1), self.table, self.gsdm_weight)
        with self.comparing(who, tap):
            return functional.ablation_map(feature, weight)
