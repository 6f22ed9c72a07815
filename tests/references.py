"""The equations once more, independently: float64, NumPy, sample by sample, in loops, straight from the formulas."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softmax(z: Array) -> Array:
    e = [math.exp(v - max(z)) for v in z]
    return np.array([v / sum(e) for v in e])


def soft_target_kl(student: Array, teacher: Array, temperature: float = 4.0) -> Array:
    """One value per sample."""
    values = []
    for zs, zt in zip(student, teacher, strict=True):
        ps, pt = softmax(zs / temperature), softmax(zt / temperature)
        values.append(temperature**2 * sum(t * (math.log(t) - math.log(s)) for s, t in zip(ps, pt, strict=True)))
    return np.array(values)


def cross_entropy(logits: Array, target: Array) -> float:
    total = 0.0
    for z, y in zip(logits, target, strict=True):
        p = softmax(z)
        onehot = y if np.ndim(y) else np.eye(len(z))[int(y)]
        total -= sum(onehot[k] * math.log(p[k]) for k in range(len(z)))
    return total / len(logits)


def energy(sample: Array, power: float = 2) -> Array:
    """(C, *S) -> (*S)."""
    out = np.zeros(sample.shape[1:])
    for channel in sample:
        out += np.abs(channel) ** power
    return out


def unit(v: Array) -> Array:
    """A copy with unit L2 norm (zero stays zero)."""
    norm = math.sqrt(sum(float(x) ** 2 for x in v.ravel()))
    return v / norm if norm > 0 else v * 0.0


def attention_transfer(student: Array, teacher: Array) -> float:
    total, count = 0.0, 0
    for s, t in zip(student, teacher, strict=True):
        a, b = unit(energy(s)).ravel(), unit(energy(t)).ravel()
        total += sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        count += len(a)
    return total / count


def pool(feature: Array, size: tuple[int, ...]) -> Array:
    """Adaptive average pooling, (B, C, *S) -> (B, C, *size)."""
    out = np.zeros((*feature.shape[:2], *size))
    for index in np.ndindex(*size):
        cut = tuple(
            slice(i * n // m, -(-(i + 1) * n // m)) for i, m, n in zip(index, size, feature.shape[2:], strict=True)
        )
        out[(..., *index)] = feature[(..., *cut)].mean(axis=tuple(range(2, feature.ndim)))
    return out


def angular_maps(sample: Array, margin: float, scale: float) -> tuple[Array, Array, Array]:
    f = energy(sample)
    q = f / (math.sqrt((f**2).sum()) + 1e-6)
    g, u, v = np.zeros_like(q), np.zeros_like(q), np.zeros_like(q)
    for p in np.ndindex(*q.shape):
        theta = math.acos(min(max(q[p], -1 + 1e-7), 1 - 1e-7))
        u[p], v[p] = scale * math.cos(margin * theta), scale * (1 - q[p])
        g[p] = -math.log1p(math.exp(v[p] - u[p]))  # u - log(e^u + e^v) without cancellation
    return g, u, v


def angular_margin(
    student: Array, teacher: Array, margin: float = 1.35, scale: float = 64.0, local_weight: float = 0.2
) -> float:
    shape = student.shape[2:]
    if len(shape) == 1:
        n = shape[0]
        cuts = [0, math.floor(n / 4), math.floor(n / 2), math.floor(3 * n / 4), n]
        regions = [(slice(cuts[r], cuts[r + 1]),) for r in range(4)]
    else:
        h, w = shape[0] // 2, shape[1] // 2
        regions = [(rows, cols) for rows in (slice(0, h), slice(h, None)) for cols in (slice(0, w), slice(w, None))]

    def branch(cut: tuple[slice, ...]) -> float:
        totals, count = [0.0, 0.0, 0.0], 0
        for s, t in zip(student, teacher, strict=True):
            for k, (a, b) in enumerate(
                zip(angular_maps(s, margin, scale), angular_maps(t, margin, scale), strict=True)
            ):
                totals[k] += float(((unit(a[cut]) - unit(b[cut])) ** 2).sum())
            count += int(np.prod(s[0][cut].shape))
        return sum(total / count for total in totals) / 3

    whole = branch(tuple(slice(None) for _ in shape))
    return (1 - local_weight) * whole + local_weight * sum(branch(cut) for cut in regions) / 4


def gram(feature: Array) -> Array:
    b = len(feature)
    return np.array([[float((feature[i] * feature[j]).sum()) for j in range(b)] for i in range(b)])


def rows(matrix: Array) -> Array:
    return np.array([unit(row) for row in matrix])


def similarity_preserving(student: Array, teacher: Array) -> float:
    a, b = rows(gram(student)), rows(gram(teacher))
    return sum(float((a[i, j] - b[i, j]) ** 2) for i in range(len(a)) for j in range(len(a))) / len(a) ** 2


def merged(teachers: dict[str, Array], weights: dict[str, float], merge: str = "raw") -> Array:
    total = 0.0
    for name, feature in teachers.items():
        g = gram(feature)
        total = total + weights[name] * (g if merge == "raw" else rows(g))
    return rows(total)


def merged_similarity(
    student: Array, teachers: dict[str, Array], weights: dict[str, float], merge: str = "raw"
) -> float:
    a, b = rows(gram(student)), merged(teachers, weights, merge)
    return float(((a - b) ** 2).sum()) / len(a) ** 2


def orthogonal_similarity(
    student: Array, teachers: dict[str, Array], weights: dict[str, float], patches: int = 4, oth: str = "rows"
) -> float:
    a, b = rows(gram(student)), merged(teachers, weights)
    side, total, count = len(a) // patches, 0.0, 0
    for i in range(patches):
        for j in range(patches if oth == "square" else 1):
            columns = slice(j * side, (j + 1) * side) if oth == "square" else slice(None)
            o = []
            for m in (a, b):
                p = rows(m[i * side : (i + 1) * side, columns])
                o.append(p @ p.T - np.eye(side))
            total += float(((o[1] - o[0]) ** 2).sum()) / side**2
            count += 1
    return total / count


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def relational_distance(student: Array, teacher: Array) -> float:
    b, scaled = len(student), []
    for f in (student, teacher):
        d = np.array([[math.sqrt(float(((f[i] - f[j]) ** 2).sum())) for j in range(b)] for i in range(b)])
        scaled.append(d / np.mean([x for x in d.ravel() if x > 0]))
    return sum(huber(scaled[0][i, j] - scaled[1][i, j]) for i in range(b) for j in range(b)) / b**2


def relational_angle(student: Array, teacher: Array) -> float:
    b, total = len(student), 0.0
    for i in range(b):
        for j in range(b):
            for k in range(b):
                cosines = [float((unit(f[j] - f[i]) * unit(f[k] - f[i])).sum()) for f in (student, teacher)]
                total += huber(cosines[0] - cosines[1])
    return total / b**3


def mean_embedding_discrepancy(a: Array, b: Array) -> float:
    return float(((sum(a) / len(a) - sum(b) / len(b)) ** 2).sum())


def standardised(logits: Array) -> Array:
    """Mean 0, standard deviation 1 with K - 1 below the root, and 1e-7 added to it."""
    rows_ = []
    for z in logits:
        mean = sum(z) / len(z)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in z) / (len(z) - 1))
        rows_.append([(v - mean) / (deviation + 1e-7) for v in z])
    return np.array(rows_)


def kl(p: Array, q: Array) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def decoupled(student: Array, teacher: Array, target: Array, temperature: float = 4.0) -> tuple[float, float]:
    """(TCKD, NCKD); a row of probabilities as target stands for each class as often as it is probable."""
    true_class, others = 0.0, 0.0
    for zs, zt, y in zip(student, teacher, target, strict=True):
        ps, pt = softmax(zs / temperature), softmax(zt / temperature)
        for k, share in enumerate(y if np.ndim(y) else np.eye(len(zs))[int(y)]):
            true_class += share * kl(np.array([pt[k], 1 - pt[k]]), np.array([ps[k], 1 - ps[k]]))
            rest = [j for j in range(len(zs)) if j != k]
            others += share * kl(pt[rest] / sum(pt[rest]), ps[rest] / sum(ps[rest]))
    return temperature**2 * true_class / len(student), temperature**2 * others / len(student)


def pearson(a: Array, b: Array) -> float:
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return covariance / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def relations_of_classes(student: Array, teacher: Array, temperature: float = 4.0) -> tuple[float, float]:
    """(inter, intra)."""
    ps, pt = (np.array([softmax(z / temperature) for z in logits]) for logits in (student, teacher))
    inter = sum(1 - pearson(a, b) for a, b in zip(ps, pt, strict=True)) / len(ps)
    intra = sum(1 - pearson(a, b) for a, b in zip(ps.T, pt.T, strict=True)) / ps.shape[1]
    return temperature**2 * inter, temperature**2 * intra


def affinity_divergence(student: Array, teacher: Array, self_pairs: bool = True) -> float:
    b, q = len(student), []
    for f in (student, teacher):
        units = [unit(x).ravel() for x in f]
        a = np.array([[(1 + float(units[i] @ units[j])) / 2 for j in range(b)] for i in range(b)])
        if not self_pairs:
            a[np.arange(b), np.arange(b)] = 0
        q.append(np.array([row / sum(row) for row in a]))
    total = 0.0
    for i in range(b):
        for j in range(b):
            total += q[1][i, j] * math.log((q[1][i, j] + 1e-7) / (q[0][i, j] + 1e-7))
    return total / b**2
