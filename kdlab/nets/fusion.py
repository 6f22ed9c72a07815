"""Nets of several branches, one per sensor, that exchange features between their stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import autocast
from kdlab.nets.base import Backbone
from kdlab.nets.wide_resnet import WideResNet
from kdlab.types import InputError


class SPAMFM(nn.Module):
    r"""Gates that couple the features of ``M`` sensors (similarity-preserving adaptive multi-modal fusion module).

    .. math::
        r_m = N(F_m F_m^\top)\, \bar F_m, \qquad
        z^{cat} = [r_1, \dots, r_M], \quad z^{add} = \sum_m r_m, \quad z^{mul} = \prod_m r_m

    .. math::
        F'_m = F_m \cdot \sum_{k \in \{cat, add, mul\}} \sigma\big(W^{k}_{m2}\, \mathrm{ReLU}(W^{k}_{m1} z^{k})\big)

    Here ``F_m`` is flattened to ``(B, D)`` for the Gram matrix, whose rows ``N`` divides by their L2 norm, and a bar is
    the mean over positions, ``(B, C)``. The inner layer of a gate has a quarter of the width of its code ``z``.

    The output of a sensor for one sample depends on the complete batch, in training and in evaluation: the samples that
    it finds alike are mixed into the code. With batches over several processes it is the batch of each process.

    Args:
        channels: C of every sensor's feature.
        sensors: M, the number of features.
        reduction: width of a code over that of the inner layer.

    Shapes:
        M features ``(B, C, *S)`` or ``(B, C)`` to as many of the same shape.

    Raises:
        InputError: for another number of features, or other channels.

    References:
        Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
        recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
        Code: YangLiu9208/SAKDN@881a1b9 model/backbone/vggnet.py.

    Differences from the reference code:
        One definition for any number of sensors, for signals and for images. The ReLU around each gate is left out, as
        a sigmoid is never negative. The Gram matrix is computed in at least float32.

    Example:
        >>> fusion = SPAMFM(channels=2, sensors=2)
        >>> _ = [nn.init.zeros_(weight) for weight in fusion.parameters()]  # every gate is 1/2
        >>> a, b = fusion([torch.ones(3, 2, 4), torch.full((3, 2), 2.0)])
        >>> a[0, 0].tolist(), b[0].tolist()
        ([1.5, 1.5, 1.5, 1.5], [3.0, 3.0])
    """

    def __init__(self, channels: int, sensors: int, reduction: int = 4) -> None:
        super().__init__()
        if min(channels, sensors, reduction) < 1:
            raise InputError(
                f"SPAMFM: channels, sensors and reduction must be at least 1, but got {channels}, {sensors} and "
                f"{reduction}. Raise the one below 1."
            )
        self.channels = channels
        sizes = (sensors * channels, channels, channels)
        self.gates = nn.ModuleList(
            nn.ModuleList(_gate(size, channels, max(1, size // reduction)) for size in sizes) for _ in range(sensors)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The gated features."""
        wrong = [tuple(f.shape) for f in features if f.ndim < 2 or f.shape[1] != self.channels]
        if len(features) != len(self.gates) or wrong:
            raise InputError(
                f"SPAMFM: features must be {len(self.gates)} with {self.channels} channels, but got "
                f"{[tuple(f.shape) for f in features]}. Pass one feature per sensor."
            )
        read = [_relate(feature) for feature in features]
        product = read[0]
        for other in read[1:]:
            product = product * other
        codes = (torch.cat(read, 1), torch.stack(read).sum(0), product)
        out = []
        for feature, gates in zip(features, self.gates, strict=True):
            assert isinstance(gates, nn.ModuleList)
            gate = torch.stack([one(code) for one, code in zip(gates, codes, strict=True)]).sum(0)
            out.append(feature * gate.view(*gate.shape, *(1,) * (feature.ndim - 2)))
        return out


def _gate(size: int, channels: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())


def _relate(feature: Tensor) -> Tensor:
    """Each sample's pooled feature, mixed with those of the samples like it: ``(B, C, *S) -> (B, C)``."""
    with autocast.off(feature.device.type):
        full = feature.float() if feature.element_size() < 4 else feature
        rows, pooled = full.flatten(1), full.flatten(2).mean(2) if full.ndim > 2 else full
        gram = rows @ rows.T
        norm = torch.linalg.vector_norm(gram, dim=1, keepdim=True)
        # a row of zeros (a dead sample) is divided by 1: divided by 1e-12 it would send a gradient of 1e12 to the net
        return (gram / torch.where(norm > 0, norm.clamp_min(1e-12), 1.0) @ pooled).to(feature.dtype)


class _MeanHead(nn.Module):
    """One linear classifier a sensor on its own part of the embedding; the logits are their mean."""

    def __init__(self, sensors: Sequence[str], size: int, num_classes: int) -> None:
        super().__init__()
        self.size = size
        self.branches = nn.ModuleDict({name: nn.Linear(size, num_classes) for name in sensors})

    def forward(self, embedding: Tensor) -> Tensor:
        parts = torch.split(embedding, self.size, 1)
        return torch.stack([head(part) for head, part in zip(self.branches.values(), parts, strict=True)]).mean(0)


class SensorFusion(Backbone):
    """SAKDN's teacher: one `WideResNet` branch a group of channels, coupled by `SPAMFM` gates after every stage.

    It reads one view, whose channels are those of all sensors one after the other: a raw signal, or the stack of their
    Gramian angular fields. Gates follow the three stages, the pooled embedding and the semantic vector (the originals'
    convolution blocks, fc6 and fc7). A semantic vector is what is trained towards the embedding of the class's name,
    see `kdlab.SAKDNTeacher`; a linear classifier reads it. The logits are the mean of the sensors' logits.

    Taps, all behind their gates, for every group ``g``: ``"g/stage1"``, ``"g/stage2"``, ``"g/stage3"`` (maps),
    ``"g/embedding"`` ``(B, D)``, ``"g/semantic"`` ``(B, E)`` and ``"g/logits"`` ``(B, K)``. For objectives that use
    no groups, ``"stage1"``, ``"stage2"`` and ``"stage3"`` are the groups' maps side by side along their channels, and
    ``"embedding"`` ``(B, M E)`` the semantic vectors, from which the head makes the logits.

    The output for one window depends on the other windows of its batch, in evaluation and test too (see `SPAMFM`), so
    results depend on batch size and order, and a cache of teacher outputs would not be exact. A wearable does not need
    this net: its student reads no gates.

    Args:
        groups: sensor -> number of its channels, in the order of the view's channels.
        depth: of every branch, 6 n + 4.
        width: of every branch.
        ndim: 1 for signals, 2 for images.
        num_classes: number of classes K.
        semantic_size: E, the length of a class embedding; ``None``: the number of classes, for one-hot embeddings.
        in_channels: channels of the view; ``None``, or the sum of the groups.
        reduction: of the gates.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``.

    Raises:
        InputError: for no group, a name that is no word, an empty group, or ``in_channels`` that is not their sum.

    References:
        Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
        recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
        Code: YangLiu9208/SAKDN@881a1b9 model/backbone/vggnet.py.

    Differences from the reference code:
        Branches are wide residual networks on a signal or on small images instead of VGG16 on images of 224 pixels,
        with three maps instead of five, and the pooled embedding in place of fc6. The reference pairs shuffled loaders
        of its sensors, so that they see different trials; here all sensors of a window come in one view.

    Example:
        >>> net = SensorFusion({"acc": 3, "gyro": 3}, depth=10, num_classes=5).eval()
        >>> output = net(torch.zeros(4, 6, 16))
        >>> output.logits.shape, output.features["gyro/stage3"].shape, output.features["embedding"].shape
        (torch.Size([4, 5]), torch.Size([4, 64, 4]), torch.Size([4, 10]))
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("liu2021semantics", "zagoruyko2016wide")
    #: the output for one window depends on the other windows of its batch
    batch_relational = True

    class_embeddings: nn.Parameter

    def __init__(
        self,
        groups: dict[str, int] | None = None,
        depth: int = 16,
        width: int = 1,
        ndim: int = 1,
        num_classes: int = 10,
        semantic_size: int | None = None,
        in_channels: int | None = None,
        reduction: int = 4,
    ) -> None:
        given = check_groups("SensorFusion", {"acc": 3, "gyro": 3} if groups is None else groups, in_channels)
        super().__init__(sum(given.values()), num_classes, ndim, stride=4)
        self.groups = given
        self.semantic_size = num_classes if semantic_size is None else semantic_size
        if self.semantic_size < 1:
            raise InputError(f"SensorFusion: semantic_size must be at least 1, but is {semantic_size}.")
        wide = {name: WideResNet(depth, width, ndim, count, num_classes) for name, count in given.items()}
        sizes = [16 * width, 32 * width, 64 * width, 64 * width, self.semantic_size]
        self.stems = nn.ModuleDict({name: net.stem for name, net in wide.items()})
        self.stages = nn.ModuleList(
            nn.ModuleDict({name: net.stages[i] for name, net in wide.items()}) for i in range(3)
        )
        self.norms = nn.ModuleDict({name: net.norm for name, net in wide.items()})
        self.semantic = nn.ModuleDict({name: nn.Linear(sizes[3], sizes[4]) for name in given})
        self.fusion = nn.ModuleList(SPAMFM(size, len(given), reduction) for size in sizes)
        self.head = _MeanHead(list(given), sizes[4], num_classes)
        #: what the semantic vectors were trained towards (K, E); `kdlab.SAKDNTeacher` fills it, zeros until then
        self.class_embeddings = nn.Parameter(torch.zeros(num_classes, sizes[4]), requires_grad=False)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """The groups' taps, behind their gates, and those of all groups together."""
        names = list(self.groups)
        features: dict[str, Tensor] = {}
        parts = torch.split(x, list(self.groups.values()), 1)
        out = [stem(part) for stem, part in zip(self.stems.values(), parts, strict=True)]
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleDict)
            out = self.fusion[i]([layer(part) for layer, part in zip(stage.values(), out, strict=True)])
            features |= {f"{name}/stage{i + 1}": part for name, part in zip(names, out, strict=True)}
            features[f"stage{i + 1}"] = torch.cat(out, 1)
        return features | self._vectors(out)

    def _vectors(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        names, norms = list(self.groups), self.norms.values()
        out = self.fusion[3]([F.relu(n(part)).flatten(2).mean(2) for n, part in zip(norms, maps, strict=True)])
        semantic = self.fusion[4]([layer(part) for layer, part in zip(self.semantic.values(), out, strict=True)])
        assert isinstance(self.head, _MeanHead)
        heads = self.head.branches.values()
        features = {f"{name}/embedding": part for name, part in zip(names, out, strict=True)}
        features |= {f"{name}/semantic": part for name, part in zip(names, semantic, strict=True)}
        features |= {f"{n}/logits": head(part) for n, head, part in zip(names, heads, semantic, strict=True)}
        return features | {"embedding": torch.cat(semantic, 1)}

    def embed(self, stage3: Tensor) -> Tensor:
        """The semantic vectors that the rest of the net computes from a map in the place of the tap ``"stage3"``."""
        return self._vectors(stage3.chunk(len(self.groups), 1))["embedding"]


def check_groups(who: str, groups: Mapping[str, int], in_channels: int | None) -> dict[str, int]:
    """The channel groups of a net of several sensors.

    Args:
        who: the net, for messages.
        groups: sensor -> number of its channels.
        in_channels: channels of the view, or None.

    Raises:
        InputError: for no group, a name that is no word, an empty group, what is no number of channels (such as a list
            of them), or ``in_channels`` that is not the sum.
    """
    counts = list(groups.values()) if isinstance(groups, Mapping) else []
    if not isinstance(groups, Mapping) or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) for n in counts
    ):
        raise InputError(
            f"{who}: groups must be {{sensor: number of channels}}, in the order of the view's channels, but got "
            f'{groups!r:.120}. Write for example groups={{"acc": 3, "gyro": 3}}.'
        )
    wrong = [n for n in groups if not re.fullmatch(r"[A-Za-z]\w*", str(n)) or n in dir(nn.ModuleDict)]
    if wrong or min(counts, default=0) < 1:
        raise InputError(
            f"{who}: groups must be {{sensor: number of channels}} with names of letters, digits and _ (and not "
            f"train, keys, ...) and at least one channel each, but got {dict(groups)}. Correct them."
        )
    if in_channels is not None and in_channels != sum(groups.values()):
        raise InputError(
            f"{who}: in_channels must be the sum of the groups, {sum(groups.values())} ({dict(groups)}), "
            f"but got {in_channels}. Leave in_channels out, or name a group for every channel."
        )
    return dict(groups)
