"""Methods: LightningModules, one file each."""

from kdlab.methods.a_softmax import ASoftmax
from kdlab.methods.aekd import AEKD
from kdlab.methods.afd import AFD
from kdlab.methods.afds import AFDS
from kdlab.methods.amc import AMC
from kdlab.methods.amd import AMD
from kdlab.methods.annealing_kd import AnnealingKD
from kdlab.methods.at import AT
from kdlab.methods.aver import AVER
from kdlab.methods.base import Method
from kdlab.methods.ca_mkd import CAMKD
from kdlab.methods.crd import CRD
from kdlab.methods.cs_kd import CSKD
from kdlab.methods.dask import DASK
from kdlab.methods.ddgsd import DDGSD
from kdlab.methods.dist import DIST
from kdlab.methods.distillation import Distillation
from kdlab.methods.dkd import DKD
from kdlab.methods.ebkd import EBKD
from kdlab.methods.eskd import ESKD
from kdlab.methods.fitnet import FitNet
from kdlab.methods.full_kd import FullKD
from kdlab.methods.kd import KD
from kdlab.methods.logit_standardisation import LogitStandardisation
from kdlab.methods.pkt import PKT
from kdlab.methods.ps_kd import PSKD
from kdlab.methods.rkd import RKD
from kdlab.methods.sakdn import SAKDN
from kdlab.methods.sakdn_teacher import SAKDNTeacher
from kdlab.methods.schedules import PiecewiseLR
from kdlab.methods.simkd import SimKD
from kdlab.methods.sp import SP
from kdlab.methods.supervised import Supervised
from kdlab.methods.teacher import Teacher
from kdlab.methods.tf_kd import TFKDSelf, TFKDVirtual
from kdlab.methods.tgd import TGD
from kdlab.methods.topological_kd import TopologicalKD
from kdlab.methods.tpkd import TPKD
from kdlab.methods.vid import VID

__all__ = [
    "AEKD",
    "AFD",
    "AFDS",
    "AMC",
    "AMD",
    "AT",
    "AVER",
    "CAMKD",
    "CRD",
    "CSKD",
    "DASK",
    "DDGSD",
    "DIST",
    "DKD",
    "EBKD",
    "ESKD",
    "KD",
    "PKT",
    "PSKD",
    "RKD",
    "SAKDN",
    "SP",
    "TGD",
    "TPKD",
    "VID",
    "ASoftmax",
    "AnnealingKD",
    "Distillation",
    "FitNet",
    "FullKD",
    "LogitStandardisation",
    "Method",
    "PiecewiseLR",
    "SAKDNTeacher",
    "SimKD",
    "Supervised",
    "TFKDSelf",
    "TFKDVirtual",
    "Teacher",
    "TopologicalKD",
]
