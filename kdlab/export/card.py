"""The card of an exported file: what a device needs to feed it, and where it comes from.

A card is plain JSON. ``card_version`` is raised when a key changes its meaning; keys may be added without that.

==================== ================================================================================================
``card_version``     1
``kdlab``, ``torch`` versions that exported it
``name``             of the run that trained it
``format``           ``torch``, ``torch.export``, ``onnx``, ``c`` or ``pretrained``
``quantisation``     null (float32), or ``scheme``, ``calibrated_on`` (``windows``: stage, ``count``), ``int8_share`` of
                     the weights (by number of parameters), ``int8_minimum`` that was required, and ``float32``: the
                     layers with weights that are not int8, ``{"layer", "class", "weights"}``
``classes``          names, in the order of the logits
``labels``           ``many``: any number of classes per window; left out: one class
``channels``         ``{"name", "unit"}`` in the order of the input, a unit null where the data set has none; and the
                     ``root_mean_square`` in the training windows, where the checkpoint has it
``sampling_rate``    hertz, or null
``window``           ``samples`` and ``seconds`` (null without a rate); of an image ``height`` and ``width``
``input``            ``name``, ``shape`` (``["batch", C, T]`` or ``["batch", C, H, W]``), ``dtype``; in physical units,
                     or as ``units`` says where the data module was not one of kdlab
``output``           ``name``, ``shape`` (``["batch", K]``), ``dtype``; logits, whose softmax are probabilities; with
                     ``labels`` ``many`` their sigmoid, and a class above one half is present
``scale``            ``offset``, ``divisor`` (one per channel) and ``clip``: what is done to the input first, inside
``provenance``       ``checkpoint`` (run and name, without its folders) and its ``sha256`` (null of a net of this
                     process), ``weights`` (a hash of names and values), ``method``, ``net``, ``view``,
                     ``view_settings``, ``training`` (epoch, why it stopped), ``teachers`` (view, file, hash,
                     provenance), ``fingerprint`` of the data (seed, ...; of people their number, and ``id`` over
                     these counts); of published weights that it or a teacher began with, ``published`` (net, file,
                     sha256, licence), ``licences``
``sharing``          licence, data, people (counts), evidence, intended use and limits: :mod:`kdlab.export.sharing`
``c``                of a net in C: ``function``, ``header`` (``name``, ``sha256``, ``bytes``), ``self_test`` (file or
                     null), ``ram`` and ``flash`` in bytes (``static``, ``stack_below``; ``tables``, ``descriptions``
                     with 32-bit pointers), ``compiler`` that checked it (or null), ``probe``: logits of the window
                     whose channels rise from ``offset`` by two ``divisor``
``metrics``          of the checkpoint in float32: ``windows`` (stage), ``count``, ``accuracy``, ``f1`` (macro),
                     ``loss`` (cross-entropy); with ``labels`` ``many`` exact matches and binary cross-entropy
==================== ================================================================================================

Only in the card beside the file, since they are measured on it (in the folder of a student ``digest``, too, a hash of
the card without it; there, the entries from ``metrics`` on are left out where it was saved without its data):

=========== =========================================================================================================
``file``    ``name``, ``sha256``, ``bytes``
``check``   file against checkpoint on the same windows: ``windows``, ``count``, ``largest_logit`` (absolute),
            ``largest_logit_difference``, ``logit_tolerance`` (of float32 files), ``agreement`` (share of equal
            predictions), ``accuracy`` of both, ``tolerance`` (points, of int8 files), ``passed``
``size``    bytes: ``before`` (the checkpoint, if there is one), ``weights`` (its net alone, float32), ``after`` (the
            file; of a net in C its constants, without code)
``latency`` milliseconds of one window on one thread, the least of three medians of 50, before and after taking turns:
            ``before`` (the net in PyTorch), ``after`` (the file in its runtime), ``machine``
=========== =========================================================================================================
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from kdlab.data import WindowDataModule
from kdlab.export.formats import CARD_VERSION, INPUT, OUTPUT
from kdlab.methods.label_kinds import trained_on_many
from kdlab.methods.metrics import metrics_of
from kdlab.types import PHYSICAL, InputError
from kdlab.views import Raw


class Reads(NamedTuple):
    """What a net reads of the windows of its data.

    Attributes:
        source: which recording.
        channels: places of the channels.
        samples: which samples.
    """

    source: str
    channels: list[int]
    samples: slice = slice(None)


def source_of(described: Mapping[str, Any], datamodule: WindowDataModule) -> Reads:
    """The source that a net reads, and which of its channels and samples.

    Raises:
        InputError: when the net reads an image, or the data module computes another view than the net was trained on.
    """
    name = described["view"]
    view = datamodule.views.get(name)
    if view is None:
        raise InputError(
            f"CKPT: the net reads view {name!r}, but the data module emits {', '.join(datamodule.view_names)}. Use the "
            "data settings that it was trained with (config.yaml beside its checkpoints)."
        )
    if not isinstance(view, Raw):
        raise InputError(
            f"CKPT: the net reads view {name!r} ({type(view).__name__}), and an exported net reads windows as the "
            "sensor or camera gives them: no device computes that view. Distil it into a student on the raw signal, "
            "and export that."
        )
    settings, trained = datamodule.view_settings(name), described.get("view_settings")
    if trained and trained != settings:
        raise InputError(
            f"CKPT: the net was trained on the view {trained}, but here {name!r} is {settings}. Use the data settings "
            "that it was trained with."
        )
    source = view.source or datamodule.data.sources[0]
    names = datamodule.channels[source]
    channels = view.bind(names).channels
    picked = list(range(len(names))) if channels is None else [int(c) for c in channels]
    return Reads(source, picked, view.kept(datamodule.data.windows[source].shape[-1]))


def channels_of(
    described: Mapping[str, Any], source: str, names: Sequence[str], units: Sequence[str] | None, picked: Sequence[int]
) -> list[dict[str, Any]]:
    """The channels that a net reads: name, unit, and root mean square in training where the checkpoint has it.

    Args:
        described: the description in the checkpoint.
        source: which windows it reads.
        names: of all of their channels.
        units: of these; None: not known.
        picked: those that it reads.
    """
    size = (described.get("amplitude") or {}).get(source)
    if size is not None and len(size) != len(names):
        raise InputError(
            f"CKPT: amplitude must have {len(names)} numbers of {source!r}, but has {len(size)}. Train it again."
        )
    return [
        {"name": str(names[c]), "unit": str(units[c]) if units else None}
        | ({} if size is None else {"root_mean_square": float(size[c])})
        for c in picked
    ]


def scale_of(described: Mapping[str, Any], source: str, channels: list[int]) -> dict[str, Any]:
    """The scaling of these channels in the checkpoint; none where the net reads physical units itself."""
    if described["view"].endswith(PHYSICAL):
        return {"offset": [0.0] * len(channels), "divisor": [1.0] * len(channels), "clip": False}
    fingerprint = described["fingerprint"]
    numbers = fingerprint["scale"][source]
    picked = {key: [float(numbers[key][c]) for c in channels] for key in ("offset", "divisor")}
    return {**picked, "clip": bool(numbers.get("clip", False))}


def describe(described: Mapping[str, Any], datamodule: WindowDataModule, reads: Reads, format: str) -> dict[str, Any]:
    """The entries of the card on input, output and data.

    Args:
        described: the description in the checkpoint.
        datamodule: the data that it was trained on.
        reads: what the net reads of them.
        format: of the file.
    """
    fingerprint, data = described["fingerprint"], datamodule.data
    source, channels, samples = reads
    names, units = data.channels[source], data.units.get(source)
    rate = fingerprint.get("sampling_rate")
    rate = rate.get(source) if isinstance(rate, Mapping) else rate
    axes, classes = [int(n) for n in data.windows[source].shape[2:]], [str(name) for name in fingerprint["classes"]]
    axes[-1] = len(range(axes[-1])[samples])
    window = (
        {"samples": axes[0], "seconds": axes[0] / rate if rate else None}
        if len(axes) == 1
        else {"height": axes[0], "width": axes[1]}
    )
    return {
        "card_version": CARD_VERSION,
        "kdlab": importlib.metadata.version("kdlab"),
        "torch": torch.__version__,
        "format": format,
        "quantisation": None,
        "classes": classes,
        **({"labels": "many"} if trained_on_many(described) else {}),
        "channels": channels_of(described, source, names, units, channels),
        "sampling_rate": rate,
        "window": window,
        "input": {"name": INPUT, "shape": ["batch", len(channels), *axes], "dtype": "float32"},
        "output": {"name": OUTPUT, "shape": ["batch", len(classes)], "dtype": "float32"},
        "scale": scale_of(described, source, channels),
    }


def metrics(logits: Tensor, target: Tensor, many: bool = False) -> dict[str, float]:
    """Accuracy, macro F1 and cross-entropy of logits ``(N, K)``; ``many``: with any number of labels per window."""
    k = logits.shape[1]
    if many:
        found = metrics_of("", k, many=True)
        found.update(logits, target)
        return {name.removeprefix("/"): float(value) for name, value in found.compute().items()}
    return {
        "accuracy": float(multiclass_accuracy(logits, target, k, average="micro")),
        "f1": float(multiclass_f1_score(logits, target, k, average="macro")),
        "loss": float(torch.nn.functional.cross_entropy(logits, target)),
    }
