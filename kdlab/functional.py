r"""The mathematics of distillation: pure, batched functions of one tap at a time, student first.

Every function takes one-dimensional and two-dimensional features alike, computes in at least float32 with autocast off
(half precision is promoted, float64 stays float64), returns a 0-dim tensor unless it says otherwise, sends no gradient
to a teacher, and is zero with a finite gradient where the student equals its teacher. Batches of one and all-zero
features give finite values and gradients. Nothing is resized unless that is asked for by name: tensors that do not fit
raise :class:`~kdlab.types.InputError` with both shapes.

The functions of Gram matrices come in two layers, so that somebody who already holds the ``(B, B)`` matrices of a
teacher need not hold its features: :func:`similarity_preserving`, :func:`merged_similarity` and
:func:`orthogonal_similarity` take features, :func:`gram_distance`, :func:`merge_grams` and :func:`orthogonal_distance`
take what :func:`gram` returns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise, product
from typing import Any, Literal, ParamSpec, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.types import InputError

P = ParamSpec("P")
T = TypeVar("T")

#: Floor of every L2 norm that something is divided by.
EPS = 1e-12


# ---------------------------------------------------------------------------------------------- precision and checks


def promote(value: T) -> T:
    """Half precision to float32, in a tensor or in the values of a mapping; everything else as it is.

    Example:
        >>> promote(torch.zeros(1, dtype=torch.bfloat16)).dtype, promote(torch.zeros(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    if isinstance(value, Tensor):
        return cast(T, value.float() if value.is_floating_point() and value.element_size() < 4 else value)
    if isinstance(value, Mapping):
        return cast(T, {key: promote(item) for key, item in value.items()})
    return value


def _first_tensor(values: Iterable[Any]) -> Tensor | None:
    for value in values:
        found = _first_tensor(value.values()) if isinstance(value, Mapping) else value
        if isinstance(found, Tensor):
            return found
    return None


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function in at least float32: autocast off, half-precision arguments promoted."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        values = [promote(value) for value in args]
        named = {key: promote(value) for key, value in kwargs.items()}
        tensor = _first_tensor((*values, *named.values()))
        call = cast("Callable[..., T]", function)
        if tensor is None or not torch.amp.is_autocast_available(tensor.device.type):
            return call(*values, **named)
        with torch.autocast(tensor.device.type, enabled=False):
            return call(*values, **named)

    return wrapper


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """Divide by the L2 norm (at least 1e-12) along a dimension.

    Zeros stay zeros, with the gradient of division by one: divided by 1e-12, a single dead sample in a batch would send
    a gradient of 1e10 to the net.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / torch.where(norm > 0, norm.clamp_min(EPS), 1.0)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {value!r}.")


def check_same_batch(student: Tensor, teacher: Tensor, who: str = "the teacher") -> None:
    """Raise :class:`~kdlab.types.InputError` with both shapes unless two features ``(B, ...)`` are of one batch."""
    if student.ndim < 2 or teacher.ndim < 2:
        raise InputError(
            f"Features must be (B, ...) with at least two dimensions, but the student has {_shape(student)} "
            f"and {who} {_shape(teacher)}."
        )
    if student.shape[0] != teacher.shape[0]:
        raise InputError(
            f"Student and teacher must see the same batch, but the student has {_shape(student)} "
            f"and {who} {_shape(teacher)}."
        )


def check_same_names(teachers: Iterable[str], weights: Iterable[str]) -> None:
    """Raise :class:`~kdlab.types.InputError` with both sets unless the weights name exactly the teachers."""
    if not set(teachers) or set(teachers) != set(weights):
        raise InputError(
            f"weights must name exactly the teachers: the teachers are {sorted(teachers)}, "
            f"the weights are for {sorted(weights)}."
        )


# ------------------------------------------------------------------------------------------------------------ logits


@full_precision
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with class indices or class probabilities, averaged over the batch.

    Args:
        logits: ``(B, K)``.
        target: class indices ``(B,)`` of any integer type, or probabilities ``(B, K)`` as mixup and CutMix give them.

    Raises:
        InputError: if ``target`` is neither.

    Example:
        >>> logits, mixed = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5]])
        >>> print(f"{cross_entropy(logits, torch.tensor([0])):.4f} {cross_entropy(logits, mixed):.4f}")
        0.1269 1.1269
    """
    indices = target.ndim == 1 and not target.is_floating_point() and len(target) == len(logits)
    probabilities = target.is_floating_point() and target.shape == logits.shape
    if logits.ndim != 2 or not (indices or probabilities):
        raise InputError(
            "target must be class indices (B,) or class probabilities (B, K) for logits (B, K), "
            f"but logits are {_shape(logits)} and target is {_shape(target)} of {target.dtype}."
        )
    return F.cross_entropy(logits, target.long() if indices else target.to(logits.dtype))


@full_precision
def soft_target_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor = 4.0,
    reduction: Literal["batchmean", "mean", "none"] = "batchmean",
) -> Tensor:
    r"""Kullback-Leibler divergence from the teacher's softened class probabilities to the student's, times ``T^2``.

    .. math:: T^2 \frac1B \sum_i \sum_k p^t_{ik} (\log p^t_{ik} - \log p^s_{ik}), \qquad p = \mathrm{softmax}(z / T)

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; detached.
        temperature: ``T > 0``, a number or a 0-dim tensor (which is never read on the host).
        reduction: ``"batchmean"`` divides the sum by ``B`` (the equation), ``"mean"`` by ``B K`` and is ``K`` times
            smaller, ``"none"`` returns one value per sample, ``(B,)``.

    Raises:
        InputError: if the shapes differ, the temperature is not positive or the reduction is unknown.

    References:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", NIPS Deep Learning Workshop
        2014, arXiv:1503.02531. Code: HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        RepDistiller divides a sum by ``B`` as we do; jeunsom/TGD@242ad11 and jeunsom/TDA_KD@b9091bb use the default
        ``"mean"`` of ``torch.nn.KLDivLoss``. The teacher enters as log-probabilities, so a probability that underflows
        to zero contributes zero.

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
        >>> print(f"{soft_target_kl(student, teacher):.4f} {soft_target_kl(student, teacher, reduction='mean'):.4f}")
        1.7751 0.8876
    """
    _choice("reduction", reduction, ("batchmean", "mean", "none"))
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise InputError(
            "Student and teacher logits must both be (B, K) with the same batch and classes, but the student has "
            f"{_shape(student_logits)} and the teacher {_shape(teacher_logits)}."
        )
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise InputError(f"temperature must be positive, but is {temperature}.")
    log_student = F.log_softmax(student_logits / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    per_sample = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    if reduction != "none":
        per_sample = per_sample.mean() if reduction == "batchmean" else per_sample.mean() / student_logits.shape[1]
    return per_sample * temperature**2


# -------------------------------------------------------------------------------------------------------- energy maps


def _energy(feature: Tensor, power: float = 2) -> Tensor:
    """``sum_c |F_c|^power``, ``(B, C, *S) -> (B, *S)``."""
    if feature.ndim < 3:
        raise InputError(
            f"A map needs positions: expected a feature (B, C, *S), but got {_shape(feature)}. "
            "An embedding has none; choose a tap before the pooling."
        )
    return (feature.square() if power == 2 else feature.abs() ** power).sum(1)


def _fit_maps(student: Tensor, teacher: Tensor, resize: Literal["pool"] | None) -> tuple[Tensor, Tensor]:
    """Two features over the same positions, pooled to the smaller side of each axis if that was asked for."""
    _choice("resize", resize or "pool", ("pool",))
    check_same_batch(student, teacher)
    if student.ndim != teacher.ndim:
        raise InputError(
            "Maps of different dimensionality cannot be compared position by position: the student has "
            f"{_shape(student)}, the teacher {_shape(teacher)}. Use a teacher of the student's kind of view, or a "
            "method on Gram matrices or logits."
        )
    size = tuple(min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    if student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    if resize is None:
        raise InputError(
            f"Student and teacher maps must have the same positions, but the student has {_shape(student)} and the "
            f"teacher {_shape(teacher)}. Choose other taps, or ask for resize='pool' (average pooling to the smaller)."
        )
    return _pool(student, size), _pool(teacher, size)


def _pool(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    if feature.shape[2:] == size:
        return feature
    return F.adaptive_avg_pool1d(feature, size) if len(size) == 1 else F.adaptive_avg_pool2d(feature, cast(Any, size))


@full_precision
def attention_map(feature: Tensor, power: float = 2) -> Tensor:
    r"""Energy at every position, flattened, with unit L2 norm per sample.

    .. math:: \hat q = q / \lVert q \rVert_2, \qquad q = \sum_c |F_c|^p

    Args:
        feature: ``(B, C, *S)``.
        power: ``p >= 1``.

    Shapes:
        ``(B, C, *S) -> (B, prod(S))``. A map of zeros stays zero.

    Raises:
        InputError: if the feature has no positions or ``power < 1``.

    References:
        S. Zagoruyko, N. Komodakis, "Paying more attention to attention", ICLR 2017, arXiv:1612.03928.
        Code: szagoruyko/attention-transfer@893df54.

    Differences from the reference code:
        It averages over channels; after the normalisation that is the same.

    Example:
        >>> attention_map(torch.tensor([[[3.0, 0.0], [0.0, 2.0]]]), power=1)
        tensor([[0.8321, 0.5547]])
    """
    if not power >= 1:
        raise InputError(f"power must be at least 1, but is {power}.")
    return unit(_energy(feature, power).flatten(1))


@full_precision
def attention_transfer(student: Tensor, teacher: Tensor, *, resize: Literal["pool"] | None = None) -> Tensor:
    r"""Mean squared difference of two attention maps.

    .. math:: \frac{1}{B P} \sum_i \sum_p (\hat q^s_{ip} - \hat q^t_{ip})^2, \qquad \hat q = q / \lVert q \rVert_2,
        \quad q = \sum_c F_c^2

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S)``; detached. The numbers of channels may differ.
        resize: ``None`` refuses maps of different size; ``"pool"`` average-pools the features to the smaller one.

    Raises:
        InputError: if the positions do not fit, if there is only one (its map is 1 whatever the feature), if one
            feature is 1-D and the other 2-D, or for an embedding.

    References:
        S. Zagoruyko, N. Komodakis, "Paying more attention to attention", ICLR 2017, arXiv:1612.03928.
        Code: szagoruyko/attention-transfer@893df54, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        RepDistiller pools silently. The paper has the norm of the difference, both codes the mean of its squares.

    Example:
        >>> student, teacher = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
        >>> print(f"{attention_transfer(student, teacher):.4f}")
        0.2929
    """
    student, teacher = _fit_maps(student, teacher.detach(), resize)
    student_map, teacher_map = attention_map(student), attention_map(teacher)
    if student_map.shape[1] < 2:
        raise InputError(
            "A map of one position is 1 whatever the feature, so it teaches nothing: the student has "
            f"{_shape(student)}, the teacher {_shape(teacher)}. Choose an earlier tap."
        )
    return (student_map - teacher_map).square().mean()


@full_precision
def angular_margin(
    student: Tensor,
    teacher: Tensor,
    margin: float = 1.35,
    scale: float = 64.0,
    local_weight: float = 0.2,
    resize: Literal["pool"] | None = None,
) -> Tensor:
    r"""Angular margin distillation: attended, not attended and angular maps of one tap, globally and by region.

    With the energy ``f = sum_c F_c^2`` of a sample over its positions

    .. math::
        Q_p = \frac{f}{\lVert f \rVert_2 + 10^{-6}}, \quad Q_n = 1 - Q_p, \quad
        u = s \cos(m \arccos Q_p), \quad v = s\,Q_n, \quad G = u - \log(e^u + e^v)

    .. math:: L_{AM} = \tfrac13 \left[ \overline{(\hat G^s - \hat G^t)^2} + \overline{(\hat u^s - \hat u^t)^2}
        + \overline{(\hat v^s - \hat v^t)^2} \right]

    where a hat is the L2 normalisation over positions and a bar the mean over batch and positions. The loss is
    ``(1 - local_weight) L_AM(whole map) + local_weight mean_r L_AM(region r)``; the four regions cut ``G``, ``u`` and
    ``v`` (``Q_p`` is not normalised again) and each is normalised by itself.

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S)``; detached. The numbers of channels may differ.
        margin: ``m``, the factor that stretches the angle; ``cos(m theta)`` is monotone up to 2.
        scale: ``s``.
        local_weight: share of the regions, 0 to 1; 0 is the global variant.
        resize: ``None`` refuses maps of different size; ``"pool"`` average-pools the features to the smaller one.

    Shapes:
        1-D maps ``(B, C, T)`` are cut into four segments of equal length along time, 2-D maps ``(B, C, H, W)`` into
        four quadrants; where a side does not divide, cuts are rounded down.

    Raises:
        InputError: if the positions do not fit or are too few to cut, or for a parameter out of range.

    References:
        E. S. Jeon, H. Choi, A. Shukla, P. Turaga, "Leveraging angular distributions for improved knowledge
        distillation", Neurocomputing 518, 2023, 10.1016/j.neucom.2022.11.029. Code: jeunsom/AMD_loss@7169f62.

    Differences from the reference code:
        Its global-and-local class cannot run (the student's negative map is not defined for the first quadrant and is
        left over from the last one for the whole map): here every branch uses the negative map of its own positions.
        ``G`` is ``log sigmoid(u - v)``, which is the same without cancellation, and everything runs in at least
        float32, because ``e^64`` overflows half precision and ``1 - 1e-7`` rounds to 1 in it, where the slope of arccos
        is infinite. The paper writes squared
        norms averaged over three maps and the taps, the code element means; the published weight 5000 belongs to the
        latter. Four segments along time and pooling are ours.

    Example:
        >>> student, teacher = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
        >>> print(f"{angular_margin(student, teacher, local_weight=0.0):.4f}")
        0.5034
    """
    if not 0 <= local_weight <= 1 or not margin > 0 or not scale > 0:
        raise InputError(
            "margin and scale must be positive and local_weight from 0 to 1, "
            f"but margin={margin}, scale={scale}, local_weight={local_weight}."
        )
    student, teacher = _fit_maps(student, teacher.detach(), resize)
    student_maps, teacher_maps = _angular_maps(student, margin, scale), _angular_maps(teacher, margin, scale)
    sides = student.shape[2:]
    parts = 4 if len(sides) == 1 else 2
    if math.prod(sides) < 2 or (local_weight > 0 and min(sides) < parts):
        raise InputError(
            "Maps are too small for an angular margin with four regions: the student has "
            f"{_shape(student)}, the teacher {_shape(teacher)}, and each side needs {parts} positions. Choose an "
            "earlier tap, or local_weight=0 (the global variant, two positions)."
        )
    loss = _map_distance(student_maps, teacher_maps)
    if local_weight == 0:
        return loss
    axes = [[slice(*cut) for cut in pairwise(part * side // parts for part in range(parts + 1))] for side in sides]
    local = [_map_distance(student_maps[:, :, *region], teacher_maps[:, :, *region]) for region in product(*axes)]
    return (1 - local_weight) * loss + local_weight * torch.stack(local).mean()


def _angular_maps(feature: Tensor, margin: float, scale: float) -> Tensor:
    """The maps ``G``, ``u`` and ``v`` of :func:`angular_margin`, stacked: ``(B, C, *S) -> (3, B, *S)``."""
    energy = _energy(feature)
    norm = torch.linalg.vector_norm(energy.flatten(1), dim=1).view(-1, *(1,) * (energy.ndim - 1))
    positive = energy / (norm + 1e-6)
    theta = positive.clamp(-1 + 1e-7, 1 - 1e-7).acos()
    attended, rest = scale * torch.cos(margin * theta), scale * (1 - positive)
    return torch.stack((F.logsigmoid(attended - rest), attended, rest))


def _map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of maps ``(3, B, *S)`` after L2 normalisation over their positions."""
    return (unit(student.flatten(2)) - unit(teacher.flatten(2))).square().mean()


# ------------------------------------------------------------------------------------------------------ Gram matrices


@full_precision
def gram(feature: Tensor) -> Tensor:
    """Inner products of all pairs of samples of a batch, not normalised.

    Args:
        feature: ``(B, ...)``, flattened to ``A`` of ``(B, D)``.

    Shapes:
        ``(B, ...) -> (B, B)``, ``G = A A^T``. Only the batch matters, so 1-D and 2-D networks can be compared.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        tensor([[5., 3.],
                [3., 9.]])
    """
    if feature.ndim < 2:
        raise InputError(f"A Gram matrix needs a feature (B, ...), but got {_shape(feature)}.")
    rows = feature.flatten(1)
    return rows @ rows.T


@full_precision
def gram_distance(student_gram: Tensor, teacher_gram: Tensor) -> Tensor:
    r"""Mean squared difference of two row-normalised Gram matrices ``(B, B)``; see :func:`similarity_preserving`.

    Example:
        >>> print(f"{gram_distance(torch.eye(2), torch.ones(2, 2)):.4f}")
        0.2929
    """
    _same_grams(student_gram, teacher_gram)
    return (unit(student_gram) - unit(teacher_gram.detach())).square().mean()


def _same_grams(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise InputError(
            f"Gram matrices must both be (B, B) of the same batch, but the student has {_shape(student)} "
            f"and the teacher {_shape(teacher)}."
        )


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of what student and teacher find alike within a batch.

    .. math:: \frac{1}{B^2} \lVert N(G_s) - N(G_t) \rVert_F^2, \qquad G = A A^\top

    where ``N`` divides every row by its L2 norm.

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other shape; detached.

    Raises:
        InputError: if the batches differ.

    References:
        F. Tung, G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00145.
        Code: HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Computed in at least float32, since sums over many positions overflow half precision. A row of zeros (a dead
        sample) has a bounded gradient (there it is divided by 1e-12).

    Example:
        >>> student, teacher = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> print(f"{similarity_preserving(student, teacher):.4f}")
        0.2929
    """
    check_same_batch(student, teacher)
    return gram_distance(gram(student), gram(teacher.detach()))


@full_precision
def merge_grams(
    grams: Mapping[str, Tensor],
    weights: Mapping[str, float],
    merge: Literal["raw", "normalised"] = "raw",
) -> Tensor:
    """Weighted sum of the teachers' Gram matrices ``(B, B)``, row-normalised; detached. See :func:`merged_similarity`.

    Example:
        >>> merge_grams({"raw": torch.eye(2) * 3, "pi": torch.ones(2, 2)}, {"raw": 0.5, "pi": 0.5})
        tensor([[0.9701, 0.2425],
                [0.2425, 0.9701]])
    """
    _choice("merge", merge, ("raw", "normalised"))
    check_same_names(grams, weights)
    terms = [weights[name] * (matrix if merge == "raw" else unit(matrix)).detach() for name, matrix in grams.items()]
    for term in terms:
        _same_grams(terms[0], term)
    return unit(sum(terms[1:], start=terms[0]))


def _teacher_grams(student: Tensor, teachers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, teacher in teachers.items():
        check_same_batch(student, teacher, f"teacher {name!r}")
    return {name: gram(teacher.detach()) for name, teacher in teachers.items()}


@full_precision
def merged_similarity(
    student: Tensor,
    teachers: Mapping[str, Tensor],
    weights: Mapping[str, float],
    merge: Literal["raw", "normalised"] = "raw",
) -> Tensor:
    r"""Similarity-preserving distance to the weighted sum of several teachers' Gram matrices (TGD).

    .. math:: \frac{1}{B^2} \Big\lVert N(G_s) - N\big(\textstyle\sum_m w_m G_m\big) \Big\rVert_F^2

    Args:
        student: ``(B, ...)``.
        teachers: teacher name -> ``(B, ...)``, each of any shape; detached.
        weights: teacher name -> ``w_m``. Only their ratios matter.
        merge: ``"raw"`` merges the Gram matrices as they are, so the nominal weights are not the real shares: a Gram
            matrix grows with the positions and the power of its feature. ``"normalised"`` normalises the rows of each
            first (and of the sum, so that equal nets still give zero).

    Raises:
        InputError: if the batches differ or ``weights`` does not name the teachers.

    Note:
        With several different teachers no student reaches zero in general; it is zero when all of them equal it.

    References:
        E. S. Jeon, R. Khurana, A. Pathak, P. Turaga, "Leveraging topological guidance for improved knowledge
        distillation", ICML 2024 Workshop on Geometry-grounded Representation Learning and Generative Modeling,
        arXiv:2407.05316. Code: jeunsom/TGD@242ad11.

    Differences from the reference code:
        None in the equation; ``merge="normalised"`` is ours.

    Example:
        >>> raw, pi = torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.ones(2, 4)
        >>> print(f"{merged_similarity(torch.eye(2), {'raw': raw, 'pi': pi}, {'raw': 0.9, 'pi': 0.1}):.4f}")
        0.0011
    """
    return gram_distance(gram(student), merge_grams(_teacher_grams(student, teachers), weights, merge))


@full_precision
def orthogonal_distance(
    student_gram: Tensor,
    merged: Tensor,
    patches: int = 4,
    oth: Literal["rows", "sp", "square"] = "rows",
) -> Tensor:
    """Difference of the orthogonal features of two ``(B, B)`` similarity maps; see :func:`orthogonal_similarity`.

    Args:
        student_gram: the student's Gram matrix.
        merged: the teachers' merged and row-normalised one, as :func:`merge_grams` returns it; detached.
        patches: ``k``, which must divide ``B``.
        oth: ``"rows"``, ``"sp"`` or ``"square"``.

    Example:
        >>> print(f"{orthogonal_distance(torch.eye(4), torch.ones(4, 4), patches=2):.4f}")
        0.5000
    """
    _choice("oth", oth, ("rows", "sp", "square"))
    _same_grams(student_gram, merged)
    if oth == "sp":
        return gram_distance(student_gram, merged)
    if patches < 1 or len(student_gram) % patches:
        raise InputError(
            f"patches must divide the batch, but patches={patches} and the similarity maps are "
            f"{_shape(student_gram)} and {_shape(merged)}. Choose a batch size that is a multiple of patches and drop "
            "the last, smaller batch."
        )
    student, teacher = unit(student_gram), unit(merged.detach())
    return (_orthogonal(student, patches, oth) - _orthogonal(teacher, patches, oth)).square().mean()


def _orthogonal(similarity: Tensor, patches: int, oth: str) -> Tensor:
    """``P P^T - I`` of every patch: ``(B, B) -> (n, B/k, B/k)`` with ``n`` = ``k`` (rows) or ``k^2`` (square)."""
    size = len(similarity) // patches
    stack = similarity.reshape(patches, size, len(similarity))
    if oth == "square":
        stack = stack.reshape(patches, size, patches, size).transpose(1, 2).flatten(0, 1)
    stack = unit(stack)
    return stack @ stack.mT - torch.eye(size, dtype=stack.dtype, device=stack.device)


@full_precision
def orthogonal_similarity(
    student: Tensor,
    teachers: Mapping[str, Tensor],
    weights: Mapping[str, float],
    patches: int = 4,
    oth: Literal["rows", "sp", "square"] = "rows",
) -> Tensor:
    r"""Distance of the orthogonal features of the student's and the merged teachers' similarity maps (TPKD).

    With ``M_T = N(sum_m w_m G_m)`` and ``M_S = N(G_s)``, each cut into ``k`` patches ``P_i`` of ``B/k`` rows,

    .. math:: \frac1k \sum_{i=1}^k \Big(\frac kB\Big)^2 \lVert O^T_i - O^S_i \rVert_F^2, \qquad
        O_i = \hat P_i \hat P_i^\top - I

    where the hat normalises rows. This is an interpretation: the paper gives the order of the steps (merge, split into
    patches, normalise, subtract the identity, compare), and no code of it is public; the shape of the patches, the
    places of the normalisation and the constant are ours, so the weight of this term is to be tuned on validation.

    Args:
        student: ``(B, ...)``.
        teachers: teacher name -> ``(B, ...)``, each of any shape; detached.
        weights: teacher name -> ``w_m``. Only their ratios matter.
        patches: ``k``, which must divide ``B``. With ``k = B`` the features are constant and the loss is zero.
        oth: ``"rows"`` as above; ``"square"`` cuts ``k x k`` patches of side ``B/k``; ``"sp"`` compares the maps
            themselves without patches, which is :func:`merged_similarity`.

    Raises:
        InputError: if ``patches`` does not divide the batch, the batches differ or ``weights`` does not name the
            teachers.

    Note:
        Patches are made of consecutive rows, so the value depends on the order of the batch. It is zero when all
        teachers equal the student, and not in general.

    References:
        E. S. Jeon, H. Choi, A. Shukla, Y. Wang, H. Lee, M. P. Buman, P. Turaga, "Topological persistence guided
        knowledge distillation for wearable sensor data", Engineering Applications of Artificial Intelligence 130,
        2024, 10.1016/j.engappai.2023.107719.

    Differences from the reference code:
        There is none to compare with.

    Example:
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
        >>> teacher = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
        >>> print(f"{orthogonal_similarity(student, {'raw': teacher}, {'raw': 1.0}, patches=2):.4f}")
        0.3625
    """
    merged = merge_grams(_teacher_grams(student, teachers), weights)
    return orthogonal_distance(gram(student), merged, patches, oth)


# --------------------------------------------------------------------------------------------------------- embeddings


@full_precision
def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of the pairwise distances within a batch, each in units of its mean (RKD-D).

    .. math:: \frac{1}{B^2} \sum_{ij} \mathrm{huber}(d^s_{ij} / \bar d^s - d^t_{ij} / \bar d^t), \qquad
        d_{ij} = \lVert f_i - f_j \rVert_2

    with the mean over the positive distances and the Huber function of threshold 1.

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other width; detached. The order matters: swapped arguments would train nothing.

    Raises:
        InputError: if the batches differ.

    References:
        W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, 10.1109/CVPR.2019.00409.
        Code: lenscloth/RKD@0a6c3c0, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Distances come from differences, not from ``|a|^2 + |b|^2 - 2ab``, so close points keep their digits; equal
        points have distance 0 (there 1e-6). Where no distance is positive the mean is replaced by 1e-12 (there NaN).

    Example:
        >>> student, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [1.0]])
        >>> print(f"{relational_distance(student, teacher):.4f}")
        0.0972
    """
    check_same_batch(student, teacher)
    return F.smooth_l1_loss(_distances(student), _distances(teacher.detach()))


def _distances(feature: Tensor) -> Tensor:
    rows = feature.flatten(1)
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    return distance / mean.clamp(min=EPS)


@full_precision
def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of the cosines of all angles spanned by three samples of a batch (RKD-A).

    .. math:: \frac{1}{B^3} \sum_{ijk} \mathrm{huber}(\cos^s_{ijk} - \cos^t_{ijk}), \qquad
        \cos_{ijk} = \langle e_{ij}, e_{ik} \rangle, \quad e_{ij} = \frac{f_j - f_i}{\lVert f_j - f_i \rVert_2}

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other width; detached. The order matters: swapped arguments would train nothing.

    Shapes:
        Needs ``B^2 D + B^3`` numbers of memory.

    Raises:
        InputError: if the batches differ.

    References:
        W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, 10.1109/CVPR.2019.00409.
        Code: lenscloth/RKD@0a6c3c0, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Between equal samples there is no direction: ``e`` is 0 and its gradient bounded (there it is divided by 1e-12).

    Example:
        >>> student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> teacher = torch.tensor([[0.0], [1.0], [2.0]])
        >>> print(f"{relational_angle(student, teacher):.4f}")
        0.1296
    """
    check_same_batch(student, teacher)
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher.detach()))


def _cosines(feature: Tensor) -> Tensor:
    rows = feature.flatten(1)
    direction = unit(rows[None] - rows[:, None])
    return direction @ direction.mT


@full_precision
def mean_embedding_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    r"""Squared distance of the mean embeddings of two batches (DDGSD's maximum mean discrepancy).

    .. math:: \Big\lVert \frac1B \sum_i a_i - \frac{1}{B'} \sum_i b_i \Big\rVert_2^2

    Both sides are students (one network sees two distortions of a sample), so both receive gradients.

    Args:
        a: ``(B, ...)``.
        b: ``(B', ...)``, the same shape but for the batch.

    Raises:
        InputError: if the embeddings have different shapes.

    References:
        T.-B. Xu, C.-L. Liu, "Data-distortion guided self-distillation for deep neural networks", AAAI 2019,
        10.1609/aaai.v33i01.33015565.

    Differences from the reference code:
        The authors' code is not public, and neither port has this term: youngerous/ddgsd-pytorch@d07d90c takes the
        squared error of the logits, winycg/Self-KD-Lib@ede3062 the squared difference of one mean over batch and
        features.

    Example:
        >>> mean_embedding_discrepancy(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor(5.)
    """
    if a.ndim < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(
            f"Embeddings must be (B, ...) of the same shape but for the batch, but are {_shape(a)} and {_shape(b)}."
        )
    return (a.mean(0) - b.mean(0)).square().sum()
