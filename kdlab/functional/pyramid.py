"""Features compared at several resolutions: the hierarchical context loss."""

from __future__ import annotations

from torch import Tensor

from kdlab.functional.hints import mean_square
from kdlab.functional.maps import _pool
from kdlab.functional.precision import full_precision


@full_precision
def hierarchical_context(student: Tensor, teacher: Tensor, sides: tuple[int, ...] = (4, 2, 1)) -> Tensor:
    r"""Mean squared difference of two maps, and of the same maps pooled to ever fewer positions (HCL).

    .. math:: \frac{\sum_{k=0}^{n} 2^{-k}\, \overline{(P_k F_s - P_k F_t)^2}}{\sum_{k=0}^{n} 2^{-k}}

    with the mean over batch, channels and positions, ``P_0`` the map as it is, and ``P_k`` its adaptive average over
    ``sides[j]`` positions an axis, for those of the sides that are smaller than the longest axis, in their order. An
    axis that is shorter than a side keeps its positions.

    Args:
        student: ``(B, C, *S)``, of the teacher's shape.
        teacher: ``(B, C, *S)``; detached.
        sides: positions an axis.

    Raises:
        InputError: with both shapes, if they differ.

    References:
        P. Chen, S. Liu, H. Zhao, J. Jia, "Distilling knowledge via knowledge review", CVPR 2021, arXiv:2104.09044.
        Code: dvlab-research/ReviewKD@6607308 CIFAR-100/model/reviewkd.py.

    Differences from the reference code:
        There the height decides of a map which sides are left out; its maps are squares.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 0.0]]])
        >>> print(f"{hierarchical_context(student, teacher):.4f}")  # (5 + 1 / 2) / (1 + 1 / 2)
        3.6667
    """
    value, share, total = mean_square(student, teacher), 1.0, 1.0
    for side in sides:
        if any(side < count for count in student.shape[2:]):
            share, size = share / 2, tuple(min(side, axis) for axis in student.shape[2:])
            value = value + share * mean_square(_pool(student, size), _pool(teacher, size))
            total += share
    return value / total
