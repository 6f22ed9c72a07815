"""Nets: each standardises the view that it reads and returns logits and named taps."""

from kdlab.nets.adapter import Adapter
from kdlab.nets.angular import AngularHead, AngularNet
from kdlab.nets.base import Backbone, Standardize, build
from kdlab.nets.described import register
from kdlab.nets.fcn import FCN
from kdlab.nets.fusion import SPAMFM, SensorFusion
from kdlab.nets.inception import InceptionTime
from kdlab.nets.mobilenet import MobileNetV2
from kdlab.nets.multi_scale import MultiScaleAttention
from kdlab.nets.plain import as_backbone
from kdlab.nets.pretrained import LIMUBERT, HARNet, Mantis, Published
from kdlab.nets.recurrent import AttentionLSTM, RecurrentNet
from kdlab.nets.resnet import CifarResNet, ResNet, ResNet8x4, ResNet32x4
from kdlab.nets.reused import ReusedClassifier
from kdlab.nets.seq2seq import Decoder, Seq2Seq
from kdlab.nets.transformer import TransformerEncoder
from kdlab.nets.vgg import VGG
from kdlab.nets.wide_resnet import WideResNet

__all__ = [
    "FCN",
    "LIMUBERT",
    "SPAMFM",
    "VGG",
    "Adapter",
    "AngularHead",
    "AngularNet",
    "AttentionLSTM",
    "Backbone",
    "CifarResNet",
    "Decoder",
    "HARNet",
    "InceptionTime",
    "Mantis",
    "MobileNetV2",
    "MultiScaleAttention",
    "Published",
    "RecurrentNet",
    "ResNet",
    "ResNet8x4",
    "ResNet32x4",
    "ReusedClassifier",
    "SensorFusion",
    "Seq2Seq",
    "Standardize",
    "TransformerEncoder",
    "WideResNet",
    "as_backbone",
    "build",
    "register",
]
