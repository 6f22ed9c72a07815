"""Nets of published weights, which the user has as a file; none is downloaded, and none is part of kdlab."""

from kdlab.nets.pretrained.harnet import HARNet
from kdlab.nets.pretrained.limu_bert import LIMUBERT
from kdlab.nets.pretrained.mantis import Mantis
from kdlab.nets.pretrained.published import Published

__all__ = ["LIMUBERT", "HARNet", "Mantis", "Published"]
