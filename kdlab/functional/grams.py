"""Functions of Gram matrices: what a net finds alike within a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from kdlab.functional.precision import check_choice, check_same_batch, check_same_names, full_precision, shape_of, unit
from kdlab.types import InputError


@full_precision
def gram(feature: Tensor) -> Tensor:
    """Inner products of all pairs of samples of a batch, not normalised.

    Args:
        feature: ``(B, ...)``, flattened to ``A`` of ``(B, D)``.

    Shapes:
        ``(B, ...) -> (B, B)``, ``G = A A^T``. Only the batch matters, so 1-D and 2-D networks can be compared.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        tensor([[5., 3.],
                [3., 9.]])
    """
    if feature.ndim < 2:
        raise InputError(f"A Gram matrix needs a feature (B, ...), but got {shape_of(feature)}.")
    rows = feature.flatten(1)
    return rows @ rows.T


@full_precision
def gram_distance(student_gram: Tensor, teacher_gram: Tensor) -> Tensor:
    r"""Mean squared difference of two row-normalised Gram matrices ``(B, B)``; see :func:`similarity_preserving`.

    Example:
        >>> print(f"{gram_distance(torch.eye(2), torch.ones(2, 2)):.4f}")
        0.2929
    """
    _same_grams(student_gram, teacher_gram)
    return (unit(student_gram) - unit(teacher_gram.detach())).square().mean()


def _same_grams(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise InputError(
            f"Gram matrices must both be (B, B) of the same batch, but the student has {shape_of(student)} "
            f"and the teacher {shape_of(teacher)}."
        )


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of what student and teacher find alike within a batch.

    .. math:: \frac{1}{B^2} \lVert N(G_s) - N(G_t) \rVert_F^2, \qquad G = A A^\top

    where ``N`` divides every row by its L2 norm.

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other shape; detached.

    Raises:
        InputError: if the batches differ.

    References:
        F. Tung, G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00145.
        Code: HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Computed in at least float32, since sums over many positions overflow half precision. A row of zeros (a dead
        sample) has a bounded gradient (there it is divided by 1e-12).

    Example:
        >>> student, teacher = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> print(f"{similarity_preserving(student, teacher):.4f}")
        0.2929
    """
    check_same_batch(student, teacher)
    return gram_distance(gram(student), gram(teacher.detach()))


@full_precision
def merge_grams(
    grams: Mapping[str, Tensor],
    weights: Mapping[str, float],
    merge: Literal["raw", "normalised"] = "raw",
) -> Tensor:
    """Weighted sum of the teachers' Gram matrices ``(B, B)``, row-normalised; detached. See :func:`merged_similarity`.

    Example:
        >>> merge_grams({"raw": torch.eye(2) * 3, "pi": torch.ones(2, 2)}, {"raw": 0.5, "pi": 0.5})
        tensor([[0.9701, 0.2425],
                [0.2425, 0.9701]])
    """
    check_choice("merge", merge, ("raw", "normalised"))
    check_same_names(grams, weights)
    terms = [weights[name] * (matrix if merge == "raw" else unit(matrix)).detach() for name, matrix in grams.items()]
    for term in terms:
        _same_grams(terms[0], term)
    return unit(sum(terms[1:], start=terms[0]))


def _teacher_grams(student: Tensor, teachers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, teacher in teachers.items():
        check_same_batch(student, teacher, f"teacher {name!r}")
    return {name: gram(teacher.detach()) for name, teacher in teachers.items()}


@full_precision
def merged_similarity(
    student: Tensor,
    teachers: Mapping[str, Tensor],
    weights: Mapping[str, float],
    merge: Literal["raw", "normalised"] = "raw",
) -> Tensor:
    r"""Similarity-preserving distance to the weighted sum of several teachers' Gram matrices (TGD).

    .. math:: \frac{1}{B^2} \Big\lVert N(G_s) - N\big(\textstyle\sum_m w_m G_m\big) \Big\rVert_F^2

    Args:
        student: ``(B, ...)``.
        teachers: teacher name -> ``(B, ...)``, each of any shape; detached.
        weights: teacher name -> ``w_m``. Only their ratios matter.
        merge: ``"raw"`` merges the Gram matrices as they are, so the nominal weights are not the real shares: a Gram
            matrix grows with the positions and the power of its feature. ``"normalised"`` normalises the rows of each
            first (and of the sum, so that equal nets still give zero).

    Raises:
        InputError: if the batches differ or ``weights`` does not name the teachers.

    Note:
        With several different teachers no student reaches zero in general; it is zero when all of them equal it.

    References:
        E. S. Jeon, R. Khurana, A. Pathak, P. Turaga, "Leveraging topological guidance for improved knowledge
        distillation", ICML 2024 Workshop on Geometry-grounded Representation Learning and Generative Modeling,
        arXiv:2407.05316. Code: jeunsom/TGD@242ad11.

    Differences from the reference code:
        None in the equation; ``merge="normalised"`` is ours.

    Example:
        >>> raw, pi = torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.ones(2, 4)
        >>> print(f"{merged_similarity(torch.eye(2), {'raw': raw, 'pi': pi}, {'raw': 0.9, 'pi': 0.1}):.4f}")
        0.0011
    """
    return gram_distance(gram(student), merge_grams(_teacher_grams(student, teachers), weights, merge))


@full_precision
def orthogonal_distance(
    student_gram: Tensor,
    merged: Tensor,
    patches: int = 4,
    oth: Literal["rows", "sp", "square"] = "rows",
) -> Tensor:
    """Difference of the orthogonal features of two ``(B, B)`` similarity maps; see :func:`orthogonal_similarity`.

    Args:
        student_gram: the student's Gram matrix.
        merged: the teachers' merged and row-normalised one, as :func:`merge_grams` returns it; detached.
        patches: ``k``, which must divide ``B``.
        oth: ``"rows"``, ``"sp"`` or ``"square"``.

    Example:
        >>> print(f"{orthogonal_distance(torch.eye(4), torch.ones(4, 4), patches=2):.4f}")
        0.5000
    """
    check_choice("oth", oth, ("rows", "sp", "square"))
    _same_grams(student_gram, merged)
    if oth == "sp":
        return gram_distance(student_gram, merged)
    if patches < 1 or len(student_gram) % patches:
        raise InputError(
            f"patches must divide the batch, but patches={patches} and the similarity maps are "
            f"{shape_of(student_gram)} and {shape_of(merged)}. Choose a batch size that is a multiple of patches and "
            "drop the last, smaller batch."
        )
    student, teacher = unit(student_gram), unit(merged.detach())
    return (_orthogonal(student, patches, oth) - _orthogonal(teacher, patches, oth)).square().mean()


def _orthogonal(similarity: Tensor, patches: int, oth: str) -> Tensor:
    """``P P^T - I`` of every patch: ``(B, B) -> (n, B/k, B/k)`` with ``n`` = ``k`` (rows) or ``k^2`` (square)."""
    size = len(similarity) // patches
    stack = similarity.reshape(patches, size, len(similarity))
    if oth == "square":
        stack = stack.reshape(patches, size, patches, size).transpose(1, 2).flatten(0, 1)
    stack = unit(stack)
    return stack @ stack.mT - torch.eye(size, dtype=stack.dtype, device=stack.device)


@full_precision
def orthogonal_similarity(
    student: Tensor,
    teachers: Mapping[str, Tensor],
    weights: Mapping[str, float],
    patches: int = 4,
    oth: Literal["rows", "sp", "square"] = "rows",
) -> Tensor:
    r"""Distance of the orthogonal features of the student's and the merged teachers' similarity maps (TPKD).

    With ``M_T = N(sum_m w_m G_m)`` and ``M_S = N(G_s)``, each cut into ``k`` patches ``P_i`` of ``B/k`` rows,

    .. math:: \frac1k \sum_{i=1}^k \Big(\frac kB\Big)^2 \lVert O^T_i - O^S_i \rVert_F^2, \qquad
        O_i = \hat P_i \hat P_i^\top - I

    where the hat normalises rows. This is an interpretation: the paper gives the order of the steps (merge, split into
    patches, normalise, subtract the identity, compare), and no code of it is public; the shape of the patches, the
    places of the normalisation and the constant are ours, so the weight of this term is to be tuned on validation.

    Args:
        student: ``(B, ...)``.
        teachers: teacher name -> ``(B, ...)``, each of any shape; detached.
        weights: teacher name -> ``w_m``. Only their ratios matter.
        patches: ``k``, which must divide ``B``. With ``k = B`` the features are constant and the loss is zero.
        oth: ``"rows"`` as above; ``"square"`` cuts ``k x k`` patches of side ``B/k``; ``"sp"`` compares the maps
            themselves without patches, which is :func:`merged_similarity`.

    Raises:
        InputError: if ``patches`` does not divide the batch, the batches differ or ``weights`` does not name the
            teachers.

    Note:
        Patches are made of consecutive rows, so the value depends on the order of the batch. It is zero when all
        teachers equal the student, and not in general.

    References:
        E. S. Jeon, H. Choi, A. Shukla, Y. Wang, H. Lee, M. P. Buman, P. Turaga, "Topological persistence guided
        knowledge distillation for wearable sensor data", Engineering Applications of Artificial Intelligence 130,
        2024, 10.1016/j.engappai.2023.107719.

    Differences from the reference code:
        There is none to compare with.

    Example:
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
        >>> teacher = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
        >>> print(f"{orthogonal_similarity(student, {'raw': teacher}, {'raw': 1.0}, patches=2):.4f}")
        0.3625
    """
    merged = merge_grams(_teacher_grams(student, teachers), weights)
    return orthogonal_distance(gram(student), merged, patches, oth)
