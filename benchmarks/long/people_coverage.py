"""How often do intervals over test people hold the true difference, and how often is one found that is not there?

    python -m benchmarks.long.people_coverage [--studies 2000] [--seed 0] [--resamples 2000]

Simulated studies have 8, 10 and 23 people in several folds or in one split, and two or three seeds. The accuracy of a
person varies about the person's own mean; the difference of two runs has a true mean of 2 points, a part of each
person (normal, or skewed as an exponential distribution), a part of each pair of nets, which all people of a fold
share, and the chance of 60 to 240 windows. Compared are kdlab's studentised bootstrap over people and nets, the
percentile and the BCa interval of a bootstrap over people and seeds, the t interval over people, and the test by random
signs of people's differences. Each should be 95 %; the standard error of 2000 studies is .5.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from kdlab.study.people_differences import people_difference

TRUE = 0.02
KINDS = ("normal", "skewed")
DESIGNS = ((8, 4), (10, 5), (23, 5), (23, 23), (10, 1), (23, 1))  # people, folds
NET = 0.02  # standard deviation of the difference of two nets, of those studies in which nets differ


def simulate(
    rng: np.random.Generator, people: int, folds: int, seeds: int, kind: str, net: float, person: float = 0.05
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], np.ndarray]:
    """The rows of two runs, and their differences ``(people, seeds)``."""
    fold = np.arange(people) % folds
    windows = rng.integers(60, 241, people)[:, None]
    drawn = rng.normal(0, 1, people) if kind == "normal" else rng.exponential(1, people) - 1
    base = rng.normal(0.7, 0.05, (people, 1)) + np.zeros((people, seeds))
    gain = TRUE + person * drawn[:, None] + rng.normal(0, net, (folds, seeds))[fold]
    right = [rng.binomial(windows, np.clip(base + part, 0.01, 0.99)) for part in (gain / 2, -gain / 2)]
    rows = [
        [
            {
                **{"fold": f"fold{f + 1}" if folds > 1 else "", "seed": s, "stage": "student", "shared": False},
                "people": {
                    f"p{p}": {"windows": int(windows[p, 0]), "correct": int(counts[p, s])}
                    for p in np.flatnonzero(fold == f)
                },
            }
            for f, s in itertools.product(range(folds), range(seeds))
        ]
        for counts in right
    ]
    return rows[0], rows[1], (right[0] - right[1]) / windows


def others(difference: np.ndarray, rng: np.random.Generator, resamples: int) -> Iterator[tuple[str, float, float]]:
    """Other intervals; of the test by random signs, the signs of p - .05 where the true difference is taken away."""
    n, seeds = difference.shape
    means = difference.mean(1)
    centre, error = means.mean(), means.std(ddof=1) / math.sqrt(n)
    people = rng.integers(0, n, (resamples, n))
    drawn = rng.integers(0, seeds, (resamples, n, seeds))
    found = difference[people[:, :, None], drawn].mean((1, 2))
    yield "percentile", *np.quantile(found, [0.025, 0.975])
    without = (centre * n - means) / (n - 1)
    skew = ((without.mean() - without) ** 3).sum() / (6 * ((without - without.mean()) ** 2).sum() ** 1.5 + 1e-300)
    bias = ndtri(np.clip((found < centre).mean(), 1e-6, 1 - 1e-6))
    yield "BCa", *np.quantile(found, [ndtr(bias + (bias + z) / (1 - skew * (bias + z))) for z in ndtri([0.025, 0.975])])
    half = stdtrit(n - 1, 0.975) * error
    yield "t over people", centre - half, centre + half
    moved = means - TRUE
    signs = rng.choice([-1.0, 1.0], (resamples, n))
    p = (np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12).mean()
    yield "signs", *((-math.inf, math.inf) if p > 0.05 else (math.inf, -math.inf))


def coverage(
    people: int, folds: int, seeds: int, kind: str, net: float, studies: int, resamples: int, seed: int = 0
) -> dict[str, float]:
    """Name of a method -> how often it holds the true difference; ``"width"`` is that of kdlab's interval."""
    rng = np.random.default_rng([seed, people, folds, seeds, KINDS.index(kind), round(1000 * net)])
    hits: dict[str, list[float]] = {}
    for _ in range(studies):
        rows_a, rows_b, difference = simulate(rng, people, folds, seeds, kind, net)
        found = people_difference(rows_a, rows_b, resamples=resamples)
        if found is None or found.low is None or found.high is None:
            raise SystemExit(f"error: no interval ({found.method if found else 'no people'})")
        hits.setdefault("kdlab", []).append(found.low <= TRUE <= found.high)
        hits.setdefault("width", []).append(found.high - found.low)
        for name, low, high in others(difference, rng, min(resamples, 1000)):
            hits.setdefault(name, []).append(low <= TRUE <= high)
    return {name: float(np.mean(values)) for name, values in hits.items()}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies of each kind")
    parser.add_argument("--resamples", type=int, default=2000, help="of each bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    given = parser.parse_args(words)
    methods = ("kdlab", "percentile", "BCa", "t over people", "signs")
    print(f"| people | folds | seeds | person | net (points) | {' | '.join(methods)} | width (points) |")
    print(f"| ---: | ---: | ---: | --- | ---: | {' | '.join(['---:'] * len(methods))} | ---: |", flush=True)
    for (people, folds), seeds, kind, net in itertools.product(DESIGNS, (2, 3), KINDS, (0.0, NET)):
        found = coverage(people, folds, seeds, kind, net, given.studies, given.resamples, given.seed)
        cells = " | ".join(f"{100 * found[name]:.1f}" for name in methods)
        about = f"{people} | {folds} | {seeds} | {kind} | {100 * net:g}"
        print(f"| {about} | {cells} | {100 * found['width']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
