r"""SAKDN: coupled sensor teachers hand on semantic vectors, ablation maps and soft targets.

Teachers, one a sensor ``m``, in one `SensorFusion` net:

.. math:: \frac1M \sum_m \mathrm{CE}(z_m, y) + \frac{\alpha}{M} \sum_m \overline{\lvert f_m - e_y \rvert}

with the semantic vectors ``f_m`` and the embeddings ``e`` of the classes. Student:

.. math:: \mathrm{CE}(z_s, y) + \frac{\beta}{M |L|} \sum_{m, l} \mathrm{GSDM}(F_s^l, F_m^l)
    + \frac{\gamma}{M} \sum_m \overline{(A f_s - f_m)^2} + \frac{w_{st}}{M} \sum_m \mathrm{KD}(m, s)

where GSDM is :func:`kdlab.functional.ablation_distance` of the maps ``ReLU(w sum_c F_c)``, ``w`` tells for each window
and net how far the meaning of its prediction is from that of what it predicts of zeros
(:func:`kdlab.functional.semantic_weight`), and the linear layer ``A``, where lengths differ, learns with the student
and stays in training.

References:
    Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
    recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
    Code: YangLiu9208/SAKDN@881a1b9.

Differences from the reference code:
    The student's maps keep their gradient (there they become numpy arrays, and GSDM trains nothing); maps of different
    size are interpolated; see the functions. Windows of zeros are asked about by themselves, in evaluation mode (there
    in the same pass, where they enter the batch norm's statistics and the gates). All nets see views of the same window
    (there every loader is shuffled by itself). The similarity-preserving term of the paper's figure has weight 0 there,
    and is left out. The student, a video network on eight frames, and VGG16 on sensor images of 224 pixels are replaced
    by nets of kdlab, with three taps by default, not five. The published class embeddings are sums of GloVe vectors of
    the words of a class's name, 300 values long, which a user may pass; a table that the teachers learn is the default.
    With one-hot ones the released weight ``"relative"`` does not exist, so ``"cosine"`` is the default. The student's
    semantic vector is its embedding behind ``A``; there it is the layer of 300 values that its classifier reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.files import one_line
from kdlab.methods.dask import translator
from kdlab.methods.distillation import Distillation
from kdlab.methods.supervised import Supervised
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import windows_in
from kdlab.nets.base import Backbone
from kdlab.objective import Classifier, Need, Objective, checked_taps, gather
from kdlab.objectives import WeightedTeachers
from kdlab.types import Batch, InputError, MissingFileError, Output, Windows


def sensors_of(output: Output) -> list[str]:
    """The sensors that an output has semantic vectors of; ``[""]`` for a net without, which counts as one sensor.

    Example:
        >>> sensors_of(Output(torch.zeros(1, 2), {"acc/semantic": torch.zeros(1, 3), "embedding": torch.zeros(1, 3)}))
        ['acc']
        >>> sensors_of(Output(torch.zeros(1, 2), {"embedding": torch.zeros(1, 3)}))
        ['']
    """
    return [tap.removesuffix("/semantic") for tap in output.features if tap.endswith("/semantic")] or [""]


def _vector(output: Output, sensor: str) -> str:
    """The tap of a sensor's semantic vector: the embedding of a net without sensors."""
    return f"{sensor}/semantic" if sensor else "embedding"


def _logits(output: Output, sensor: str) -> Tensor:
    return output.features[f"{sensor}/logits"] if sensor else output.logits


def _ablated(output: Output, sensor: str) -> Tensor | None:
    """What the net says of zeros, where the method asked."""
    return output.features.get(f"{sensor}/ablated" if sensor else "ablated")


def read_embeddings(given: str | list[list[float]]) -> Tensor | None:
    """Class embeddings from what a user names; ``None`` for one-hot ones.

    Args:
        given: ``"one-hot"``, a file (``.npy``, ``.npz`` with one array, ``.csv`` with a row a class), or the rows.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it holds no table of finite numbers.

    Example:
        >>> read_embeddings([[0.5, 1.0], [1.0, -1.0]])
        tensor([[ 0.5000,  1.0000],
                [ 1.0000, -1.0000]])
    """
    if isinstance(given, str):
        if given == "one-hot":
            return None
        values = _read_table(Path(os.path.expandvars(given)).expanduser())
    else:
        values = given
    try:
        table = torch.tensor(np.asarray(values, dtype=np.float32))
    except (ValueError, TypeError) as error:
        raise InputError(f"class_embeddings: expected a table of numbers (K, E); {error}.") from error
    functional.check_embeddings(table, "cosine")
    return table


def _read_table(path: Path) -> Any:
    if not path.exists():
        raise MissingFileError(
            f"class_embeddings: expected 'one-hot', rows of numbers or a file, but {str(path)!r} does not exist."
        )
    if not path.is_file():
        raise InputError(f"class_embeddings: {str(path)!r} must be a file, but it is none. Name the table in it.")
    try:
        if path.suffix == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            (name,) = loaded.files
            return loaded[name]
    except Exception as error:  # damaged archives raise nearly anything
        raise InputError(
            f"class_embeddings: {str(path)!r} cannot be read ({one_line(error)}). Expected .npy, .npz with one array, "
            "or .csv with a row of numbers a class."
        ) from error


def _check_classes(table: Tensor, logits: Tensor) -> None:
    if len(table) != logits.shape[1]:
        raise InputError(
            f"class_embeddings: expected a row for each of the {logits.shape[1]} classes, got {tuple(table.shape)}."
        )


class SAKDNTeacherObjective(Objective):
    """Terms ``"ce"`` and ``"semantic"`` of the teachers; no teachers of its own.

    Args:
        semantic_weight: ``alpha``, at least 0.
        class_embeddings: ``"learned"``, a table that is trained together with the net; ``"one-hot"``; a file (``.npy``,
            ``.npz`` with one array, ``.csv``) or rows, in the order of the classes. A net without sensors learns a
            linear layer from its embedding to the length of theirs, which stays in training.

    Raises:
        InputError: for a weight below 0, a table that cannot be read or has other sizes than the net.

    Example:
        >>> features = {"acc/semantic": torch.tensor([[1.0, 1.0]]), "acc/logits": torch.tensor([[2.0, 0.0]])}
        >>> objective = SAKDNTeacherObjective(class_embeddings="one-hot")
        >>> terms = objective(student=Output(torch.zeros(1, 2), features), teachers={}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'semantic': 0.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("liu2021semantics",)
    taps = ("embedding",)
    zero_when_equal = False
    reason = "the semantic term compares with the classes, not with a teacher"

    semantic_weight: Tensor
    table: Tensor | None

    def __init__(self, semantic_weight: float = 1.0, class_embeddings: str | list[list[float]] = "learned") -> None:
        super().__init__()
        self.setting("semantic_weight", semantic_weight)
        self.learned = class_embeddings == "learned"
        self.register_buffer("table", None if self.learned else read_embeddings(class_embeddings), persistent=False)

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The table of classes where it is learned, and a linear layer for a net whose embedding has another length."""
        classes, sensor = student.logits.shape[1], sensors_of(student)[0]
        size = self.feature(student, _vector(student, sensor), "the net").shape[1]
        if self.learned:
            return {"classes": nn.Embedding(classes, size)}
        wanted = classes if self.table is None else self.table.shape[1]
        return {} if sensor or size == wanted else {"semantic": nn.Linear(size, wanted)}

    def embeddings(self, like: Tensor) -> Tensor:
        """The class embeddings ``(K, E)`` for logits ``(B, K)``."""
        if "classes" in self.adapters:
            table = self.adapters["classes"].weight
            assert isinstance(table, Tensor)
            return table
        if self.table is None:
            return torch.eye(like.shape[1], dtype=like.dtype, device=like.device)
        _check_classes(self.table, like)
        return self.table.to(like.dtype)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": mean_m CE_m, "semantic": alpha mean_m |f_m - e_y|}``."""
        self.adapt(student=student, teachers=teachers)
        sensors, embeddings = sensors_of(student), self.embeddings(functional.promote(student.logits))
        ce = [functional.cross_entropy(_logits(student, sensor), target) for sensor in sensors]
        semantic = []
        for sensor in sensors:
            vector = self.feature(student, _vector(student, sensor), "the net")
            vector = self.adapted("semantic", vector) if "semantic" in self.adapters else vector
            semantic.append(functional.class_semantic_distance(vector, target, embeddings))
        return {"ce": torch.stack(ce).mean(), "semantic": self.semantic_weight * torch.stack(semantic).mean()}


class SAKDNTeacher(Supervised):
    """Train a net of several sensors towards labels and class embeddings, as a teacher of `SAKDN`.

    What the semantic vectors of a `SensorFusion` net were trained towards is kept in the net (``class_embeddings``),
    and so in its checkpoint, where `SAKDN` finds it.

    Args:
        net: a `SensorFusion`, or any net, which counts as one sensor.
        view: name of the view that it reads.
        semantic_weight: ``alpha``, at least 0.
        class_embeddings: ``"learned"``, a table that is trained together with the net; ``"one-hot"``; a file (``.npy``,
            ``.npz`` with one array, ``.csv``) or rows, in the order of the classes.
        kwargs: as in :class:`~kdlab.methods.supervised.Supervised`.

    Example:
        >>> from kdlab.nets import SensorFusion
        >>> SAKDNTeacher(SensorFusion({"acc": 3, "gyro": 3}, num_classes=4)).net.semantic_size
        4
    """

    def __init__(
        self,
        net: Backbone,
        view: str = "raw",
        *,
        semantic_weight: float = 1.0,
        class_embeddings: str | list[list[float]] = "learned",
        **kwargs: Any,
    ) -> None:
        super().__init__(net, view, SAKDNTeacherObjective(semantic_weight, class_embeddings), **kwargs)

    def build(self, windows: Windows) -> None:
        """Check that net and class embeddings fit, and make the adapters.

        Raises:
            InputError: naming the lengths that differ.
        """
        self.try_objective(windows)
        self._keep_embeddings()

    @torch.no_grad()
    def _keep_embeddings(self) -> None:
        """Copy the class embeddings into a net that has room for them."""
        kept, objective = _embeddings_of(self.net), self.objective
        if kept is not None and isinstance(objective, SAKDNTeacherObjective):
            kept.copy_(objective.embeddings(kept.T))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep a learned table up to date in the net."""
        if "classes" in self.objective.adapters:
            self._keep_embeddings()


class SAKDNObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"kd"``, ``"map"`` and ``"semantic"``.

    A teacher with sensors (`SensorFusion`) counts as ``M`` of equal weight, any other net as one. What student and
    teachers say of zeros is read from the taps ``"ablated"`` and ``"<sensor>/ablated"``, logits ``(1, K)`` or
    ``(B, K)``, which `SAKDN` adds; without them every weight ``w`` is 1.

    Args:
        map_weight: ``beta``, at least 0.
        semantic_weight: ``gamma``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``w_st``, at least 0; the cross-entropy keeps its weight of 1. Released: .01 on UTD-MHAD, 0 on
            Berkeley-MHAD and MMAct.
        weights: teacher name -> weight; ``None`` weighs all equally.
        taps: names of the maps, without the sensor.
        gsdm_weight: ``"cosine"``, or ``"relative"`` as released; see :func:`kdlab.functional.semantic_weight`.
        class_embeddings: ``None``: those that the teachers were trained towards, or one-hot ones where they carry none;
            ``"one-hot"``; a file (``.npy``, ``.npz`` with one array, ``.csv``) or rows, in the order of the classes.
        collapse: ``None`` refuses maps of images beside maps of signals; ``"rows"`` averages a teacher's images over
            their rows, for pictures of which both axes are time, and goes on as for signals.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

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

    temperature: Tensor
    kd_weight: Tensor
    map_weight: Tensor
    semantic_weight: Tensor
    table: Tensor | None

    def __init__(
        self,
        map_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        gsdm_weight: Literal["cosine", "relative"] = "cosine",
        class_embeddings: str | list[list[float]] | None = None,
        collapse: Literal["rows"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(weights)
        self.setting("map_weight", map_weight)
        self.setting("semantic_weight", semantic_weight)
        self.setting("temperature", temperature, low=1e-3)
        self.setting("kd_weight", kd_weight)
        functional.check_choice("SAKDNObjective: gsdm_weight", gsdm_weight, ("cosine", "relative"))
        functional.check_choice("SAKDNObjective: collapse", collapse or "rows", ("rows",))
        functional.check_choice("SAKDNObjective: kl_reduction", kl_reduction, ("batchmean", "mean"))
        self.taps, self.kl_reduction = checked_taps("SAKDNObjective", taps), kl_reduction
        self.gsdm_weight, self.collapse, self.given = gsdm_weight, collapse, class_embeddings is not None
        self.register_buffer("table", None, persistent=False)
        if class_embeddings is not None:
            self.use(read_embeddings(class_embeddings))

    def use(self, embeddings: Tensor | None) -> None:
        """Take these class embeddings ``(K, E)``, or one-hot ones.

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
            name: translator(own, self.feature(out, _vector(out, sensors_of(out)[0]), f"teacher {name!r}"))
            for name, out in teachers.items()
        }

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "kd": w_st KD, "map": beta GSDM, "semantic": gamma mse}``, means over sensors."""
        self.adapt(student=student, teachers=teachers)
        if self.table is not None:
            _check_classes(self.table, student.logits)
        whole, zeros = gather(student), _ablated(student, "")
        own = [whole(self._map(student, tap, student.logits, zeros, "the student")) for tap in self.taps]
        terms: dict[str, list[Tensor]] = {"kd": [], "map": [], "semantic": []}
        for name, weight in self.weights_of(teachers).items():
            output, sensors = teachers[name], sensors_of(teachers[name])
            translated = self.adapted(name, self.feature(student, "embedding", "the student"))
            for sensor in sensors:
                who, share = f"teacher {name!r}", weight / len(sensors)
                logits = _logits(output, sensor)
                vector = self.feature(output, _vector(output, sensor), who).detach()
                kd = functional.soft_target_kl(student.logits, logits, self.temperature, self.kl_reduction)
                terms["kd"].append(share * kd)
                terms["semantic"].append(share * functional.mean_square(translated, vector))
                for mine, tap in zip(own, self.taps, strict=True):
                    tap = f"{sensor}/{tap}" if sensor else tap
                    other = whole(self._map(output, tap, logits, _ablated(output, sensor), who).detach())
                    with self.comparing(who, tap):
                        distance = functional.ablation_distance(mine, other, self.collapse)
                    terms["map"].append(share / len(self.taps) * distance)
        kd, maps, semantic = (torch.stack(values).sum(0) for values in terms.values())
        return {
            "ce": functional.cross_entropy(student.logits, target),
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


class SAKDN(Distillation):
    """Distil semantic vectors, ablation maps and soft targets of sensor teachers into one student.

    The teacher is a `SensorFusion` net trained by `SAKDNTeacher`, or any other net, which counts as one sensor. What
    nets predict of an all-zero view (before their standardisation) is asked in evaluation mode and without gradients,
    of the teachers once for each batch size and of the student, which changes, in every step: one window more.

    A `SensorFusion` teacher's answers depend on the batch, so they cannot be cached.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher.
        map_weight: ``beta``, at least 0.
        semantic_weight: ``gamma``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``w_st``, at least 0; the cross-entropy keeps its weight of 1.
        weights: teacher name -> weight; ``None`` weighs all equally.
        taps: names of the maps, without the sensor.
        gsdm_weight: ``"cosine"``, or ``"relative"`` as released.
        class_embeddings: ``None``: those that the teachers were trained towards, or one-hot ones where they carry none;
            ``"one-hot"``; a file (``.npy``, ``.npz`` with one array, ``.csv``) or rows, in the order of the classes.
        collapse: ``None`` refuses maps of images beside maps of signals; ``"rows"`` averages a teacher's images over
            their rows, for pictures of which both axes are time.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        map_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        gsdm_weight: Literal["cosine", "relative"] = "cosine",
        class_embeddings: str | list[list[float]] | None = None,
        collapse: Literal["rows"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = SAKDNObjective(
            map_weight,
            semantic_weight,
            temperature,
            kd_weight,
            weights,
            taps,
            gsdm_weight,
            class_embeddings,
            collapse,
            kl_reduction,
        )
        super().__init__(student, teachers, objective, **kwargs)
        self._said_of_zeros: dict[tuple[str, int], dict[str, Tensor]] = {}

    def load_teachers(self, windows: Windows) -> None:
        """Also take the class embeddings that the teachers carry.

        Raises:
            InputError: for teachers that were trained towards different ones, or whose outputs cannot be cached.
        """
        for name, teacher in self.named_teachers():
            teacher.load(self.teacher_files, name)
        self._take_embeddings()
        super().load_teachers(windows)

    def on_fit_start(self) -> None:
        """Forget what the teachers of another fit said."""
        self._said_of_zeros.clear()
        super().on_fit_start()

    def _take_embeddings(self) -> None:
        objective = self.objective
        assert isinstance(objective, SAKDNObjective)
        tables = {name: _embeddings_of(t.net) for name, t in self.named_teachers()}
        carried = {name: table for name, table in tables.items() if table is not None and table.any()}
        if objective.given:
            return
        if not carried:
            objective.use(None)  # one-hot, which relative weights refuse
            return
        first, *others = carried.values()
        if not all(torch.equal(first, other) for other in others):
            raise InputError(
                f"SAKDN: teachers {', '.join(carried)} were trained towards different class embeddings. Name the ones "
                "to use with class_embeddings=."
            )
        objective.use(first.to(self.device))

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """Ask the teachers about the windows, and all nets about zeros."""
        student = Output(student.logits, student.features | self._zeros_for_student(batch))
        teachers = self.teacher_outputs(batch)
        for name, output in teachers.items():
            output.features.update(self._zeros_for_teacher(name, batch))
        terms: dict[str, Tensor] = self.objective(student=student, teachers=teachers, target=batch.target)
        return terms

    @torch.no_grad()
    def _zeros_for_student(self, batch: Batch) -> dict[str, Tensor]:
        was_training = self.net.training
        said = self.net.eval()(self._zeros(batch, self.view, self.net))
        self.net.train(was_training)
        return {"ablated": said.logits[:1]}

    @torch.no_grad()
    def _zeros_for_teacher(self, name: str, batch: Batch) -> dict[str, Tensor]:
        key = (name, len(batch.index))
        if key not in self._said_of_zeros:
            teacher = dict(self.named_teachers())[name]
            assert teacher.net is not None
            said = teacher(self._zeros(batch, teacher.view, teacher.net))
            sensors = sensors_of(said)
            self._said_of_zeros[key] = {
                f"{sensor}/ablated" if sensor else "ablated": _logits(said, sensor)[:1] for sensor in sensors
            }
        return self._said_of_zeros[key]

    def _zeros(self, batch: Batch, view: str, net: Backbone) -> Tensor:
        """Empty windows: one, or as many as in the batch for a net that looks at the whole batch."""
        count = len(batch.index) if net.batch_relational else 1
        if view in batch.views:
            like = batch.views[view]
            return like.new_zeros(count, *like.shape[1:])
        shape = windows_in(self.trainer).view_shape(view) or ()  # a cache leaves out the teachers' views
        return batch.views[self.view].new_zeros(count, *shape)


def _embeddings_of(net: Backbone | None) -> Tensor | None:
    """The class embeddings that a net carries, ``(E, K)``."""
    if net is None:
        return None
    return (dict(net.named_parameters(recurse=False)) | dict(net.named_buffers(recurse=False))).get("class_embeddings")
