"""kdlab: small networks for wearables, taught by big ones.

Windows are seen in several views; teachers read one view each and are stopped early; a small student that reads only
the raw signal learns from all of them.
"""

from kdlab import augment, callbacks, citations, data, functional, methods, nets, objective, views
from kdlab.cache import TeacherCache
from kdlab.methods import (
    AEKD,
    AMD,
    AT,
    AVER,
    CAMKD,
    CSKD,
    DDGSD,
    DIST,
    DKD,
    EBKD,
    ESKD,
    KD,
    PKT,
    PSKD,
    RKD,
    SP,
    TGD,
    TPKD,
    AnnealingKD,
    Distillation,
    FullKD,
    LogitStandardisation,
    Supervised,
    Teacher,
    TFKDSelf,
    TFKDVirtual,
    TopologicalKD,
)
from kdlab.types import Batch, InputError, MissingFileError, Output

__version__ = "0.1.0"

__all__ = [
    "AEKD",
    "AMD",
    "AT",
    "AVER",
    "CAMKD",
    "CSKD",
    "DDGSD",
    "DIST",
    "DKD",
    "EBKD",
    "ESKD",
    "KD",
    "PKT",
    "PSKD",
    "RKD",
    "SP",
    "TGD",
    "TPKD",
    "AnnealingKD",
    "Batch",
    "Distillation",
    "FullKD",
    "InputError",
    "LogitStandardisation",
    "MissingFileError",
    "Output",
    "Supervised",
    "TFKDSelf",
    "TFKDVirtual",
    "Teacher",
    "TeacherCache",
    "TopologicalKD",
    "augment",
    "callbacks",
    "citations",
    "data",
    "functional",
    "methods",
    "nets",
    "objective",
    "views",
]
