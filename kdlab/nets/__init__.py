"""Nets: each standardises the view that it reads and answers with logits and named taps."""

from kdlab.nets.base import Backbone, Standardize, build
from kdlab.nets.wide_resnet import WideResNet

__all__ = ["Backbone", "Standardize", "WideResNet", "build"]
