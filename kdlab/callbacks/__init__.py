"""Callbacks: teachers stopped early, settings that anneal, figures, predictions and an open-set score."""

from kdlab.callbacks.annealing import TemperatureAnnealing, WeightAnnealing, anneal
from kdlab.callbacks.early_stopped_teacher import EarlyStoppedTeacher
from kdlab.callbacks.margin_maps import MarginMapPictures
from kdlab.callbacks.open_set import OpenSetScore
from kdlab.callbacks.pictures import ConfusionMatrixPicture, ViewPictures
from kdlab.callbacks.predictions import PredictionWriter

__all__ = [
    "ConfusionMatrixPicture",
    "EarlyStoppedTeacher",
    "MarginMapPictures",
    "OpenSetScore",
    "PredictionWriter",
    "TemperatureAnnealing",
    "ViewPictures",
    "WeightAnnealing",
    "anneal",
]
