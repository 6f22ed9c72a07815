"""Methods: LightningModules, one file each."""

from kdlab.methods.amd import AMD
from kdlab.methods.base import Method
from kdlab.methods.distillation import Distillation
from kdlab.methods.eskd import ESKD
from kdlab.methods.full_kd import FullKD
from kdlab.methods.kd import KD
from kdlab.methods.schedules import PiecewiseLR
from kdlab.methods.supervised import Supervised
from kdlab.methods.teacher import Teacher
from kdlab.methods.tgd import TGD
from kdlab.methods.tpkd import TPKD

__all__ = [
    "AMD",
    "ESKD",
    "KD",
    "TGD",
    "TPKD",
    "Distillation",
    "FullKD",
    "Method",
    "PiecewiseLR",
    "Supervised",
    "Teacher",
]
