"""Data: recordings are cut into windows, split by subject, scaled, augmented and turned into views."""

from kdlab.data.arrays import ArrayDataModule
from kdlab.data.base import WindowDataModule
from kdlab.data.basic_motions import BasicMotions
from kdlab.data.cifar import CIFAR10, CIFAR100
from kdlab.data.cinic10 import CINIC10
from kdlab.data.cross_fit import CrossFit
from kdlab.data.cutting import slide
from kdlab.data.geneactiv import GENEActiv
from kdlab.data.held_out import split_groups
from kdlab.data.image_folder import ImageFolder
from kdlab.data.images import ImageDataModule
from kdlab.data.mixing import CutMix, Mixing, Mixup
from kdlab.data.pamap2 import PAMAP2
from kdlab.data.partial_mixup import PartialMixup
from kdlab.data.partners import RandomPartner
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.intervals import Intervals
from kdlab.data.recordings.module import RecordingDataModule
from kdlab.data.recordings.predicted import PredictRoot
from kdlab.data.recordings.sensors import Sensor, Sensors
from kdlab.data.recordings.where import Where
from kdlab.data.scaling import Scale
from kdlab.data.shoulder_watch import ShoulderWatch
from kdlab.data.spswhar import SPSWHAR
from kdlab.data.tiny_imagenet import TinyImageNet
from kdlab.data.ucihar import UCIHAR
from kdlab.data.uea import UEA
from kdlab.data.unlabelled import Unlabelled
from kdlab.data.utdmhad import UTDMHAD
from kdlab.data.view_cache import ViewCache
from kdlab.data.windows import WindowSet
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
    "CrossFit",
    "Csv",
    "CutMix",
    "GENEActiv",
    "ImageDataModule",
    "ImageFolder",
    "Intervals",
    "Mixing",
    "Mixup",
    "PartialMixup",
    "PredictRoot",
    "RandomPartner",
    "RecordingDataModule",
    "Scale",
    "Sensor",
    "Sensors",
    "ShoulderWatch",
    "TinyImageNet",
    "Unlabelled",
    "ViewCache",
    "Where",
    "WindowDataModule",
    "WindowSet",
    "check_fingerprint",
    "slide",
    "split_groups",
]
