"""Optimal transport between class probabilities, and what it costs to move from one class to another."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlab.functional.precision import full_precision, shape_of
from kdlab.types import InputError


@full_precision
def transport_cost(
    student: Tensor, teacher: Tensor, costs: Tensor, regularisation: float = 0.05, iterations: int = 10
) -> Tensor:
    r"""Cost of the transport of the student's class probabilities to the teacher's, by Sinkhorn's iterations.

    .. math:: \sum_{kl} u_k e^{-c_{kl} / \eta} v_l\, c_{kl}, \qquad v = \frac{q}{K^\top u + \epsilon}, \quad
        u = \frac{p}{K v + \epsilon}, \quad K = e^{-c / \eta}, \quad \epsilon = 10^{-8}

    from a uniform ``u`` over the classes in which the student has mass; with gradients through all iterations.

    Args:
        student: ``p (R, K)``, rows of sum 1, 0 in classes that are left out of both.
        teacher: ``q (R, K)``; detached.
        costs: ``c (K, K)``, at least 0; detached.
        regularisation: ``eta``, above 0; below a twentieth of the highest cost much of the cost is lost in ``epsilon``.
        iterations: at least 1.

    Shapes:
        ``-> (R,)``.

    Raises:
        InputError: with the shapes, unless they fit.

    References:
        M. Cuturi, "Sinkhorn distances: Lightspeed computation of optimal transport", NIPS 2013, arXiv:1306.0895.
        J. Lv, H. Yang, P. Li, "Wasserstein distance rivals Kullback-Leibler divergence for knowledge distillation",
        NeurIPS 2024, arXiv:2412.08139. Code: JiamingLv/WKD@214cf88.

    Example:
        >>> p, q = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.5, 0.5]])
        >>> print(f"{transport_cost(p, q, 0.4 * (1 - torch.eye(2))).item():.4f}")
        0.1195
    """
    return transported(student, teacher.detach(), costs, regularisation, iterations)


@full_precision
def transported(student: Tensor, teacher: Tensor, costs: Tensor, regularisation: float, iterations: int) -> Tensor:
    """:func:`transport_cost` with gradients to both probabilities: a learnt temperature is in those of the teacher too.

    Arguments, shapes and errors as there.
    """
    if student.shape != teacher.shape or student.ndim != 2 or costs.shape != (student.shape[1],) * 2:
        raise InputError(
            f"Probabilities must be (R, K) and costs (K, K), but the student has {shape_of(student)}, the teacher "
            f"{shape_of(teacher)} and the costs {shape_of(costs)}."
        )
    costs = costs.detach().to(student.dtype)
    kernel = (-costs / regularisation).exp()
    held = (student > 0).to(student.dtype)
    u = held / held.sum(1, keepdim=True)
    for _ in range(iterations):
        v = teacher / (u @ kernel + 1e-8)
        u = student / (v @ kernel.T + 1e-8)
    return ((u @ (kernel * costs)) * v).sum(1)


@full_precision
def class_costs(features: Tensor, labels: Tensor, classes: int, sharpness: float = 1.0) -> Tensor:
    r"""Costs between classes from the features of their windows: small where a net sees them alike.

    .. math:: c_{kl} = 1 - e^{-s (1 - \mathrm{CKA}_{kl})}, \qquad
        \mathrm{CKA}_{kl} = \frac{\langle A_k, A_l \rangle}{\lVert A_k \rVert \lVert A_l \rVert}, \quad
        A_k = H X_k X_k^\top H

    with the ``D x n`` features ``X_k`` of the ``n`` windows of a class, and ``H``, which subtracts the mean over the
    ``D`` units. The number of windows may differ between classes.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` int64; windows with -1 are left out.
        classes: ``K``.
        sharpness: ``s``, above 0.

    Shapes:
        ``-> (K, K)``; between a class without windows, or whose features are constant, and another the cost is the
        most, that of a CKA of 0.

    Raises:
        InputError: with the shapes, unless they fit.

    References:
        As :func:`transport_cost`; the kernel is linear.

    Example:
        >>> features = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
        >>> [round(cost, 4) for cost in class_costs(features, torch.tensor([0, 1, 2]), 3)[0].tolist()]
        [0.0, 0.5276, 0.0]
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise InputError(
            f"Features must be (N, D) and labels (N,), but got {shape_of(features)} and {shape_of(labels)}."
        )
    centred = features.detach() - features.detach().mean(1, keepdim=True)
    groups = [centred[labels == k] for k in range(classes)]
    products = torch.stack([torch.stack([(a @ b.T).square().sum() for b in groups]) for a in groups])
    norms = products.diagonal().sqrt()
    scale = norms[:, None] * norms
    alignment = torch.where(scale == 0, 0.0, products / torch.where(scale == 0, 1.0, scale))
    alignment = torch.where(torch.eye(classes, dtype=torch.bool, device=scale.device), 1.0, alignment)
    return 1 - (-sharpness * (1 - alignment)).exp()
