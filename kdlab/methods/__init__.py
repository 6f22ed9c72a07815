"""Methods: LightningModules, one file each."""

from typing import TYPE_CHECKING

from kdlab.methods.base import Method as Method
from kdlab.methods.cross_fitted_teacher import CrossFittedTeacher as CrossFittedTeacher
from kdlab.methods.distillation import Distillation as Distillation
from kdlab.methods.ensemble_teacher import EnsembleTeacher as EnsembleTeacher
from kdlab.methods.made import Distilled as Distilled
from kdlab.methods.made import TeacherFree as TeacherFree
from kdlab.methods.reconstruction import Reconstruction as Reconstruction
from kdlab.methods.schedules import LinearWarmupCosine as LinearWarmupCosine
from kdlab.methods.schedules import OneCycleLR as OneCycleLR
from kdlab.methods.schedules import PiecewiseLR as PiecewiseLR
from kdlab.methods.schedules import ReduceLROnPlateau as ReduceLROnPlateau
from kdlab.methods.schedules import SequentialLR as SequentialLR
from kdlab.methods.supervised import Supervised as Supervised
from kdlab.methods.teacher import Teacher as Teacher

if TYPE_CHECKING:  # the same classes, with every argument
    from kdlab.methods.signatures import *
else:
    from kdlab.methods.a_softmax import ASoftmax as ASoftmax
    from kdlab.methods.aekd import AEKD as AEKD
    from kdlab.methods.afd import AFD as AFD
    from kdlab.methods.afds import AFDS as AFDS
    from kdlab.methods.amc import AMC as AMC
    from kdlab.methods.amd import AMD as AMD
    from kdlab.methods.annealing_kd import AnnealingKD as AnnealingKD
    from kdlab.methods.at import AT as AT
    from kdlab.methods.aver import AVER as AVER
    from kdlab.methods.ca_mkd import CAMKD as CAMKD
    from kdlab.methods.cad import CAD as CAD
    from kdlab.methods.comodo import COMODO as COMODO
    from kdlab.methods.crd import CRD as CRD
    from kdlab.methods.cs_kd import CSKD as CSKD
    from kdlab.methods.dask import DASK as DASK
    from kdlab.methods.dcd import DCD as DCD
    from kdlab.methods.ddgsd import DDGSD as DDGSD
    from kdlab.methods.diff_kd import DiffKD as DiffKD
    from kdlab.methods.dist import DIST as DIST
    from kdlab.methods.dkd import DKD as DKD
    from kdlab.methods.ebkd import EBKD as EBKD
    from kdlab.methods.eskd import ESKD as ESKD
    from kdlab.methods.fitnet import FitNet as FitNet
    from kdlab.methods.full_kd import FullKD as FullKD
    from kdlab.methods.ips import IPS as IPS
    from kdlab.methods.kd import KD as KD
    from kdlab.methods.logit_standardisation import LogitStandardisation as LogitStandardisation
    from kdlab.methods.mix_kd import MixKD as MixKD
    from kdlab.methods.mtkd_rl import MTKDRL as MTKDRL
    from kdlab.methods.nkd import NKD as NKD
    from kdlab.methods.pkt import PKT as PKT
    from kdlab.methods.ps_kd import PSKD as PSKD
    from kdlab.methods.pseudo_label import PseudoLabel as PseudoLabel
    from kdlab.methods.review_kd import ReviewKD as ReviewKD
    from kdlab.methods.rkd import RKD as RKD
    from kdlab.methods.sakdn import SAKDN as SAKDN
    from kdlab.methods.sakdn_teacher import SAKDNTeacher as SAKDNTeacher
    from kdlab.methods.simkd import SimKD as SimKD
    from kdlab.methods.sp import SP as SP
    from kdlab.methods.srd import SRD as SRD
    from kdlab.methods.tf_kd import TFKDSelf as TFKDSelf
    from kdlab.methods.tf_kd import TFKDVirtual as TFKDVirtual
    from kdlab.methods.tgd import TGD as TGD
    from kdlab.methods.topological_kd import TopologicalKD as TopologicalKD
    from kdlab.methods.tpkd import TPKD as TPKD
    from kdlab.methods.ttm import TTM as TTM
    from kdlab.methods.vid import VID as VID
    from kdlab.methods.wkdf import WKDF as WKDF
    from kdlab.methods.wkdl import WKDL as WKDL
    from kdlab.methods.wttm import WTTM as WTTM

    __all__ = sorted(name for name, value in globals().items() if isinstance(value, type))
