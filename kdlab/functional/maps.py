"""Functions of energy maps: where in a window a net responds."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import check_choice, check_same_batch, full_precision, shape_of, unit
from kdlab.types import InputError


def _energy(feature: Tensor, power: float = 2) -> Tensor:
    """``sum_c |F_c|^power``, ``(B, C, *S) -> (B, *S)``."""
    if feature.ndim < 3:
        raise InputError(
            f"A map needs positions: expected a feature (B, C, *S), but got {shape_of(feature)}. "
            "An embedding has none; choose a tap before the pooling."
        )
    return (feature.square() if power == 2 else feature.abs() ** power).sum(1)


def _fit_maps(student: Tensor, teacher: Tensor, resize: Literal["pool"] | None) -> tuple[Tensor, Tensor]:
    """Two features over the same positions, pooled to the smaller side of each axis with ``resize="pool"``."""
    size = _common_size(student, teacher, resize)
    return _pool(student, size), _pool(teacher, size)


def _common_size(student: Tensor, teacher: Tensor, resize: Literal["pool"] | None) -> tuple[int, ...]:
    """The positions of two features, or the smaller side of each axis with pooling."""
    check_choice("resize", resize or "pool", ("pool",))
    check_same_batch(student, teacher)
    if student.ndim != teacher.ndim:
        raise InputError(
            "Maps of different dimensionality cannot be compared position by position: the student has "
            f"{shape_of(student)}, the teacher {shape_of(teacher)}. Use a teacher of the student's kind of view, or a "
            "method on Gram matrices or logits."
        )
    size = tuple(min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    if student.shape[2:] == teacher.shape[2:]:
        return size
    if resize is None:
        raise InputError(
            f"Student and teacher maps must have the same positions, but the student has {shape_of(student)} and the "
            f"teacher {shape_of(teacher)}. Choose other taps, or set resize='pool' (average pooling to the "
            "smaller)."
        )
    return size


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
def attention_transfer(
    student: Tensor,
    teacher: Tensor,
    *,
    resize: Literal["pool"] | None = None,
    mode: Literal["code", "paper"] = "code",
) -> Tensor:
    r"""Mean squared difference of two attention maps; or half the norm of their difference, as in the paper.

    .. math:: \frac{1}{B P} \sum_i \sum_p (\hat q^s_{ip} - \hat q^t_{ip})^2, \qquad \hat q = q / \lVert q \rVert_2,
        \quad q = \sum_c F_c^2

    or, with ``mode="paper"``, ``1 / (2 B) sum_i ||q_i^s - q_i^t||_2`` of the same unit maps.

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S)``; detached. The numbers of channels may differ.
        resize: ``None`` refuses maps of different size; ``"pool"`` average-pools the features to the smaller one.
        mode: ``"code"`` is the mean of squares of the released codes, to which the weight 1000 belongs, ``"paper"`` the
            norm of the difference (whether the paper averages it over positions, too, is unverified).

    Raises:
        InputError: if the positions do not fit, if there is only one (its map is 1 whatever the feature), if one
            feature is 1-D and the other 2-D, or for an embedding.

    References:
        S. Zagoruyko, N. Komodakis, "Paying more attention to attention", ICLR 2017, arXiv:1612.03928.
        Code: szagoruyko/attention-transfer@893df54, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        RepDistiller pools silently. Both codes have ``mode="code"``.

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
            f"{shape_of(student)}, the teacher {shape_of(teacher)}. Choose an earlier tap."
        )
    check_choice("attention_transfer: mode", mode, ("code", "paper"))
    if mode == "paper":
        norms: Tensor = torch.linalg.vector_norm(student_map - teacher_map, dim=1)
        return norms.mean() / 2
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
    ``(1 - local_weight) L_AM(full map) + local_weight mean_r L_AM(region r)``; the four regions cut ``G``, ``u`` and
    ``v`` (``Q_p`` is not normalised again) and each is normalised by itself.

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S)``; detached. The numbers of channels may differ.
        margin: ``m``, the factor that stretches the angle; ``cos(m theta)`` is monotone up to 2.
        scale: ``s``.
        local_weight: share of the regions, 0 to 1; 0 is the global variant.
        resize: ``None`` refuses maps of different size; ``"pool"`` average-pools the energies ``f`` to the smaller one.

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
        left over from the last one for the full map): here every branch uses the negative map of its own positions.
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
    sides = _common_size(student, teacher, resize)
    energies = (_pool(_energy(x)[:, None], sides)[:, 0] for x in (student, teacher.detach()))
    student_maps, teacher_maps = (_angular_maps(energy, margin, scale) for energy in energies)
    parts = 4 if len(sides) == 1 else 2
    if math.prod(sides) < 2 or (local_weight > 0 and min(sides) < parts):
        raise InputError(
            "Maps are too small for an angular margin with four regions: the student has "
            f"{shape_of(student)}, the teacher {shape_of(teacher)}, and each side needs {parts} positions. Choose an "
            "earlier tap, or local_weight=0 (the global variant, two positions)."
        )
    loss = _map_distance(student_maps, teacher_maps)
    if local_weight == 0:
        return loss
    axes = [[slice(*cut) for cut in pairwise(part * side // parts for part in range(parts + 1))] for side in sides]
    local = [_map_distance(student_maps[:, :, *region], teacher_maps[:, :, *region]) for region in product(*axes)]
    return (1 - local_weight) * loss + local_weight * torch.stack(local).mean()


def _angular_maps(energy: Tensor, margin: float, scale: float) -> Tensor:
    """The maps ``G``, ``u`` and ``v`` of :func:`angular_margin`, stacked: ``(B, *S) -> (3, B, *S)``."""
    norm = torch.linalg.vector_norm(energy.flatten(1), dim=1).view(-1, *(1,) * (energy.ndim - 1))
    positive = energy / (norm + 1e-6)
    theta = positive.clamp(-1 + 1e-7, 1 - 1e-7).acos()
    attended, rest = scale * torch.cos(margin * theta), scale * (1 - positive)
    return torch.stack((F.logsigmoid(attended - rest), attended, rest))


def _map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of maps ``(3, B, *S)`` after L2 normalisation over their positions."""
    return (unit(student.flatten(2)) - unit(teacher.flatten(2))).square().mean()
