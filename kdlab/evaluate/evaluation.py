"""One trained net on the test windows: everything that is read once, at the end."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab import functional
from kdlab.augment import Corruption
from kdlab.data import WindowDataModule
from kdlab.evaluate.cost import latency, macs, parameters, view_latency
from kdlab.evaluate.kept import read_evaluation
from kdlab.evaluate.metrics import class_scores, confusion_matrix, reliability_bins, scores, v_measure
from kdlab.files import replacing, write_json
from kdlab.fingerprint import check_fingerprint, check_inputs
from kdlab.methods.base import Method, check_view, view_settings
from kdlab.types import InputError, MissingFileError

#: the kinds of `kdlab.augment.Corruption`, in the order in which they are shown
KINDS: tuple[Literal["noise", "missing", "both", "shift"], ...] = ("noise", "missing", "both", "shift")
SEVERITIES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
JSON, ARRAYS = "evaluation.json", "predictions.npz"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known of one net after its evaluation.

    Attributes:
        scalars: ``accuracy``, ``f1`` (macro), ``nll`` (nats), ``ece``; ``v_measure``; ``accuracy_noise1`` and so on for
            each kind of corruption and severity; ``open_set_auroc_probability`` and so on for each score of
            `kdlab.functional.known_score`, where the data hold ``unknown_classes`` out; ``parameters``, ``macs`` (one
            window), ``latency_ms`` (net) and ``view_ms`` (view), as far as they were asked for.
        per_class: ``precision``, ``recall``, ``f1`` and ``support``, one number per class.
        confusion: ``(K, K)`` counts; rows are targets.
        reliability: ``confidence``, ``accuracy`` and ``count`` of 15 bins of confidence.
        robustness: kind of corruption -> accuracy without it and at severities 1, 2, 3; empty when not asked for.
        index: ``Batch.index`` of each window, ``(N,)``.
        target: ``(N,)``.
        probabilities: ``(N, K)`` float64.
        embedding: ``(N, D)`` float32; ``(N, 0)`` when not asked for.
        classes: K names.
        subjects: subject of each window, ``""`` where unknown.
        description: what the net's checkpoint says of itself (method, net, view, split), and ``stage`` and
            ``tested_on`` (fingerprint of the data).
    """

    scalars: dict[str, float]
    per_class: dict[str, list[float]]
    confusion: NDArray[np.int64]
    reliability: dict[str, NDArray[np.float64]]
    robustness: dict[str, list[float]]
    index: NDArray[np.int64]
    target: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    embedding: NDArray[np.float32]
    classes: list[str]
    subjects: list[str]
    description: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``predictions.npz`` and ``evaluation.json`` into ``folder``, replacing those of an earlier evaluation.

        The JSON is written last, so where it stands the evaluation is whole.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON).unlink(missing_ok=True)
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ("index", "target", "probabilities")}
        arrays |= {"embedding": self.embedding, "subjects": np.array(self.subjects, dtype=np.str_)}
        with replacing(folder / ARRAYS) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}
        write_json(folder / JSON, _plain(said))
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            MissingFileError: when no whole evaluation is there.
            InputError: when it is damaged.
        """
        folder = Path(folder)
        for name in (JSON, ARRAYS):
            if not (folder / name).is_file():
                raise MissingFileError(
                    f"folder: {str(folder)!r} holds no {name}; expected what Evaluation.save writes."
                )
        try:
            return cls(**read_evaluation(folder / JSON, folder / ARRAYS))
        except InputError as error:
            raise InputError(f"{error} Evaluate the checkpoint again: kdlab evaluate CKPT.") from error


def evaluate(
    module: Method,
    datamodule: WindowDataModule,
    *,
    stage: Literal["test", "val"] = "test",
    robustness: bool = True,
    embedding: bool = True,
    cost: bool = True,
    batch_size: int = 256,
) -> Evaluation:
    """Evaluate the net of a method on the windows of one stage, without a trainer.

    Only the view that the net reads is computed, on the module's device; the module is left in the mode that it is in.
    A ``corruption`` of the data module is set aside.

    Args:
        module: a method with trained weights; a student is asked without its teachers.
        datamodule: the data.
        stage: ``"test"``, or ``"val"`` to choose by.
        robustness: also on corrupted windows, every kind at three severities (test windows only).
        embedding: keep the embedding, and measure how well its clusters agree with the classes.
        cost: count and time net and view.
        batch_size: windows per batch.

    Raises:
        InputError: when the net was trained or selected on these windows, reads other inputs than these, or answers
            with numbers that are not finite.
    """
    if stage not in ("test", "val"):
        raise InputError(
            f'stage={stage!r}: expected "test" or "val"; on training windows nothing can be learnt of a net'
        )
    check_use(module, datamodule, stage)
    kinds = KINDS if robustness and stage == "test" else ()
    with _left_as_they_are(module, datamodule):
        datamodule.corruption = None
        answers = _ask(module, datamodule, stage, batch_size, embedding)
        scalars = scores(answers["probabilities"], answers["target"])
        if embedding:
            scalars["v_measure"] = v_measure(answers["embedding"], answers["target"])
        for kind, severity in itertools.product(kinds, SEVERITIES):
            datamodule.corruption = Corruption(kind, severity)
            changed = _ask(module, datamodule, stage, batch_size, embedding=False)
            hits = changed["probabilities"].argmax(1) == changed["target"]
            scalars[f"accuracy_{kind}{severity}"] = float(hits.mean())
        datamodule.corruption = None
        if stage == "test" and datamodule.unknown_classes:
            scalars |= _open_set(module, datamodule, batch_size)
    if cost:
        scalars |= costs(module, datamodule)
    confusion = confusion_matrix(answers["probabilities"], answers["target"])
    return Evaluation(
        scalars=scalars,
        per_class=class_scores(confusion),
        confusion=confusion,
        reliability=reliability_bins(answers["probabilities"], answers["target"]),
        robustness={k: [scalars["accuracy"], *(scalars[f"accuracy_{k}{s}"] for s in SEVERITIES)] for k in kinds},
        classes=[str(name) for name in datamodule.classes],
        subjects=datamodule.subject_of(answers["index"].tolist()),
        description=module.describe() | {"stage": stage, "tested_on": datamodule.fingerprint},
        **answers,
    )


def check_use(module: Method, datamodule: WindowDataModule, stage: Literal["test", "val"]) -> None:
    """Refuse to evaluate a net on windows that it was trained or selected on, or that are not what it reads.

    Raises:
        InputError: naming the subjects or recordings, or what differs.
    """
    who = f"{type(module).__name__}, reading {module.view!r}"
    check_view(who, module.view, module.net, datamodule)
    trained, here = module.trained_on, datamodule.fingerprint
    if not trained:
        rank_zero_warn(
            f"{who}: the net does not say what it was trained on: that it never saw these windows is unknown."
        )
        return
    check_fingerprint(trained, here, "validate" if stage == "val" else "test")
    now = view_settings(datamodule, module.view, module.view_settings, again=True)
    other_view = bool(module.view_settings) and module.view_settings != now
    check_inputs(f"{who}: the net", trained, here, *[f"its view is {module.view_settings}, here {now}"] * other_view)


def costs(module: Method, datamodule: WindowDataModule) -> dict[str, float]:
    """``parameters``, ``macs``, ``latency_ms`` of a method's net and ``view_ms`` of its view, for one window."""
    view, shape = datamodule.views[module.view], datamodule.view_shape(module.view)
    source = view.source or datamodule.data.sources[0]
    channels = datamodule.channels[source]
    length = datamodule.data.windows[source].shape[2:]
    return {
        "parameters": float(parameters(module.net)),
        "macs": float(macs(module.net, shape)),
        "latency_ms": latency(module.net, shape),
        "view_ms": view_latency(view.bind(channels), len(channels), length),
    }


def _ask(
    module: Method, datamodule: WindowDataModule, stage: str, size: int, embedding: bool
) -> dict[str, NDArray[Any]]:
    """``index``, ``target``, ``probabilities`` and ``embedding`` of every window."""
    kept: dict[str, list[NDArray[Any]]] = {"index": [], "target": [], "probabilities": [], "embedding": []}
    for batch in datamodule.batches(stage, size, views=[module.view]):
        output = module.net(batch.views[module.view].to(module.device))
        tap = output.features["embedding"] if embedding else output.logits[:, :0]
        kept["index"].append(batch.index.numpy())
        kept["target"].append(batch.target.numpy())
        kept["probabilities"].append(output.logits.double().softmax(1).cpu().numpy())
        kept["embedding"].append(tap.float().cpu().numpy())
    if not kept["index"]:
        raise InputError(f"stage={stage!r}: there are no such windows; hold some out (test_subjects, val_subjects)")
    answers = {name: np.concatenate(parts) for name, parts in kept.items()}
    if not np.isfinite(answers["probabilities"]).all():
        raise InputError(
            f"{type(module).__name__}: the net's answers are not finite; its training diverged. Evaluate an earlier "
            "checkpoint, or train it with a smaller learning rate."
        )
    return answers


def _open_set(module: Method, datamodule: WindowDataModule, size: int) -> dict[str, float]:
    """How well each score parts test windows of known and unknown classes; nothing, where there are none of these."""
    weight = getattr(module.net.head, "weight", None)
    names = [name for name in functional.SCORES if name != "cosine" or weight is not None]
    scores: dict[str, list[torch.Tensor]] = {stage: [] for stage in ("test", "unknown")}
    for stage, kept in scores.items():
        for batch in datamodule.batches(stage, size, views=[module.view]):
            output = module.net(batch.views[module.view].to(module.device))
            embedding = output.features.get("embedding")
            kept.append(torch.stack([functional.known_score(output.logits, n, embedding, weight) for n in names]))
    if not scores["unknown"]:
        return {}
    known, unknown = (torch.cat(kept, 1) for kept in scores.values())
    return {f"open_set_auroc_{n}": functional.auroc(a, b).item() for n, a, b in zip(names, known, unknown, strict=True)}


@contextmanager
def _left_as_they_are(module: Method, datamodule: WindowDataModule) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every mode and the corruption are what they were."""
    modes, corruption = [(part, part.training) for part in module.net.modules()], datamodule.corruption
    module.net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        datamodule.corruption = corruption
        for part, mode in modes:
            part.training = mode


def _plain(value: Any) -> Any:
    """The same in what JSON knows, which has no NaN, no infinity and no arrays."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
