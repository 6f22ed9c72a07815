"""Data: recordings are cut into windows, split by subject and seen in views."""

from kdlab.data.arrays import ArrayDataModule
from kdlab.data.base import Scale, WindowDataModule, check_fingerprint
from kdlab.data.basic_motions import BasicMotions
from kdlab.data.geneactiv import GENEActiv
from kdlab.data.pamap2 import PAMAP2
from kdlab.data.recording import RecordingDataModule
from kdlab.data.spswhar import SPSWHAR
from kdlab.data.ucihar import UCIHAR
from kdlab.data.uea import UEA
from kdlab.data.utdmhad import UTDMHAD
from kdlab.data.windows import WindowSet, slide, split_groups

__all__ = [
    "PAMAP2",
    "SPSWHAR",
    "UCIHAR",
    "UEA",
    "UTDMHAD",
    "ArrayDataModule",
    "BasicMotions",
    "GENEActiv",
    "RecordingDataModule",
    "Scale",
    "WindowDataModule",
    "WindowSet",
    "check_fingerprint",
    "slide",
    "split_groups",
]
