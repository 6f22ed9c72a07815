"""One trained net on the windows of a stage: everything that is read once, at the end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab import functional
from kdlab.augment import Corruption
from kdlab.data import WindowDataModule
from kdlab.evaluate.cost import latency, macs, parameters, view_latency
from kdlab.evaluate.evaluation import KINDS, SEVERITIES, Evaluation
from kdlab.evaluate.many import decisions, label_counts, label_scores, many_scores
from kdlab.evaluate.metrics import class_scores, confusion_matrix, reliability_bins, scores, v_measure
from kdlab.evaluate.outside import OutsideData
from kdlab.fingerprint import check_fingerprint, check_inputs
from kdlab.methods.base import Method
from kdlab.methods.label_kinds import predicted, probabilities_of
from kdlab.methods.view_checks import check_view, view_settings
from kdlab.nets.alone import is_batch_relational
from kdlab.types import InputError

Measured = WindowDataModule | OutsideData


def evaluate(
    module: Method,
    datamodule: LightningDataModule,
    *,
    stage: Literal["test", "val"] = "test",
    robustness: bool = True,
    embedding: bool = True,
    cost: bool = True,
    times: bool = True,
    batch_size: int = 256,
) -> Evaluation:
    """Evaluate the net of a method on the windows of one stage, without a trainer.

    Only the view that the net reads is computed, on the module's device; the module is left in the mode that it is in.
    A ``corruption`` of the data module is set aside. Of a data module that is not kdlab's, the windows are those of its
    loader; they are not corrupted, and the view is not timed.

    Args:
        module: a method with trained weights; of a student, without its teachers.
        datamodule: the data; one that is not kdlab's is set up.
        stage: ``"test"``, or ``"val"`` to choose by.
        robustness: also on corrupted windows, every kind at three severities (test windows only).
        embedding: keep the embedding, and measure how well its clusters agree with the classes (one per window).
        cost: count parameters and multiply-accumulates, and time net and view.
        times: with ``cost``; without it nothing is timed.
        batch_size: windows per batch.

    Raises:
        InputError: when the net was trained or selected on these windows, reads other inputs than these, or has
            outputs that are not finite.
    """
    if stage not in ("test", "val"):
        raise InputError(f'stage: must be "test" or "val", but got {stage!r}. Training windows do not measure a net.')
    data = datamodule if isinstance(datamodule, WindowDataModule) else OutsideData(datamodule, module)
    check_use(module, data, stage)
    kinds = KINDS if robustness and stage == "test" and isinstance(data, WindowDataModule) else ()
    many = data.many_labels is True
    with _restored(module, data):
        data.corruption = None
        outputs = _outputs(module, data, stage, batch_size, embedding)
        scalars = (many_scores if many else scores)(outputs["probabilities"], outputs["target"])
        if embedding and not many:
            scalars["v_measure"] = v_measure(outputs["embedding"], outputs["target"])
        for kind, severity in itertools.product(kinds, SEVERITIES):
            data.corruption = Corruption(kind, severity)
            changed = _outputs(module, data, stage, batch_size, embedding=False)
            hits = predicted(torch.from_numpy(changed["probabilities"]), many).numpy() == changed["target"]
            scalars[f"accuracy_{kind}{severity}"] = float((hits.all(1) if many else hits).mean())
        data.corruption = None
        if stage == "test" and isinstance(data, WindowDataModule) and data.unknown_classes:
            scalars |= _open_set(module, data, batch_size)
    if cost:
        scalars |= costs(module, data, times) if isinstance(data, WindowDataModule) else data.costs()
    found = outputs["probabilities"], outputs["target"]
    confusion = (label_counts if many else confusion_matrix)(*found)
    return Evaluation(
        scalars=scalars,
        per_class=label_scores(*found) if many else class_scores(confusion),
        confusion=confusion,
        reliability=reliability_bins(*(decisions(*found) if many else found)),
        robustness={k: [scalars["accuracy"], *(scalars[f"accuracy_{k}{s}"] for s in SEVERITIES)] for k in kinds},
        classes=[str(name) for name in data.classes],
        subjects=list(data.subject_of(outputs["index"].tolist())),
        description=module.describe()
        | {"stage": stage, "tested_on": data.fingerprint}
        | ({"labels": "many"} if many else {})
        | ({"batch": batch_size} if is_batch_relational(module.net) else {}),
        **outputs,
    )


def check_use(module: Method, datamodule: Measured, stage: Literal["test", "val"]) -> None:
    """Refuse to evaluate a net on windows that it was trained or selected on, or that are not what it reads.

    Raises:
        InputError: naming the subjects or recordings, or what differs.
    """
    who = f"{type(module).__name__}, reading {module.view!r}"
    module.check_begun("kdlab evaluate {file}")
    check_view(who, module.view, module.net, datamodule)
    trained, here = module.trained_on, datamodule.fingerprint
    if not trained or not here:
        lacking = "training data of the net are" if not trained else "split of these windows is"
        rank_zero_warn(f"{who}: the {lacking} not known; these windows may be among those of its training.")
        return
    check_fingerprint(trained, here, "validate" if stage == "val" else "test")
    now = view_settings(datamodule, module.view, module.view_settings, again=True)
    other_view = bool(module.view_settings) and module.view_settings != now
    check_inputs(f"{who}: the net", trained, here, *[f"its view is {module.view_settings}, here {now}"] * other_view)


def costs(module: Method, datamodule: WindowDataModule, times: bool = True) -> dict[str, float]:
    """``parameters``, ``macs``, ``latency_ms`` of a method's net and ``view_ms`` of its view, for one window."""
    view, shape = datamodule.views[module.view], datamodule.view_shape(module.view)
    counts = {"parameters": float(parameters(module.net)), "macs": float(macs(module.net, shape))}
    if not times:
        return counts
    source = view.source or datamodule.data.sources[0]
    channels = datamodule.channels[source]
    length = datamodule.data.windows[source].shape[2:]
    return {
        **counts,
        "latency_ms": latency(module.net, shape),
        "view_ms": view_latency(view.bind(channels), len(channels), length),
    }


def _outputs(module: Method, datamodule: Measured, stage: str, size: int, embedding: bool) -> dict[str, NDArray[Any]]:
    """``index``, ``target``, ``probabilities`` and ``embedding`` of every window."""
    kept: dict[str, list[NDArray[Any]]] = {"index": [], "target": [], "probabilities": [], "embedding": []}
    for batch in datamodule.batches(stage, size, views=[module.view]):
        output = module.net(batch.views[module.view].to(module.device))
        tap = output.features["embedding"] if embedding else output.logits[:, :0]
        kept["index"].append(batch.index.numpy())
        kept["target"].append(batch.target.long().numpy())
        kept["probabilities"].append(probabilities_of(output.logits.double(), datamodule.many_labels).cpu().numpy())
        kept["embedding"].append(tap.float().cpu().numpy())
    if not kept["index"]:
        raise InputError(
            f"stage: must have windows, but {stage!r} has none. Hold some out (test_subjects, val_subjects)."
        )
    outputs = {name: np.concatenate(parts) for name, parts in kept.items()}
    if not np.isfinite(outputs["probabilities"]).all():
        raise InputError(
            f"{type(module).__name__}: outputs must be finite, but the net's training diverged. Evaluate an earlier "
            "checkpoint, or train it with a smaller learning rate."
        )
    return outputs


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
def _restored(module: Method, datamodule: Measured) -> Iterator[None]:
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
