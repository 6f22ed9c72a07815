"""The bootstrap over people and nets that :mod:`kdlab.study.people_differences` describes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdlab.study.conditions import natural
from kdlab.study.statistics import EQUAL

SEED = 20_260  # of the resamples: the same rows give the same interval
FEWEST = 5  # people, below which too many resamples hold one person alone
_AT_A_TIME = 2_000_000  # numbers of one array
Floats = NDArray[np.float64]
Cell = tuple[str, str, int]  # person, fold, seed


@dataclass(frozen=True)
class Sample:
    """The differences of people, and what the nets of each fold add to them.

    Attributes:
        people: in natural order.
        means: mean over the nets, of each person, ``(n,)``.
        nets: the common deviations of each fold's nets, shrunk, with mean 0: one array per fold.
        members: share of each fold in each person, ``(folds, n)``; 1 for the fold that tested the person.
    """

    people: list[str]
    means: Floats
    nets: list[Floats]
    members: Floats

    @classmethod
    def of(cls, pairs: Mapping[Cell, float]) -> Sample:
        """Arrange the differences of (person, fold, seed)."""
        people = sorted({person for person, _, _ in pairs}, key=natural)
        blocks = _blocks(pairs, people)
        members = np.stack([np.isfinite(block).any(1) for block in blocks]).astype(np.float64)
        members /= members.sum(0)
        means = sum(np.nan_to_num(_mean(block, 1)) * share for block, share in zip(blocks, members, strict=True))
        return cls(people, np.asarray(means, dtype=np.float64), _net_parts(blocks), members)


def _blocks(pairs: Mapping[Cell, float], people: Sequence[str]) -> list[Floats]:
    """The differences of each fold, ``(n, nets)``; NaN where a net did not test a person."""
    place = {person: i for i, person in enumerate(people)}
    blocks = []
    for fold in sorted({fold for _, fold, _ in pairs}, key=natural):
        seeds = sorted({seed for _, other, seed in pairs if other == fold}, key=natural)
        block = np.full((len(people), len(seeds)), math.nan)
        for (person, other, seed), value in pairs.items():
            if other == fold:
                block[place[person], seeds.index(seed)] = value
        blocks.append(block)
    return blocks


def _mean(values: Floats, axis: int) -> Floats:
    """The mean of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis) / known.sum(axis))


def _net_parts(blocks: Sequence[Floats]) -> list[Floats]:
    """What each net adds to all people of its fold, shrunk by the share of it that is chance."""
    parts, squares, rest = [], np.zeros(2), np.zeros(2)  # sums of squares and their degrees of freedom
    for block in blocks:
        deviations = block - _mean(block, 1)[:, None]
        part = _mean(deviations, 0)
        part -= part.mean()
        tested = np.isfinite(block).sum(0)
        squares += (tested * part**2).sum(), len(part) - 1
        rest += np.nansum((deviations - part) ** 2), (np.isfinite(block).any(1).sum() - 1) * (len(part) - 1)
        parts.append(part)
    noise = rest[0] / rest[1] if rest[1] else math.inf
    total = squares[0] / squares[1] if squares[1] else 0.0
    shrunk = math.sqrt(max(0.0, 1 - noise / total)) if total > 0 else 0.0
    return [shrunk * part for part in parts]


def inference(
    sample: Sample, confidence: float, resamples: int
) -> tuple[float | None, float | None, float | None, str]:
    """Ends of the interval, the p-value and the method; or the reason why there are none.

    Args:
        sample: the differences.
        confidence: of the interval.
        resamples: of the bootstrap.
    """
    n, means = len(sample.people), sample.means
    centre, deviation = float(means.mean()), float(means.std(ddof=1)) if n > 1 else 0.0
    if n < FEWEST:
        return None, None, None, f"fewer than {FEWEST} people, so no interval"
    if deviation <= EQUAL:
        return None, None, None, "all people differ by the same, so no interval"
    error = deviation / math.sqrt(n)
    t = studentised(sample, resamples)
    low = float(np.quantile(t, (1 - confidence) / 2, method="lower"))
    high = float(np.quantile(t, (1 + confidence) / 2, method="higher"))
    if not (math.isfinite(low) and math.isfinite(high)):
        alike = int(np.isclose(means[:, None], means, rtol=0, atol=EQUAL).sum(1).max())
        ties = f" ({alike} of {n} are alike)" if alike > 1 else ""
        return None, None, None, f"too few people for this confidence{ties}, so no interval"
    place = centre / error
    beyond = int((t >= place).sum() if place > 0 else (t <= place).sum())
    nets = sum(map(len, sample.nets))
    method = f"studentised bootstrap over {n} people and {nets} nets"
    return centre - high * error, centre - low * error, min(1.0, 2 * (beyond + 1) / (resamples + 1)), method


def studentised(sample: Sample, resamples: int) -> Floats:
    """t of each resample, ``(resamples,)``; infinite where it holds one person alone."""
    n, centre = len(sample.people), float(sample.means.mean())
    rng = np.random.default_rng(SEED)
    found, size = [], max(1, _AT_A_TIME // n)
    for start in range(0, resamples, size):
        many = min(size, resamples - start)
        people = rng.multinomial(n, np.full(n, 1 / n), many)
        shifts = np.stack([_shifts(rng, part, many) for part in sample.nets], axis=1)
        values = sample.means + shifts @ sample.members
        mean = (people * values).sum(1) / n
        spread = (people * (values - mean[:, None]) ** 2).sum(1) / (n * (n - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (mean - centre) / np.sqrt(spread)
        found.append(np.where(spread > EQUAL**2, t, np.copysign(np.inf, mean - centre)))
    return np.concatenate(found)


def _shifts(rng: np.random.Generator, part: Floats, many: int) -> Floats:
    """Mean of as many nets as a fold has, drawn with replacement, ``(many,)``."""
    nets = len(part)
    if nets == 1:
        return np.zeros(many)
    drawn = rng.multinomial(nets, np.full(nets, 1 / nets), many)
    return np.asarray(drawn @ part / nets * math.sqrt(nets / (nets - 1)))
