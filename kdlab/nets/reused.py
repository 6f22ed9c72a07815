"""A net with the frozen classifier of another net."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from kdlab.nets.base import CONV, NORM, Backbone, build, kaiming
from kdlab.types import InputError


class ReusedClassifier(Backbone):
    """A net up to its last map, a projector onto the last map of another net, and the rest of that net, frozen.

    ``"stage1"`` and ``"stage2"`` are the taps of the net inside; ``"stage3"`` is the projected map, in the place of the
    other net's ``"stage3"``, and the rest of the other net computes ``"embedding"`` and logits from it: pooling and a
    linear layer, behind norm and ReLU in a `WideResNet`, and behind the layers that follow its third tap in a net of
    more stages. The projector is a bottleneck: 1x1 convolution to ``C' / factor`` channels, 3x3, and 1x1 to ``C'``,
    each with batch norm, the first two with ReLU.

    Parts that are not used are dropped: the inner net's layers after its ``"stage3"``, and all before it of the other.
    The classifier's weights are those of ``classifier``; `kdlab.SimKD` fills them from its teacher with :meth:`reuse`.
    They are in the state dict, so the net needs no teacher afterwards, and they stay frozen, in evaluation mode.

    Args:
        net: the net that is read up to ``"stage3"``; copied.
        classifier: a net like the one whose classifier is used; copied.
        factor: ``C' / factor`` channels inside the projector.
        relu: end the projector in a ReLU, for a classifier whose maps are never negative (those of a `CifarResNet`;
            the raw maps of a `WideResNet` have both signs).

    Shapes:
        as ``net``; the projected map has its positions and the channels of ``classifier``.

    Raises:
        InputError: when one net is 1-D and the other 2-D, when classes differ, or when ``classifier`` has no
            ``embed``.

    References:
        D. Chen, J.-P. Mei, H. Zhang, C. Wang, Y. Feng, C. Chen, "Knowledge distillation with the reused teacher
        classifier", CVPR 2022, arXiv:2203.14001. Code: DefangChen/SimKD@d0b9cde models/util.py.

    Differences from the reference code:
        Its projector always ends in a ReLU, and pools the student's map to the size of the teacher's, in use too. Here
        the projected map keeps the student's positions.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> small, large = (WideResNet(10, k, in_channels=3, num_classes=5) for k in (1, 2))
        >>> net = ReusedClassifier(small, large).reuse(large)
        >>> output = net.eval()(torch.zeros(2, 3, 16))
        >>> output.features["stage3"].shape, output.logits.equal(large.eval().classify(output.features["stage3"]))
        (torch.Size([2, 128, 4]), True)
    """

    lays_out = True  # the net inside decides
    paper: ClassVar[tuple[str, ...]] = ("chen2022knowledge",)

    def __init__(self, net: Backbone, classifier: Backbone, factor: int = 2, relu: bool = False) -> None:
        if not isinstance(net, Backbone) or not isinstance(classifier, Backbone) or factor < 1:
            raise InputError(
                "ReusedClassifier: net and classifier must be nets of kdlab and factor at least 1, but got "
                f"{type(net).__name__}, {type(classifier).__name__} and factor={factor}. Correct them."
            )
        super().__init__(net.in_channels, net.num_classes, net.ndim, net.stride)
        if (net.ndim, net.num_classes) != (classifier.ndim, classifier.num_classes):
            raise InputError(
                f"ReusedClassifier: the net has ndim={net.ndim} and {net.num_classes} classes, the classifier "
                f"ndim={classifier.ndim} and {classifier.num_classes} classes. Take a classifier of the same kind."
            )
        self.spec["init_args"] |= {"net": net.spec, "classifier": classifier.spec}
        self.memory_format = net.memory_format
        self.batch_relational = net.batch_relational or classifier.batch_relational
        self.standardize.load_state_dict(net.standardize.state_dict())
        self.body, self.rest = copy.deepcopy(net), copy.deepcopy(classifier)
        channels, target = _channels(self.body), _channels(self.rest)
        _drop_unread(self.body, lambda: _stages(self.body))
        _drop_unread(self.rest, lambda: self.rest.classify(_probe(self.rest)))
        _freeze_unread(self.body)
        self.head = self.rest.head
        del self.body.standardize, self.body.head, self.rest.standardize, self.rest.head
        conv, norm, inner = CONV[net.ndim], NORM[net.ndim], max(1, target // factor)
        self.projector = nn.Sequential(
            *(conv(channels, inner, 1, bias=False), norm(inner), nn.ReLU()),
            *(conv(inner, inner, 3, padding=1, bias=False), norm(inner), nn.ReLU()),
            *(conv(inner, target, 1, bias=False), norm(target)),
            *([nn.ReLU()] if relu else []),
        )
        kaiming(self.projector)
        self.rest.requires_grad_(False)
        self.head.requires_grad_(False)
        self.train(self.training)

    @classmethod
    def rebuild(cls, init_args: Mapping[str, Any]) -> Backbone:
        """Make the net of a checkpoint, from nets that are imported already."""
        nets = {name: init_args.get(name) for name in ("net", "classifier")}
        if not all(isinstance(spec, Mapping) for spec in nets.values()):
            raise InputError(f"ReusedClassifier: the checkpoint's nets {nets!r} cannot be rebuilt; train it again.")
        return cls(**{**init_args, **{name: build(spec) for name, spec in nets.items() if spec is not None}})

    def reuse(self, teacher: Backbone) -> Self:
        """Take over the classifier of a trained net.

        Raises:
            InputError: naming both, when it is another net than the classifier that this one was made for.
        """
        expected = self.spec["init_args"]["classifier"]
        if teacher.spec["class_path"] != expected["class_path"] or not self._fits(teacher):
            raise InputError(
                f"ReusedClassifier: it was made for the classifier of {expected}, but the teacher is {teacher.spec}. "
                "Set classifier= to a net like the teacher's."
            )
        held = teacher.state_dict()
        self.rest.load_state_dict({name: held[name] for name in self.rest.state_dict()})
        self.head.load_state_dict(teacher.head.state_dict())
        return self

    def _fits(self, teacher: Backbone) -> bool:
        held, head = teacher.state_dict(), teacher.head.state_dict()
        pairs = [(held.get(name), value) for name, value in self.rest.state_dict().items()]
        pairs += [(head.get(name), value) for name, value in self.head.state_dict().items()]
        return all(found is not None and found.shape == value.shape for found, value in pairs)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """The taps of the net inside, the projected map, and what the rest of the other net computes from it."""
        return self._projected(self.body.taps(x))

    def _taps_channels_last(self, x: Tensor) -> dict[str, Tensor]:
        return self._projected(self.body._taps_channels_last(x) if self.body.lays_out else self.body.taps(x))

    def _projected(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["stage3"] = self.projector(features["stage3"])
        features["embedding"] = self.embed(features["stage3"])
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The output of the rest of the other net for a map in the place of its ``"stage3"``."""
        return self.rest.embed(stage3)

    def train(self, mode: bool = True) -> Self:
        """Leave the classifier in evaluation mode in any case."""
        super().train(mode)
        for part in (getattr(self, "rest", None), getattr(self, "head", None)):
            if part is not None:
                part.eval()
        return self


def _probe(net: Backbone) -> Tensor:
    """A ``"stage3"`` of the shortest input that a net can read, as if it came from nowhere."""
    return _features(net)["stage3"].detach()


def _stages(net: Backbone) -> Tensor:
    """A number that depends on what is read of all taps but the embedding."""
    return torch.stack([tap.sum() for name, tap in _features(net).items() if name != "embedding"]).sum()


def _features(net: Backbone) -> dict[str, Tensor]:
    like = next(net.parameters())
    was_training, features = (
        net.training,
        net.eval().taps(like.new_zeros(2, net.in_channels, *(net.stride,) * net.ndim)),
    )
    net.train(was_training)
    if "stage3" not in features:
        raise InputError(
            f"ReusedClassifier: {type(net).__name__} has no tap 'stage3'; it has {', '.join(map(repr, features))}. "
            "Take a net of three stages or layers."
        )
    return features


def _channels(net: Backbone) -> int:
    with torch.no_grad():
        return _probe(net).shape[1]


def _freeze_unread(net: Backbone) -> None:
    """Freeze what only taps after ``"stage3"`` read (a fourth layer, an attention): no loss depends on it."""
    with torch.enable_grad():
        parameters = list(net.parameters())
        found = torch.autograd.grad(_features(net)["stage3"].sum(), parameters, allow_unused=True)
    for parameter, grad in zip(parameters, found, strict=True):
        parameter.requires_grad_(grad is not None)


def _drop_unread(net: Backbone, output: Callable[[], Tensor]) -> None:
    """Put identities in the place of modules whose parameters the output does not depend on; the head stays."""
    with torch.enable_grad():
        parameters = list(net.requires_grad_().parameters())
        found = torch.autograd.grad(output().sum(), parameters, allow_unused=True)
    read = {id(p) for p, grad in zip(parameters, found, strict=True) if grad is not None}

    def visit(module: nn.Module) -> None:
        for name, child in list(module.named_children()):
            held = {id(p) for p in child.parameters()}
            if child is getattr(net, "head", None) or not held:
                continue
            if held & read or isinstance(child, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):  # which are indexed
                visit(child)
            else:
                setattr(module, name, nn.Identity())

    visit(net)
