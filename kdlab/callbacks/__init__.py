"""Callbacks: teachers stopped early, settings that anneal, pictures and predictions."""

from kdlab.callbacks.annealing import TemperatureAnnealing, WeightAnnealing, anneal
from kdlab.callbacks.early_stopped_teacher import EarlyStoppedTeacher
from kdlab.callbacks.pictures import ConfusionMatrixPicture, ViewPictures
from kdlab.callbacks.predictions import PredictionWriter

__all__ = [
    "ConfusionMatrixPicture",
    "EarlyStoppedTeacher",
    "PredictionWriter",
    "TemperatureAnnealing",
    "ViewPictures",
    "WeightAnnealing",
    "anneal",
]
