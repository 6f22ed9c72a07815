"""The nets of ReviewKD: a student's maps, each fused with those of the later stages, in the shape of a teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import functional
from kdlab.nets.base import CONV, NORM
from kdlab.types import InputError

#: channels of what is fused, at most, where none are given
_WIDEST = 512


def as_map(feature: Tensor, axes: int) -> Tensor:
    """A map as it is, and a vector ``(B, D)`` as a map of one position with a number of axes.

    Example:
        >>> as_map(torch.zeros(2, 5), axes=2).shape
        torch.Size([2, 5, 1, 1])
    """
    return feature if feature.ndim > 2 else feature.reshape(*feature.shape, *(1,) * axes)


def axes_of(who: str, features: Sequence[Tensor]) -> int:
    """How many axes the maps of a net have, 1 or 2; vectors are taken for maps of either kind.

    Raises:
        InputError: if there are both signals and images.
    """
    kinds = {feature.ndim - 2 for feature in features} - {0}
    if len(kinds) > 1 or not kinds <= {1, 2}:
        raise InputError(
            f"{who}: taps must all be signals (B, C, T) or all be images (B, C, H, W), or vectors, but the student's "
            f"are {', '.join(str(tuple(x.shape)) for x in features)}. Choose other taps."
        )
    return max(kinds, default=1)


def check_positions(own: Tensor, other: Tensor, resize: bool, pooled: bool) -> None:
    """Refuse two features that cannot be compared position by position, unless their means are.

    Args:
        own: of the student, ``(B, C, *S)``.
        other: of a teacher, ``(B, C', *S')``.
        resize: whether maps of the same kind may have another size.
        pooled: whether the means are compared.

    Raises:
        InputError: with both shapes.
    """
    alike = own.ndim == other.ndim
    if own.shape[2:] != other.shape[2:] and not (pooled or (resize and alike)):
        remedy = "resize='nearest' to repeat the student's, or " if alike else ""
        raise InputError(
            f"maps must have the same positions, but the student has {tuple(own.shape)} and the teacher "
            f"{tuple(other.shape)}. Set {remedy}pooled=True to compare their means, or choose other taps."
        )


class Fusion(nn.Module):
    """Attention-based fusion of a map with that of the next later stage, and a map of the teacher's channels.

    Args:
        own: channels of the student's map.
        width: channels of what is fused.
        other: channels of the teacher's map.
        axes: 1 for signals, 2 for images.
        last: whether there is no later stage.
    """

    def __init__(self, own: int, width: int, other: int, axes: int, last: bool) -> None:
        super().__init__()
        self.narrow = nn.Sequential(CONV[axes](own, width, 1, bias=False), NORM[axes](width))
        self.gates = None if last else CONV[axes](2 * width, 2, 1)
        self.widen = nn.Sequential(CONV[axes](width, other, 3, padding=1, bias=False), NORM[axes](other))
        for layers in (self.narrow, self.widen):
            nn.init.kaiming_uniform_(layers[0].weight, a=1)  # type: ignore[arg-type]

    def forward(self, x: Tensor, later: Tensor | None, size: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """A map of the teacher's channels and what is fused, ``(B, other, *size)`` and ``(B, width, *size)``.

        Args:
            x: of the student, ``(B, own, *S)``.
            later: what the next later stage was fused to.
            size: positions of the teacher's map; ``None``: those of the student's.
        """
        x = self.narrow(x)
        if self.gates is not None and later is not None:
            later = F.interpolate(later, size=x.shape[2:])
            gates = torch.sigmoid(self.gates(torch.cat([x, later], 1)))
            x = gates[:, :1] * x + gates[:, 1:] * later
        if size is not None and x.shape[2:] != torch.Size(size):
            x = F.interpolate(x, size=list(size))
        return self.widen(x), x


class Review(nn.Module):
    """From a student's maps, the earliest first, and as many of a teacher's to a distance for each pair, ``(L,)``.

    Args:
        own: channels of the student's maps.
        others: channels of the teacher's.
        axes: of the student's maps, 1 or 2.
        width: channels of what is fused; 0: those of the last map, at most 512.
        pooled: whether the means over positions are compared, of any kind of map, in place of the maps.
    """

    def __init__(self, own: Sequence[int], others: Sequence[int], axes: int, width: int, pooled: bool) -> None:
        super().__init__()
        self.axes, self.pooled, count = axes, pooled, len(own)
        width = width or min(own[-1], _WIDEST)
        self.stages = nn.ModuleList(
            Fusion(a, width, b, axes, last=i + 1 == count) for i, (a, b) in enumerate(zip(own, others, strict=True))
        )

    def forward(self, *features: Tensor) -> Tensor:
        """The distances, from the maps ``(B, C, *S)`` of the student and then those of the teacher."""
        maps, count = [as_map(feature, self.axes) for feature in features], len(self.stages)
        later: Tensor | None = None
        values: list[Tensor] = []
        for i in reversed(range(count)):
            own, other = maps[i], maps[count + i]
            fused, later = self.stages[i](own, later, None if self.pooled else other.shape[2:])
            if self.pooled:
                values.append(functional.mean_square(fused.flatten(2).mean(2), other.flatten(2).mean(2)))
            else:
                values.append(functional.hierarchical_context(fused, other))
        return torch.stack(values[::-1])
