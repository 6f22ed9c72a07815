"""Data: recordings are cut into windows, split by subject and seen in views."""

from kdlab.data.arrays import ArrayDataModule
from kdlab.data.base import Scale, WindowDataModule
from kdlab.data.basic_motions import BasicMotions
from kdlab.data.cifar import CIFAR10, CIFAR100
from kdlab.data.cinic10 import CINIC10
from kdlab.data.geneactiv import GENEActiv
from kdlab.data.image_folder import ImageFolder
from kdlab.data.images import ImageDataModule
from kdlab.data.mixing import CutMix, Mixing, Mixup
from kdlab.data.pamap2 import PAMAP2
from kdlab.data.recording import RecordingDataModule
from kdlab.data.recording_labels import Intervals
from kdlab.data.recording_layout import Where
from kdlab.data.shoulder_watch import ShoulderWatch
from kdlab.data.spswhar import SPSWHAR
from kdlab.data.text_rows import Csv
from kdlab.data.tiny_imagenet import TinyImageNet
from kdlab.data.ucihar import UCIHAR
from kdlab.data.uea import UEA
from kdlab.data.utdmhad import UTDMHAD
from kdlab.data.windows import WindowSet, slide, split_groups
from kdlab.fingerprint import check_fingerprint

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CINIC10",
    "PAMAP2",
    "SPSWHAR",
    "UCIHAR",
    "UEA",
    "UTDMHAD",
    "ArrayDataModule",
    "BasicMotions",
    "Csv",
    "CutMix",
    "GENEActiv",
    "ImageDataModule",
    "ImageFolder",
    "Intervals",
    "Mixing",
    "Mixup",
    "RecordingDataModule",
    "Scale",
    "ShoulderWatch",
    "TinyImageNet",
    "Where",
    "WindowDataModule",
    "WindowSet",
    "check_fingerprint",
    "slide",
    "split_groups",
]
