"""kdlab: small networks for wearables, taught by big ones.

Windows are seen in several views; teachers read one view each and are stopped early; a small student that reads only
the raw signal learns from all of them.
"""

from kdlab import augment, callbacks, data, functional, methods, nets, objective, views
from kdlab.cache import TeacherCache
from kdlab.methods import AMD, ESKD, KD, TGD, TPKD, Distillation, FullKD, Supervised, Teacher
from kdlab.types import Batch, InputError, MissingFileError, Output

__version__ = "0.1.0"

__all__ = [
    "AMD",
    "ESKD",
    "KD",
    "TGD",
    "TPKD",
    "Batch",
    "Distillation",
    "FullKD",
    "InputError",
    "MissingFileError",
    "Output",
    "Supervised",
    "Teacher",
    "TeacherCache",
    "augment",
    "callbacks",
    "data",
    "functional",
    "methods",
    "nets",
    "objective",
    "views",
]
