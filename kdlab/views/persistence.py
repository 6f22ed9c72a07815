"""Persistence images: the topology of a window, or of a scanned image, as pixels."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.types import InputError
from kdlab.views.base import View, added, check, check_number, check_size, still
from kdlab.views.diagrams import ripser_diagram, sublevel_diagrams
from kdlab.views.ranges import find_ranges

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

_SHORTEST = 1e-3  # lifetimes up to this are dropped whatever the threshold
_REACH = 5.25  # sigmas beyond which float32 images ignore a point: 1e-6 of its peak
_CHUNK = 16  # windows that torch rasterises at once


class _Axis(NamedTuple):
    """The cells of one axis: cell i lies between ``lower[i]`` and ``lower[i] + width``, and the next is ``step`` on."""

    lower: Floats
    upper: Floats
    step: float
    width: float

    @property
    def edges(self) -> Floats:
        return np.stack([self.lower, self.upper])


def _axis(low: float, high: float, size: int, legacy: bool) -> _Axis:
    if legacy:
        width = high / size
        lower = np.linspace(low, high, size)
        return _Axis(lower, lower + width, (high - low) / (size - 1), width)
    edges = np.linspace(low, high, size + 1)
    return _Axis(edges[:-1], edges[1:], (high - low) / size, (high - low) / size)


def _between(low: Floats, high: Floats) -> Floats:
    """Mass of the standard normal between ``low`` and ``high``, taken in the tail where both CDFs are small.

    Where both are 1 in double precision it is 0, as in the reference code.
    """
    from scipy.special import ndtr

    from kdlab.views.kernels import ONE

    flip = low > 0
    mass = ndtr(np.where(flip, -low, high)) - ndtr(np.where(flip, -high, low))
    return np.where(low > ONE, 0.0, mass)


def _table(axis: _Axis, sigma: float) -> tuple[npt.NDArray[np.float32], int, int, float] | None:
    """Cell masses and slopes around a point, by its place within a cell; None where that would not fit.

    Returns the table (row 2 i: masses with the point at i / nodes of a cell; row 2 i + 1: slopes per node), how many
    cells a point reaches to either side, how many cells are touched at once, and the largest mass of a cell.
    """
    size, scale = axis.lower.size, axis.step / sigma
    reach = math.ceil(_REACH / scale)
    if reach > 8 * size or scale > 256:
        return None
    side = -(-size // 8) * 8
    width = min(-(-(2 * reach + 1) // 8) * 8, side)
    nodes = max(16, math.ceil(16 * scale))  # a node every sixteenth of sigma or finer: 1e-7 by cubic interpolation
    cells = np.arange(-(reach + width + 1), reach + width + 2)
    low = (cells - np.arange(nodes + 1)[:, None] / nodes) * scale
    high = low + axis.width / sigma
    mass = _between(low, high)
    slope = (np.exp(-low * low / 2) - np.exp(-high * high / 2)) * scale / nodes / math.sqrt(2 * math.pi)
    table = np.stack([mass, slope], axis=1).reshape(2 * (nodes + 1), cells.size)
    return table.astype(np.float32), reach, width, float(mass.max())


class _Plan(NamedTuple):
    """All that a raster needs besides the windows."""

    columns: _Axis
    rows: _Axis
    fast: tuple[Any, ...] | None


@lru_cache(maxsize=64)
def _plan(size: int, sigma: float, birth: Range, persistence: Range, legacy: bool) -> _Plan:
    columns = _axis(min(birth[0], 0.0) if legacy else birth[0], birth[1], size, legacy)
    rows = _axis(*persistence, size, legacy)
    across, up = _table(columns, sigma), _table(rows, sigma)
    if across is None or up is None:
        return _Plan(columns, rows, None)
    grids = np.array([[axis.lower[0], 1 / axis.step] for axis in (columns, rows)])
    least = 0.25 * across[3] * up[3]
    tables, strides = (across[0].ravel(), up[0].ravel()), (across[0].shape[1], up[0].shape[1])
    return _Plan(columns, rows, (tables, strides, grids, (across[1], up[1]), (across[2], up[2]), least))


def _check_pair(name: str, pair: Any) -> Range | Literal["auto"]:
    """A range of two floats, the smaller one first, or ``"auto"``."""
    if isinstance(pair, str) and pair == "auto":
        return "auto"
    check(isinstance(pair, list | tuple) and len(pair) == 2, name, "a range (low, high) or 'auto'", pair)
    for end in pair:
        check_number(name, end, -math.inf)
    check(pair[0] < pair[1], name, "a range (low, high) with low < high", pair)
    return float(pair[0]), float(pair[1])


@dataclass(frozen=True, repr=False)
class PersistenceImage(View):
    r"""Persistence image of the sublevel sets of each channel of a window.

    Each pair (b, d) of the channel's diagram (:func:`~kdlab.views.sublevel_diagram`) is a point at birth b and
    persistence y = d - b, weighted by y / max y of that diagram and blurred by a Gaussian of standard deviation sigma;
    a pixel is the mass that falls into its cell:

    .. math::
        I_{rc} = \sum_k \frac{y_k}{\max_l y_l}
            \left[\Phi\!\left(\tfrac{p_{r+1} - y_k}{\sigma}\right) - \Phi\!\left(\tfrac{p_r - y_k}{\sigma}\right)\right]
            \left[\Phi\!\left(\tfrac{b_{c+1} - b_k}{\sigma}\right) - \Phi\!\left(\tfrac{b_c - b_k}{\sigma}\right)\right]

    over the edges b and p of n equal cells an axis. The first row is the largest persistence, columns go by increasing
    birth. Dropped before: the pair that never dies, and lifetimes of at most 0.001 or ``threshold``. Divided at the
    end by the largest pixel. An empty diagram gives a zero image. Points outside the ranges count with the mass that
    they spill inside.

    The weight y / max y is relative to one diagram, so a small movement is drawn as bright as a large one. With
    ``weight="absolute"`` it is relative to the upper end of the persistence range, the same for all windows:
    ``y_k / persistence[1]``. Only without ``normalize`` do the two differ.

    A range of ``"auto"`` is found by the data module at setup, which replaces the view by one with numbers. The rule
    (:func:`~kdlab.views.ranges.find_ranges`): over the points of a sample of training windows, each counted by its
    weight, births run from their 1 % to their 99 % quantile, persistences from 0 to their 99 % quantile, and each
    end but that 0 is moved outwards by sigma.

    Args:
        size: side n of the image in pixels.
        sigma: standard deviation of the blur, in units of the (scaled) signal.
        birth: range of births shown, in units of the signal, or ``"auto"``.
        persistence: range of persistences shown, in units of the signal, or ``"auto"``.
        threshold: lifetimes up to this are dropped, in units of the signal.
        normalize: divide each image by its largest pixel.
        grid: ``"exact"``: cells tile the ranges. ``"legacy"``: the cells of ``PersImage``, which the released teachers
            were trained on: lower edges linspace(min(birth[0], 0), birth[1], n) and linspace(0, persistence[1], n),
            end points included, cells birth[1] / n and persistence[1] / n wide, so they do not tile.
            ``PersImage(specs={"minBD": m, "maxBD": M})`` is ``birth=(m, M), persistence=(0, M)``.
        backend: ``"fast"``; ``"ripser"``: diagrams by ripser (float32); ``"persim"``: images by persim
            (``PersistenceImager``, or ``PersImage`` for the legacy grid).
        dtype: ``"float32"`` is within 1e-5 of the image's maximum; ``"float64"`` computes and returns float64.
        floor: a channel whose samples span less than this (largest minus smallest), in units of the signal, is noise
            of a sensor at rest and gives a zero image; 0 takes every channel as it is. (``threshold`` drops points of
            an image, and what is left is scaled to the full range.)
        weight: ``"diagram"``: y over the largest y of the diagram; ``"absolute"``: y over the upper end of the
            persistence range.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, n, n)``, ``(B, C, T)`` -> ``(B, C, n, n)``.

    Raises:
        InputError: for an argument out of its range, or samples that are not finite.

    References:
        Adams et al., "Persistence Images: A Stable Vector Representation of Persistent Homology", JMLR 18(8), 2017.
        Reference code: scikit-tda/persim@2d50e66, persim/images.py, as called by jeunsom/TDA_KD@b9091bb, PI.ipynb.

    Differences from the reference code:
        ``sigma`` is a standard deviation on both grids (``PersistenceImager`` takes a variance). The weight is divided
        by the diagram's maximum and rows are flipped, as ``PersImage`` does and ``PersistenceImager`` does not.
        ``PersImage`` has one ``maxBD`` for both axes. Infinite deaths are dropped (persim makes NaN of them). Where
        every point lies beyond the ranges persim divides rounding errors by each other; these images are exact.

    Example:
        >>> view = PersistenceImage(size=4, sigma=0.5, birth=(0.0, 4.0), persistence=(0.0, 4.0))
        >>> view([[0.0, 3.0, 1.0, 3.5]]).round(decimals=3)
        tensor([[[0.0480, 0.0480, 0.0020, 0.0000],
                 [1.0000, 1.0000, 0.0480, 0.0000],
                 [1.0000, 1.0000, 0.0480, 0.0000],
                 [0.0480, 0.0480, 0.0020, 0.0000]]])
    """

    paper: ClassVar[tuple[str, ...]] = ("adams2017persistence",)

    size: int = 64
    sigma: float = 0.25
    birth: tuple[float, float] | Literal["auto"] = (-4.0, 4.0)
    persistence: tuple[float, float] | Literal["auto"] = (0.0, 8.0)
    threshold: float = 0.01
    normalize: bool = True
    grid: Literal["exact", "legacy"] = "exact"
    backend: Literal["fast", "ripser", "persim"] = "fast"
    dtype: Literal["float32", "float64"] = "float32"
    floor: float = added(0.0)
    weight: Literal["diagram", "absolute"] = added("diagram")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("size", self.size)
        check_number("sigma", self.sigma, 0.0, open_end=True)
        check_number("threshold", self.threshold, 0.0)
        check_number("floor", self.floor, 0.0)
        kinds = {"size": int, "sigma": float, "threshold": float, "normalize": bool, "floor": float}
        for name, kind in kinds.items():
            object.__setattr__(self, name, kind(getattr(self, name)))  # one value, one digest
        for name in ("birth", "persistence"):
            object.__setattr__(self, name, _check_pair(name, getattr(self, name)))
        check(self.grid in ("exact", "legacy"), "grid", "'exact' or 'legacy'", self.grid)
        check(self.backend in ("fast", "ripser", "persim"), "backend", "'fast', 'ripser' or 'persim'", self.backend)
        check(self.dtype in ("float32", "float64"), "dtype", "'float32' or 'float64'", self.dtype)
        check(self.weight in ("diagram", "absolute"), "weight", "'diagram' or 'absolute'", self.weight)
        if self.weight == "absolute" and self.persistence != "auto":
            check(
                self.persistence[1] > 0,
                "persistence",
                "a range with an upper end above 0 with absolute weights",
                self.persistence,
            )
        if self.grid == "legacy":
            self._check_legacy()

    def _check_legacy(self) -> None:
        for name in self.unresolved:
            check(False, name, "numbers on the legacy grid, whose images have known ranges", "auto")
        birth, persistence = self.ranges
        check(birth[1] > 0, "birth", "a range with an upper end above 0 on the legacy grid", birth)
        check(persistence[0] == 0, "persistence", "a range with a lower end of 0 on the legacy grid", persistence)
        if self.backend == "persim":
            same = persistence[1] == birth[1]
            check(same, "persistence", f"(0, {birth[1]:g}), which ends as birth does", persistence)

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Those of ``birth`` and ``persistence`` that are ``"auto"``."""
        return tuple(name for name in ("birth", "persistence") if getattr(self, name) == "auto")

    def resolve(self, x: Tensor) -> Self:
        """The same view with the ranges of the diagrams of ``x``, where they are ``"auto"``.

        Raises:
            InputError: where there is nothing to find them in.
        """
        if not self.unresolved:
            return self
        found = find_ranges(self.diagrams(x), self.sigma, self._dropped, absolute=self.weight == "absolute")
        return replace(self, **{name: getattr(found, name) for name in self.unresolved})

    def diagrams(self, x: Tensor) -> list[Floats]:
        """The diagrams of each series of each window: one per channel and window, channel by channel."""
        series = self._read_as(self._batch(x))
        rows = still(series, self.floor).transpose(0, 1).cpu().numpy().reshape(-1, series.shape[-1])
        return sublevel_diagrams(rows)

    def _read_as(self, x: Tensor) -> Tensor:
        """The series of a checked batch, ``(B, C, T)``."""
        return x

    @property
    def ranges(self) -> tuple[Range, Range]:
        """Birth and persistence as numbers."""
        if self.birth == "auto" or self.persistence == "auto":
            raise InputError(f"{type(self).__name__}: {self.unresolved[0]} must be numbers, but got 'auto'.")
        return self.birth, self.persistence

    @property
    def _top(self) -> float:
        """What absolute weights are relative to; 0: weights are relative to the longest life of a diagram."""
        return self.ranges[1][1] if self.weight == "absolute" else 0.0

    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        """``(channels, n, n)``, whatever the length."""
        return (self.selected(channels), self.size, self.size)

    def compute(self, x: Tensor) -> Tensor:
        """Compiled on the CPU; on another device the diagrams are found on the host and drawn on the device."""
        return self._series(self._read_as(x))

    def _series(self, x: Tensor) -> Tensor:
        rows = still(x, self.floor).cpu().numpy().reshape(-1, x.shape[-1])
        out_dtype = torch.float32 if self.dtype == "float32" else torch.float64
        plan = _plan(self.size, self.sigma, *self.ranges, self.grid == "legacy")
        if self.backend == "fast" and x.device.type != "cpu" and self.dtype == "float32":
            out = self._torch(rows, plan, x.device)
        elif self.backend == "fast":
            out = self._compiled(rows, plan)
        else:
            pairs = [ripser_diagram(row) for row in rows] if self.backend == "ripser" else sublevel_diagrams(rows)
            draw = self._persim if self.backend == "persim" else self._draw
            points = [self._points(one) for one in pairs]
            out = torch.stack([torch.from_numpy(self._finish(draw(one, plan), one)) for one in points])
        return out.view(*x.shape[:2], self.size, self.size).to(x.device, out_dtype)

    @property
    def _dropped(self) -> float:
        return max(_SHORTEST, self.threshold)

    def _compiled(self, rows: npt.NDArray[Any], plan: _Plan) -> Tensor:
        from kdlab.views import kernels

        out = kernels.blank(len(rows), self.size, self.size, dtype=self.dtype)
        common = (rows, self._dropped, plan.columns.edges, plan.rows.edges, self.sigma, self.normalize, self._top)
        if self.dtype == "float64" or plan.fast is None:
            kernels.run_rows(kernels.exact_images, len(rows), *common, out.numpy())
        else:
            kernels.run_rows(kernels.fast_images, len(rows), *common, *plan.fast, out.numpy())
        return out

    def _points(self, pairs: Floats) -> Floats:
        """(birth, lifetime, weight) of the pairs that live long enough."""
        life = pairs[:, 1] - pairs[:, 0]
        keep = life > self._dropped
        birth, life = pairs[keep, 0], life[keep]
        return np.stack([birth, life, life / life.max(initial=0.0)], axis=1) if life.size else np.empty((0, 3))

    def _draw(self, points: Floats, plan: _Plan) -> Floats:
        """The equation, as two matrices and a product: ``[persistence, birth]``, row 0 the smallest persistence."""
        across, up = (
            _between((axis.lower - centre[:, None]) / self.sigma, (axis.upper - centre[:, None]) / self.sigma)
            for axis, centre in ((plan.columns, points[:, 0]), (plan.rows, points[:, 1]))
        )
        return np.asarray((up * points[:, 2:]).T @ across)

    def _persim(self, points: Floats, plan: _Plan) -> Floats:
        """The same by persim. In units of a cell its grid is exact, and ``sigma`` becomes a covariance."""
        from persim import PersImage, PersistenceImager

        if not len(points):
            return np.zeros((self.size, self.size))
        birth, persistence = self.ranges
        if self.grid == "legacy":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                specs = {"minBD": birth[0], "maxBD": birth[1]}
                old: Any = PersImage((self.size, self.size), spread=self.sigma, specs=specs, verbose=False)
            return np.asarray(old.transform(np.stack([points[:, 0], points[:, 0] + points[:, 1]], 1)))[::-1]
        steps = np.array([plan.columns.step, plan.rows.step])
        cells = (points[:, :2] - [birth[0], persistence[0]]) / steps
        imager: Any = PersistenceImager(
            birth_range=(0.0, float(self.size)),
            pers_range=(0.0, float(self.size)),
            pixel_size=1.0,
            weight=lambda birth, persistence: points[:, 2],
            weight_params={},
            kernel_params={"sigma": np.diag((self.sigma / steps) ** 2)},
        )
        return np.asarray(imager.transform(cells, skew=False)).T

    def _finish(self, image: Floats, points: Floats) -> Floats:
        """Largest persistence first, divided by the largest pixel, or with absolute weights."""
        peak, gain = image.max(), points[:, 1].max(initial=0.0) / self._top if self._top else 1.0
        return np.ascontiguousarray(image[::-1] / peak if self.normalize and peak > 0 else gain * image[::-1])

    def _torch(self, rows: npt.NDArray[Any], plan: _Plan, device: torch.device) -> Tensor:
        """Diagrams on the host, images in torch on ``device``, a few windows at a time."""
        from kdlab.views.kernels import kept_points, run_rows

        points = np.empty((len(rows), rows.shape[1] // 2 + 1, 3))
        counts = np.empty(len(rows), np.int64)
        run_rows(kept_points, len(rows), rows, self._dropped, points, counts)
        points[np.arange(points.shape[1]) >= counts[:, None]] = 0.0
        out = torch.empty(len(rows), self.size, self.size, device=device)
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            some = torch.from_numpy(points[part, : max(1, int(counts[part].max()))])
            across = self._cells(some[..., 0], plan.columns, device)
            up = self._cells(some[..., 1], plan.rows, device) * some[..., 2:].to(device, torch.float32)
            out[part] = (up.transpose(1, 2) @ across).flip(1)
        if self.normalize:
            peak = out.amax((1, 2), keepdim=True)
            out /= torch.where(peak > 0, peak, torch.ones_like(peak))
        elif self._top:
            out *= torch.from_numpy(points[..., 1].max(1) / self._top).to(device, torch.float32)[:, None, None]
        faint = self._faint(points, plan) & (counts > 0)
        if faint.any():
            exact = replace(self, dtype="float64")._compiled(rows[faint], plan)
            out[torch.from_numpy(faint).to(device)] = exact.to(device, torch.float32)
        return out

    def _faint(self, points: Floats, plan: _Plan) -> npt.NDArray[np.bool_]:
        """Whether every point of weight lies off the grid, so that float32 would draw only the ends of tails."""
        squared = np.zeros(points.shape[:2])
        for axis, centre in ((plan.columns, points[..., 0]), (plan.rows, points[..., 1])):
            outside = np.maximum(np.maximum(axis.lower[0] - centre, centre - axis.upper[-1]), 0) / self.sigma
            squared += np.minimum(outside, 40.0) ** 2
        return np.asarray((points[..., 2] * np.exp(-squared / 2)).max(1) < 0.5)

    def _cells(self, centre: Tensor, axis: _Axis, device: torch.device) -> Tensor:
        """Mass of each point in each cell of an axis, ``(N, P, n)`` float32, without cancellation.

        Positions are split into cell and rest in float64 on the host. Narrow cells integrate the density by its
        midpoint series, wide ones subtract error functions in the tail where both are small.
        """
        place = (centre - float(axis.lower[0])) / axis.step
        cell = place.floor()
        rest, cell = (place - cell).to(device, torch.float32), cell.to(device, torch.float32)
        cells = torch.arange(axis.lower.size, device=device)
        low = (cells - cell[..., None] - rest[..., None]) * (axis.step / self.sigma)
        width = axis.width / self.sigma
        if width <= 0.5:
            z: Tensor = (low + width / 2).square()
            series = 1 + width**2 / 24 * (z - 1) + width**4 / 1920 * (z.square() - 6 * z + 3)
            density: Tensor = torch.exp(-z / 2) * (width / math.sqrt(2 * math.pi))
            return series * density
        high, flip = low + width, low > 0
        mass: Tensor = torch.special.ndtr(torch.where(flip, -low, high)) - torch.special.ndtr(
            torch.where(flip, -high, low)
        )
        return mass


@dataclass(frozen=True, repr=False)
class ScanPersistenceImage(PersistenceImage):
    """Persistence images of an image read as series: its rows end to end, then its columns end to end.

    Each colour plane is flattened row by row into one series, and transposed and flattened into another; both are
    treated as in :class:`PersistenceImage`. This is not a cubical complex of the image.

    Args:
        size: side n of each persistence image in pixels.
        sigma: standard deviation of the blur, in units of the pixels.
        birth: range of births shown, or ``"auto"``; the defaults are for pixels in [0, 1].
        persistence: range of persistences shown, or ``"auto"``.
        threshold: lifetimes up to this are dropped.
        normalize: as in :class:`PersistenceImage`, like the arguments that follow.
        grid: the released images use ``"legacy"``.
        backend: ``"fast"``, ``"ripser"`` or ``"persim"``.
        dtype: ``"float32"`` or ``"float64"``.
        floor: a colour plane whose pixels span less than this gives zero images; 0 takes every plane as it is.
        weight: as in :class:`PersistenceImage`.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, H, W)`` -> ``(2 C, n, n)``, ``(B, C, H, W)`` -> ``(B, 2 C, n, n)``: the rows of the C planes first.

    Raises:
        InputError: as :class:`PersistenceImage`.

    References:
        Jeon et al., "Leveraging Topological Guidance for Improved Knowledge Distillation", GRaM workshop at ICML 2024,
        arXiv:2407.05316. Reference code: jeunsom/TGD@242ad11, GenPI_Images.ipynb (50 pixels, sigma 0.01, range 0 to
        0.3, threshold 0.02).

    Differences from the reference code:
        The released images are multiplied by 255 and stored as 8-bit integers; these are not rounded.

    Example:
        >>> ScanPersistenceImage().shape(3, (32, 32))
        (6, 50, 50)
    """

    sample_ndim: ClassVar[int] = 3
    paper: ClassVar[tuple[str, ...]] = ("jeon2024leveraging",)

    size: int = 50
    sigma: float = 0.01
    birth: tuple[float, float] | Literal["auto"] = (0.0, 0.3)
    persistence: tuple[float, float] | Literal["auto"] = (0.0, 0.3)
    threshold: float = 0.02

    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        """``(2 channels, n, n)``, for every image size ``(H, W)``."""
        return (2 * self.selected(channels), self.size, self.size)

    def _read_as(self, x: Tensor) -> Tensor:
        """Rows, then columns, as series."""
        return torch.cat([x.flatten(2), x.transpose(2, 3).flatten(2)], dim=1)
