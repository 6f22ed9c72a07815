"""Views: the same window as signal or as an image of it. Nothing here needs Lightning."""

from kdlab.views.base import View
from kdlab.views.diagrams import sublevel_diagram
from kdlab.views.gaf import GramianAngularField
from kdlab.views.persistence import PersistenceImage, ScanPersistenceImage
from kdlab.views.raw import Raw, RawImage
from kdlab.views.recurrence import RecurrencePlot
from kdlab.views.resampled import Resampled
from kdlab.views.spectrogram import Spectrogram
from kdlab.views.transitions import MarkovTransitionField

__all__ = [
    "GramianAngularField",
    "MarkovTransitionField",
    "PersistenceImage",
    "Raw",
    "RawImage",
    "RecurrencePlot",
    "Resampled",
    "ScanPersistenceImage",
    "Spectrogram",
    "View",
    "sublevel_diagram",
]
