"""The evaluation of one trained net: its results, written to files and read again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.evaluate.kept import read_evaluation
from kdlab.files import as_plain, replacing, write_json
from kdlab.types import InputError, MissingFileError

#: the kinds of `kdlab.augment.Corruption`, in the order in which they are shown
KINDS: tuple[Literal["noise", "missing", "both", "shift"], ...] = ("noise", "missing", "both", "shift")
SEVERITIES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
JSON, ARRAYS = "evaluation.json", "predictions.npz"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of one net.

    Attributes:
        scalars: ``accuracy``, ``f1`` (macro), ``nll`` (nats), ``ece``; ``v_measure`` (NaN where all windows are of one
            class; None once read from a file); ``accuracy_noise1`` and so on for each kind of corruption and severity;
            ``open_set_auroc_probability`` and so on for each score of `kdlab.functional.known_score`, where the data
            hold ``unknown_classes`` out; ``parameters``, ``macs`` (one window), ``latency_ms`` (net) and ``view_ms``
            (view), as far as they were measured. With any number of labels per window see
            :func:`kdlab.evaluate.many.many_scores`; ``v_measure`` is left out.
        per_class: ``precision``, ``recall``, ``f1`` and ``support``, one number per class; with any number of labels
            also ``average_precision`` and ``ece``.
        confusion: ``(K, K)`` counts; rows are targets. With any number of labels ``(K, 2, 2)``: of each class, windows
            without and with it, predicted without and with it.
        reliability: ``confidence``, ``accuracy`` and ``count`` of 15 bins of confidence; with any number of labels, of
            all decisions for or against a class.
        robustness: kind of corruption -> accuracy without it and at severities 1, 2, 3; empty where not measured.
        index: ``Batch.index`` of each window, ``(N,)``.
        target: ``(N,)``; with any number of labels ``(N, K)`` of 0 and 1.
        probabilities: ``(N, K)`` float64.
        embedding: ``(N, D)`` float32; ``(N, 0)`` where not kept.
        classes: K names.
        subjects: subject of each window, ``""`` where unknown.
        description: the description in the net's checkpoint (method, net, view, split), and ``stage`` and
            ``tested_on`` (fingerprint of the data); ``labels`` is ``"many"`` with any number of labels per window;
            ``batch`` the windows of a batch, where the net's answer for one depends on the others.
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

    @property
    def many_labels(self) -> bool:
        """Whether windows have any number of labels."""
        return self.target.ndim == 2

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``predictions.npz`` and ``evaluation.json`` into ``folder``, replacing those of an earlier evaluation.

        The JSON is written last, so where it exists the evaluation is complete.

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
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}
        write_json(folder / JSON, as_plain(values, _plain, finite=True))
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            MissingFileError: when no complete evaluation is there.
            InputError: when it is damaged.
        """
        folder = Path(folder)
        for name in (JSON, ARRAYS):
            if not (folder / name).is_file():
                raise MissingFileError(
                    f"folder: {str(folder)!r} must hold {name}, but has none. Name a folder that Evaluation.save wrote."
                )
        try:
            return cls(**read_evaluation(folder / JSON, folder / ARRAYS))
        except InputError as error:
            raise InputError(f"{error} Evaluate the checkpoint again: kdlab evaluate CKPT.") from error


def _plain(value: Any) -> Any:
    """A NumPy array or number as plain values, anything else as text."""
    return as_plain(value.tolist(), str, finite=True) if isinstance(value, np.ndarray | np.generic) else str(value)
