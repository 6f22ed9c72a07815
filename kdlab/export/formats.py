"""The formats of an exported file, and what the parts of their writers and readers share."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kdlab.types import InputError
from kdlab.usage import FORMATS as FORMATS

INPUT, OUTPUT = "windows", "logits"
CARD = "card.json"
CARD_VERSION = 1
KEY = "kdlab"


def need(what: str, *modules: str) -> list[Any]:
    """Import modules of the ``export`` extra.

    Raises:
        InputError: naming the module that is missing and how to install it.
    """
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        raise InputError(
            f"{what}: needs {error.name or 'a module'}, which is not installed. Run: pip install 'kdlab[export]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' remarks on packages that a net of kdlab does not use."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
