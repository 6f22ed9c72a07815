"""States of the random number generators in a checkpoint: with them a resumed fit draws as an uninterrupted one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from kdlab.types import InputError

#: the key of the states in a checkpoint
RANDOM = "random"


def random_states() -> dict[str, Any]:
    """The states of torch (each GPU included), numpy and Python, in tensors and plain values."""
    _, words, *more = np.random.get_state(legacy=True)  # noqa: NPY002  # the one that nets may draw from
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(words).astype(np.int64)), *[float(x) for x in more]],
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Go on with these states; those of GPUs only where there are as many.

    Raises:
        InputError: they are damaged.

    Example:
        >>> states = random_states()
        >>> first = torch.rand(3), random.random(), np.random.rand()
        >>> set_random_states(states)
        >>> torch.equal(first[0], torch.rand(3)), first[1:] == (random.random(), np.random.rand())
        (True, True)
    """
    try:
        words, place, has_gauss, cached = states["numpy"]
        version, numbers, gauss = states["python"]
        torch.set_rng_state(states["torch"])
        np.random.set_state(("MT19937", words.numpy().astype(np.uint32), int(place), int(has_gauss), cached))  # noqa: NPY002
        random.setstate((version, tuple(numbers.tolist()), gauss))
        if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"ckpt_path: its random states must be those of torch, numpy and Python, but are damaged ({error!r:.100}). "
            "Resume from another checkpoint."
        ) from error
