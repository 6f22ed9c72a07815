"""Callbacks: early-stopped teachers, averaged weights, settings that anneal, figures, predictions, open-set scores."""

from kdlab.callbacks.annealing import TemperatureAnnealing, WeightAnnealing, anneal
from kdlab.callbacks.early_stopped_teacher import EarlyStoppedTeacher
from kdlab.callbacks.epoch_averaging import EpochAveraging
from kdlab.callbacks.margin_maps import MarginMapPictures
from kdlab.callbacks.open_set import OpenSetScore
from kdlab.callbacks.pictures import ConfusionMatrixPicture, ViewPictures
from kdlab.callbacks.predictions import PredictionWriter
from kdlab.callbacks.smoothed_metric import SmoothedMetric
from kdlab.callbacks.update_budget import UpdateBudget

__all__ = [
    "ConfusionMatrixPicture",
    "EarlyStoppedTeacher",
    "EpochAveraging",
    "MarginMapPictures",
    "OpenSetScore",
    "PredictionWriter",
    "SmoothedMetric",
    "TemperatureAnnealing",
    "UpdateBudget",
    "ViewPictures",
    "WeightAnnealing",
    "anneal",
]
