"""Views: the same window as signal, Gramian angular field or persistence image. Nothing here needs Lightning."""

from kdlab.views.base import View
from kdlab.views.diagrams import sublevel_diagram
from kdlab.views.gaf import GramianAngularField
from kdlab.views.persistence import PersistenceImage, ScanPersistenceImage
from kdlab.views.raw import Raw, RawImage

__all__ = [
    "GramianAngularField",
    "PersistenceImage",
    "Raw",
    "RawImage",
    "ScanPersistenceImage",
    "View",
    "sublevel_diagram",
]
