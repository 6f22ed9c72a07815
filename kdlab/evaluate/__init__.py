"""The evaluation that is read once at the end: quality, calibration, robustness, embedding and cost of trained nets."""

from kdlab.evaluate.cost import latency, macs, parameters, view_latency
from kdlab.evaluate.evaluation import Evaluation
from kdlab.evaluate.measuring import evaluate
from kdlab.evaluate.metrics import reliability_bins, scores, v_measure
from kdlab.evaluate.plots import plot_embeddings, plot_reliability, plot_robustness

__all__ = [
    "Evaluation",
    "evaluate",
    "latency",
    "macs",
    "parameters",
    "plot_embeddings",
    "plot_reliability",
    "plot_robustness",
    "reliability_bins",
    "scores",
    "v_measure",
    "view_latency",
]
