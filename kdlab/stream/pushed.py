"""A function from an iterator to an iterator that is fed by calls."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
_END, _STOP = object(), object()


class Pushed(Generic[In, Out]):
    """A function from an iterator to an iterator, fed item by item.

    The function runs in a thread of its own. Either that thread or the caller runs, never both, so the results are
    those of a plain loop and do not depend on timing. The thread ends with the function, or with this object.

    Args:
        function: what is fed.

    Example:
        >>> def pairs(items):
        ...     for item in items:
        ...         yield from (item, item + 1)
        >>> pushed = Pushed(pairs)
        >>> pushed.push(1), pushed.push(5), pushed.end()
        ([1, 2], [5, 6], [])
    """

    def __init__(self, function: Callable[[Iterator[In]], Iterator[Out]]) -> None:
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._outbox: SimpleQueue[list[Out] | BaseException] = SimpleQueue()
        run = threading.Thread(target=_run, args=(function, self._inbox, self._outbox), daemon=True)
        run.start()
        weakref.finalize(self, self._inbox.put, _STOP)

    def push(self, item: In) -> list[Out]:
        """Feed an item. Returns what the function yields before it needs the next one."""
        return self._exchange(item)

    def end(self) -> list[Out]:
        """End the iterator. Returns what the function still yields."""
        return self._exchange(_END)

    def _exchange(self, item: Any) -> list[Out]:
        self._inbox.put(item)
        made = self._outbox.get()
        if isinstance(made, BaseException):
            raise made
        return made


class _Stopped(BaseException):
    """The object that feeds the function is gone."""


def _run(
    function: Callable[[Iterator[Any]], Iterator[Any]],
    inbox: SimpleQueue[Any],
    outbox: SimpleQueue[list[Any] | BaseException],
) -> None:
    made: list[Any] = []
    ended = False

    def items() -> Iterator[Any]:
        nonlocal made, ended
        while (item := inbox.get()) is not _END:
            if item is _STOP:
                raise _Stopped
            yield item  # comes back when the next item is needed
            done, made = made, []
            outbox.put(done)
        ended = True

    try:
        for one in function(items()):
            made.append(one)
        outbox.put(made)
        while not ended and (item := inbox.get()) is not _STOP:  # it needs no more items
            ended = item is _END
            outbox.put([])
    except _Stopped:
        pass
    except BaseException as error:
        outbox.put(error)
