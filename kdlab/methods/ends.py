"""The end of a fit by an error or Ctrl-C, of which Lightning tells callbacks and the strategy, but not the module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lightning.pytorch.strategies import Strategy

_HOOK = "on_exception"


def at_exception(strategy: Strategy, undo: Callable[[], None]) -> None:
    """Call a function where a fit, a validation, a test or a prediction ends by an exception, Ctrl-C included.

    The callbacks, which may write a checkpoint, are told before.

    Args:
        strategy: of the trainer; it keeps the last function alone.
        undo: the function.
    """
    setattr(strategy, _HOOK, partial(_ended, strategy, undo))


def forget_exception(strategy: Strategy) -> None:
    """Undo :func:`at_exception`."""
    vars(strategy).pop(_HOOK, None)


def _ended(strategy: Strategy, undo: Callable[[], None], exception: BaseException) -> None:
    forget_exception(strategy)
    try:
        undo()
    finally:
        strategy.on_exception(exception)
