"""The evaluation that is read once at the end: quality, calibration, robustness, embedding and cost of trained nets.

Each name is imported when it is first used, so that the costs of nets need no Lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdlab.evaluate.cost import latency as latency
    from kdlab.evaluate.cost import macs as macs
    from kdlab.evaluate.cost import parameters as parameters
    from kdlab.evaluate.cost import view_latency as view_latency
    from kdlab.evaluate.evaluation import Evaluation as Evaluation
    from kdlab.evaluate.measuring import evaluate as evaluate
    from kdlab.evaluate.metrics import reliability_bins as reliability_bins
    from kdlab.evaluate.metrics import scores as scores
    from kdlab.evaluate.metrics import v_measure as v_measure
    from kdlab.evaluate.plots import plot_embeddings as plot_embeddings
    from kdlab.evaluate.plots import plot_reliability as plot_reliability
    from kdlab.evaluate.plots import plot_robustness as plot_robustness

#: name -> the module that has it
_HOMES = {
    "Evaluation": "evaluation",
    "evaluate": "measuring",
    **dict.fromkeys(["latency", "macs", "parameters", "view_latency"], "cost"),
    **dict.fromkeys(["plot_embeddings", "plot_reliability", "plot_robustness"], "plots"),
    **dict.fromkeys(["reliability_bins", "scores", "v_measure"], "metrics"),
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"kdlab.evaluate.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kdlab.evaluate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
