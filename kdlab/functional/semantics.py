"""Functions of class embeddings and of the output of a net for an empty input (SAKDN)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.labels import check_indices
from kdlab.functional.precision import check_choice, check_same_batch, full_precision, shape_of, unit
from kdlab.types import InputError

#: the largest size of a quotient of two entries of class embeddings
_LIMIT = 1e6


@full_precision
def semantic_weight(
    prediction: Tensor,
    ablated: Tensor,
    embeddings: Tensor | None = None,
    kind: Literal["cosine", "relative"] = "cosine",
) -> Tensor:
    r"""How far the meaning of a net's prediction is from that of what it predicts of an empty input.

    With the embeddings ``e`` of the class predicted of the sample and ``a`` of the one predicted of zeros

    .. math:: w^{cosine} = 1 - \frac{\langle e, a \rangle}{\lVert e \rVert_2 \lVert a \rVert_2} \in [0, 2], \qquad
        w^{relative} = \frac1E \sum_d \frac{e_d - a_d}{e_d}

    Args:
        prediction: predicted classes ``(B,)``; nothing here has a gradient.
        ablated: classes predicted of an all-zero input, ``(B,)`` or ``(1,)``.
        embeddings: one row per class, ``(K, E)``; ``None`` is one-hot embeddings.
        kind: ``"cosine"``, which any embedding has, or ``"relative"``, the released one. It is often negative, which
            turns the map of a feature behind a ReLU off, and follows the entries nearest to 0; quotients are limited to
            1e6 either way.

    Shapes:
        ``(B,)`` and ``(B,)`` to ``(B,)``.

    Raises:
        InputError: for relative weights of one-hot embeddings; :func:`check_embeddings` refuses other zeros.

    References:
        Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
        recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
        Code: YangLiu9208/SAKDN@881a1b9.

    Differences from the reference code:
        ``"cosine"`` is ours. The quotients are not limited there.

    Example:
        >>> embeddings = torch.tensor([[1.0, 2.0], [2.0, -1.0], [2.0, 4.0]])
        >>> semantic_weight(torch.tensor([0, 1, 2]), torch.tensor([0]), embeddings).round(decimals=4)
        tensor([0., 1., 0.])
        >>> semantic_weight(torch.tensor([0, 1, 2]), torch.tensor([0]), embeddings, kind="relative")
        tensor([0.0000, 1.7500, 0.5000])
    """
    check_choice("kind", kind, ("cosine", "relative"))
    if embeddings is None:
        if kind == "relative":
            raise InputError(
                "Relative weights divide by every entry of an embedding, and one-hot embeddings have zeros. Pass class "
                "embeddings without zeros (word vectors), or use the kind 'cosine'."
            )
        return (prediction != ablated).to(torch.get_default_dtype()).expand(prediction.shape)
    real, other = embeddings.detach()[prediction], embeddings.detach()[ablated]
    if kind == "cosine":
        return (unit(real) - unit(other)).square().sum(1) / 2
    quotient = (real - other) / real
    return quotient.clamp(-_LIMIT, _LIMIT).mean(1)


def check_embeddings(embeddings: Tensor, kind: str) -> None:
    """Raise unless class embeddings ``(K, E)`` are finite numbers that fit to this kind of weight.

    Raises:
        InputError: naming what is wrong; for relative weights also with an entry that is 0.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise InputError(f"class_embeddings: expected one row per class (K, E), got shape {shape_of(embeddings)}.")
    if not embeddings.isfinite().all():
        raise InputError("class_embeddings: expected finite numbers, got NaN or infinite ones.")
    zeros = int((embeddings == 0).sum())
    if kind == "relative" and zeros:
        raise InputError(
            f"class_embeddings: relative weights divide by every entry, but {zeros} of {embeddings.numel()} are 0, as "
            "in one-hot embeddings. Pass word vectors, or use gsdm_weight='cosine'."
        )


@full_precision
def ablation_map(feature: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Where the output of a net differs from that for an empty input: ``ReLU(w_i sum_c F_ic)``.

    Args:
        feature: ``(B, C, *S)``.
        weight: ``w`` ``(B,)``, see :func:`semantic_weight`; ``None``: 1.

    Shapes:
        ``(B, C, *S) -> (B, *S)``; a weight of 0 gives zeros. So does a negative one for features behind a ReLU; of
        features with both signs, such as the raw taps of a `WideResNet`, it shows where their sum is negative.

    Raises:
        InputError: for an embedding, which has no positions.

    Example:
        >>> ablation_map(torch.tensor([[[1.0, -2.0], [1.0, 1.0]]]), torch.tensor([0.5]))
        tensor([[1., 0.]])
    """
    if feature.ndim < 3:
        raise InputError(f"A map needs positions: expected a feature (B, C, *S), but got {shape_of(feature)}.")
    total = feature.sum(1)
    if weight is not None:
        total = total * weight.to(total.dtype).view(-1, *(1,) * (total.ndim - 1))
    return F.relu(total)


@full_precision
def ablation_distance(student: Tensor, teacher: Tensor, collapse: Literal["rows"] | None = None) -> Tensor:
    r"""Mean squared difference of two ablation maps (SAKDN's graph-guided semantically discriminative mapping).

    .. math:: \overline{(\hat m^s - \hat m^t)^2}, \qquad
        \hat m_i = \frac{m_i - \min m}{\lVert m_i - \min m \rVert_2}

    with the minimum over the batch, the norm along the first axis of positions (time of a signal, each column of
    an image) and the mean over everything. Where the positions differ, the larger map is brought to the size of the
    smaller by (bi)linear interpolation before the norm.

    Args:
        student: ``(B, *S)``, as :func:`ablation_map` returns it.
        teacher: ``(B, *S')``; detached.
        collapse: ``None`` refuses a teacher's image map beside a student's signal map; ``"rows"`` averages the image
            over its rows, for images of which both axes are time, such as Gramian angular fields.

    Raises:
        InputError: with both shapes, if the batches differ, or one map is 1-D and the other 2-D and there is no rule.

    References:
        Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
        recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
        Code: YangLiu9208/SAKDN@881a1b9.

    Differences from the reference code:
        There the maps become numpy arrays, so that no gradient reaches the student, and the teacher's are brought to
        the student's grid by ``numpy.resize``, which repeats or cuts values in memory order. The division by the
        maximum of the batch is left out, because the norm cancels it. Maps of signals and ``collapse`` are ours.

    Example:
        >>> student, teacher = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        >>> print(f"{ablation_distance(student, teacher):.4f}")
        0.2000
    """
    check_choice("collapse", collapse or "rows", ("rows",))
    check_same_batch(student, teacher)
    own, other = student - student.amin(), teacher.detach() - teacher.detach().amin()
    if own.ndim == 2 and other.ndim == 3 and collapse == "rows":
        other = other.mean(1)
    if own.ndim != other.ndim:
        raise InputError(
            f"The student's maps have shape {shape_of(student)}, the teacher's {shape_of(teacher)}: positions of a "
            "signal and of an image do not correspond. Take a teacher of the student's kind of view, or set "
            "collapse='rows' (a teacher's image, both axes of which are time, averaged over its rows)."
        )
    size = [min(pair) for pair in zip(own.shape[1:], other.shape[1:], strict=True)]
    return (unit(_resize(own, size), 1) - unit(_resize(other, size), 1)).square().mean()


def _resize(maps: Tensor, size: list[int]) -> Tensor:
    if list(maps.shape[1:]) == size:
        return maps
    mode = "linear" if len(size) == 1 else "bilinear"
    return F.interpolate(maps.unsqueeze(1), size, mode=mode, align_corners=False).squeeze(1)


@full_precision
def class_semantic_distance(vector: Tensor, target: Tensor, embeddings: Tensor) -> Tensor:
    r"""Mean absolute difference of semantic vectors and the embeddings of their classes.

    .. math:: \frac{1}{B E} \sum_i \lVert f_i - e_{y_i} \rVert_1

    Args:
        vector: ``f`` ``(B, E)``.
        target: classes ``(B,)``, or class probabilities ``(B, K)``, of which the expected embedding is taken.
        embeddings: ``(K, E)``; receives a gradient where it learns.

    Raises:
        InputError: if the sizes differ, or an index is no class (in the memory of the CPU).

    References:
        Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
        recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
        Code: YangLiu9208/SAKDN@881a1b9.

    Example:
        >>> class_semantic_distance(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), torch.eye(2))
        tensor(0.5000)
    """
    if vector.ndim != 2 or vector.shape[1] != embeddings.shape[1]:
        raise InputError(
            f"Semantic vectors have shape {shape_of(vector)}, class embeddings {shape_of(embeddings)}: expected the "
            f"same length. Set semantic_size={embeddings.shape[-1]} in the net, or pass other class_embeddings."
        )
    classes, count = len(embeddings), len(vector)
    soft = target.is_floating_point()
    if target.shape != ((count, classes) if soft else (count,)):
        raise InputError(
            "target must be class indices (B,) or class probabilities (B, K) for semantic vectors (B, E), but vectors "
            f"are {shape_of(vector)}, class embeddings {shape_of(embeddings)}, and target is {shape_of(target)} of "
            f"{target.dtype}."
        )
    if not soft:
        check_indices(target, classes)
    meant = target.to(embeddings.dtype) @ embeddings if soft else embeddings[target.long()]
    return (vector - meant).abs().mean()
