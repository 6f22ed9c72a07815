"""The nets of DiffKD: a code of the teacher's features, and a diffusion model on it that denoises the student's."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import functional
from kdlab.nets.base import CONV, NORM

TIMES = 1000  # of the diffusion


def kept_shares() -> list[float]:
    """``bar a_t``, the product of ``1 - beta`` up to each time, for linear ``beta`` from 1e-4 to .02.

    Example:
        >>> shares = kept_shares()
        >>> len(shares), round(shares[0], 4), round(shares[400], 4), round(shares[-1], 6)
        (1000, 0.9999, 0.1936, 4e-05)
    """
    betas = torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64)
    return list((1 - betas).cumprod(0).tolist())


def _layers(ndim: int, widths: list[int], kernels: list[int], last: bool = True) -> nn.Sequential:
    """Convolutions with batch norm, and ReLU between them; ``last``: batch norm behind the last one."""
    made: list[nn.Module] = []
    for i, ((a, b), kernel) in enumerate(zip(pairwise(widths), kernels, strict=True)):
        made.append(CONV[ndim](a, b, kernel, padding=kernel // 2))
        if i + 1 < len(kernels):
            made += [NORM[ndim](b), nn.ReLU()]
        elif last:
            made.append(NORM[ndim](b))
    return nn.Sequential(*made)


class Bottleneck(nn.Module):
    """A residual block of three convolutions, the middle one of ``1 / reduction`` of the channels and kernel 3."""

    def __init__(self, ndim: int, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.block = _layers(ndim, [channels, narrow, narrow, channels], [1, 3, 1])

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's output."""
        return x + self.block(x)  # type: ignore[no-any-return]


class Diffusion(nn.Module):
    """From features of student and teacher ``(B, C, *S)`` and ``(B, C', *S)`` to the student's, denoised, and losses.

    Args:
        own: channels of the student's features.
        other: channels of the teacher's.
        code: channels of the teacher's code; 0: the features are their code, without an autoencoder.
        ndim: number of axes ``S``.
        steps: denoising steps.
        vectors: whether ``S`` is a single position, so that all kernels are 1.
        logits: whether the distance is the divergence of class probabilities, in place of the mean squared error.
    """

    shares: Tensor

    def __init__(self, own: int, other: int, code: int, ndim: int, steps: int, vectors: bool, logits: bool) -> None:
        super().__init__()
        width = code or other
        self.match = CONV[ndim](own, width, 1)
        self.encode = _layers(ndim, [other, width], [1]) if code else nn.Identity()
        self.decode = CONV[ndim](width, other, 1) if code else nn.Identity()
        self.time = nn.Embedding(TIMES, width)
        self.mix: nn.Module
        if vectors:
            wide = [width, 4 * width, width]
            self.predict = nn.Sequential(_layers(ndim, wide, [1, 1]), _layers(ndim, wide, [1, 1], last=False))
            self.mix = _layers(ndim, [width, 2 * width, width], [1, 1])
        else:
            blocks = [Bottleneck(ndim, width, 4) for _ in range(2)]
            self.predict = nn.Sequential(*blocks, _layers(ndim, [width, width], [1]))
            self.mix = Bottleneck(ndim, width, 8)
        self.share = nn.Linear(width, 2)
        self.project = _layers(ndim, [width, width], [1])
        self.has_code, self.logits = bool(code), logits
        kept = kept_shares()
        self.register_buffer("shares", torch.tensor(kept), persistent=False)
        size = TIMES // (2 * steps)  # of the last half of twice as many steps
        times = [(steps - 1 - i) * size for i in range(steps)]
        self.path = [(t, kept[t], kept[t - size] if t >= size else 1.0) for t in times]

    def noise(self, x: Tensor, time: Tensor) -> Tensor:
        """The noise that is predicted for the code ``(B, C, *S)`` at times ``(B,)`` or ``(1,)``."""
        predicted: Tensor = self.predict(x + _over(self.time(time), x))
        return predicted

    def denoised(self, feature: Tensor, noise: Tensor) -> Tensor:
        """The student's features (of the code's size) in a mixture with noise, after the steps of DDIM, projected."""
        share = self.share(self.mix(feature).flatten(2).mean(2)).softmax(1)[:, :1]
        x = _over(share, feature) * feature + _over(1 - share, feature) * noise
        for time, now, before in self.path:
            noise = self.noise(x, torch.full((1,), time, device=x.device))
            clean = (x - (1 - now) ** 0.5 * noise) / now**0.5
            x = before**0.5 * clean + (1 - before) ** 0.5 * noise
        projected: Tensor = self.project(x)
        return projected

    def training_loss(self, code: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Mean squared error of the noise that is predicted in a noisy code at times ``(B,)``."""
        kept = _over(self.shares[time][:, None], code)
        return F.mse_loss(self.noise(kept.sqrt() * code + (1 - kept).sqrt() * noise, time), noise)

    def forward(self, student: Tensor, teacher: Tensor, keys: Tensor, seed: Tensor) -> Tensor:
        """Distance of the denoised features from the code, loss of the diffusion, loss of the autoencoder: ``(3,)``.

        Args:
            student: ``(B, C, *S)``.
            teacher: ``(B, C', *S)``.
            keys: ``(B,)`` int64; what the noise of each window is drawn from.
            seed: ``(1,)`` int64, likewise.
        """
        code = self.encode(teacher)
        rebuilt = F.mse_loss(self.decode(code), teacher) if self.has_code else teacher.new_zeros(())
        code, feature = code.detach(), self.match(student)
        drawn = [functional.keyed_normal(keys, code[0].numel(), 4 * seed + i).to(code.dtype) for i in (0, 1)]
        start, noise = (x.view_as(code) for x in drawn)
        found = self.denoised(feature, start)
        time = (functional.keyed_uniform(keys, 1, 4 * seed + 2)[:, 0] * TIMES).long()
        if self.logits:
            target, own = code.flatten(1).log_softmax(1), found.flatten(1).log_softmax(1)
            distance = F.kl_div(own, target, reduction="batchmean", log_target=True)
        else:
            distance = F.mse_loss(found, code)
        return torch.stack([distance, self.training_loss(code, noise, time), rebuilt])


def _over(x: Tensor, like: Tensor) -> Tensor:
    """``(B, C)`` in the shape that is added to ``(B, C, *S)``."""
    return x.reshape(*x.shape, *(1,) * (like.ndim - 2))
