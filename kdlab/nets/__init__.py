"""Nets: each standardises the view that it reads and answers with logits and named taps."""

from kdlab.nets.adapter import Adapter
from kdlab.nets.base import Backbone, Standardize, build
from kdlab.nets.mobilenet import MobileNetV2
from kdlab.nets.recurrent import AttentionLSTM, RecurrentNet
from kdlab.nets.resnet import CifarResNet, ResNet
from kdlab.nets.transformer import TransformerEncoder
from kdlab.nets.vgg import VGG
from kdlab.nets.wide_resnet import WideResNet

__all__ = [
    "VGG",
    "Adapter",
    "AttentionLSTM",
    "Backbone",
    "CifarResNet",
    "MobileNetV2",
    "RecurrentNet",
    "ResNet",
    "Standardize",
    "TransformerEncoder",
    "WideResNet",
    "build",
]
