"""The mathematics: against independent references, gradients, precision, degenerate inputs and refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab import functional as fn
from kdlab.types import InputError
from tests import references as ref

WEIGHTS = {"raw": 0.7, "pi": 0.3}
STUDENTS = {"1-D": (8, 2, 13), "2-D": (8, 2, 6, 5)}


def tensor(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(shape: tuple[int, ...], seed: int) -> Tensor:
    """A feature with a structured map: some positions carry much more energy."""
    return tensor(shape, seed) * torch.linspace(0.1, 2, shape[-1], dtype=torch.float64)


def two(teacher: Tensor) -> dict[str, Tensor]:
    """A second teacher of another rank, as an image teacher is to a signal student."""
    return {"raw": teacher, "pi": tensor((len(teacher), 2, 3, 4), 9) ** 2}


def numpy(value: Tensor | dict[str, Tensor]) -> np.ndarray | dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in value.items()} if isinstance(value, dict) else value.detach().numpy()


#: name -> (function of student and teacher, reference of the same)
ON_FEATURES: dict[str, tuple[Callable[..., Tensor], Callable[..., float]]] = {
    "attention": (fn.attention_transfer, ref.attention_transfer),
    "margin": (fn.angular_margin, ref.angular_margin),
    "margin global": (
        lambda s, t: fn.angular_margin(s, t, 1.5, 30.0, 0.0),
        lambda s, t: ref.angular_margin(s, t, 1.5, 30.0, 0.0),
    ),
    "margin local": (
        lambda s, t: fn.angular_margin(s, t, local_weight=1.0),
        lambda s, t: ref.angular_margin(s, t, local_weight=1.0),
    ),
    "similarity": (fn.similarity_preserving, ref.similarity_preserving),
    "merged": (
        lambda s, t: fn.merged_similarity(s, two(t), WEIGHTS),
        lambda s, t: ref.merged_similarity(s, numpy(two(torch.from_numpy(t))), WEIGHTS),
    ),
    "merged normalised": (
        lambda s, t: fn.merged_similarity(s, two(t), WEIGHTS, merge="normalised"),
        lambda s, t: ref.merged_similarity(s, numpy(two(torch.from_numpy(t))), WEIGHTS, "normalised"),
    ),
    "orthogonal rows": (
        lambda s, t: fn.orthogonal_similarity(s, two(t), WEIGHTS),
        lambda s, t: ref.orthogonal_similarity(s, numpy(two(torch.from_numpy(t))), WEIGHTS),
    ),
    "orthogonal square": (
        lambda s, t: fn.orthogonal_similarity(s, two(t), WEIGHTS, 2, "square"),
        lambda s, t: ref.orthogonal_similarity(s, numpy(two(torch.from_numpy(t))), WEIGHTS, 2, "square"),
    ),
    "orthogonal sp": (
        lambda s, t: fn.orthogonal_similarity(s, two(t), WEIGHTS, 4, "sp"),
        lambda s, t: ref.merged_similarity(s, numpy(two(torch.from_numpy(t))), WEIGHTS),
    ),
    "distance": (fn.relational_distance, ref.relational_distance),
    "angle": (fn.relational_angle, ref.relational_angle),
    "affinity": (fn.affinity_divergence, ref.affinity_divergence),
    "affinity of others": (
        lambda s, t: fn.affinity_divergence(s, t, self_pairs=False),
        lambda s, t: ref.affinity_divergence(s, t, self_pairs=False),
    ),
}
INDEX = torch.arange(8) % 5
MIXED = tensor((8, 5), 7).softmax(1)
#: name -> (function of the logits of student and teacher, reference of the same)
ON_LOGITS: dict[str, tuple[Callable[..., Tensor], Callable[..., float]]] = {
    "true class": (
        lambda s, t: fn.target_class_kl(s, t, INDEX, 3.0),
        lambda s, t: ref.decoupled(s, t, INDEX.numpy(), 3.0)[0],
    ),
    "true class mixed": (
        lambda s, t: fn.target_class_kl(s, t, MIXED),
        lambda s, t: ref.decoupled(s, t, MIXED.numpy())[0],
    ),
    "others": (
        lambda s, t: fn.other_classes_kl(s, t, INDEX, torch.tensor(3.0)),
        lambda s, t: ref.decoupled(s, t, INDEX.numpy(), 3.0)[1],
    ),
    "others mixed": (
        lambda s, t: fn.other_classes_kl(s, t, MIXED),
        lambda s, t: ref.decoupled(s, t, MIXED.numpy())[1],
    ),
    "inter": (fn.inter_class_distance, lambda s, t: ref.relations_of_classes(s, t)[0]),
    "intra": (
        lambda s, t: fn.intra_class_distance(s, t, torch.tensor(1.0)),
        lambda s, t: ref.relations_of_classes(s, t, 1.0)[1],
    ),
    "standardised": (
        lambda s, t: fn.soft_target_kl(fn.standardise_logits(s), fn.standardise_logits(t), 2.0),
        lambda s, t: ref.soft_target_kl(ref.standardised(s), ref.standardised(t), 2.0).mean(),
    ),
}
#: the same with what can be asked of one teacher: any batch size, zero on itself
ONE_TEACHER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "attention": fn.attention_transfer,
    "margin": fn.angular_margin,
    "margin local": lambda s, t: fn.angular_margin(s, t, local_weight=1.0),
    "similarity": fn.similarity_preserving,
    "merged": lambda s, t: fn.merged_similarity(s, {"raw": t}, {"raw": 1.0}),
    "merged normalised": lambda s, t: fn.merged_similarity(s, {"raw": t}, {"raw": 1.0}, "normalised"),
    "orthogonal rows": lambda s, t: fn.orthogonal_similarity(s, {"raw": t}, {"raw": 1.0}, patches=1),
    "orthogonal square": lambda s, t: fn.orthogonal_similarity(s, {"raw": t}, {"raw": 1.0}, 1, "square"),
    "orthogonal sp": lambda s, t: fn.orthogonal_similarity(s, {"raw": t}, {"raw": 1.0}, 1, "sp"),
    "distance": fn.relational_distance,
    "angle": fn.relational_angle,
    "affinity": fn.affinity_divergence,
    "affinity of others": lambda s, t: fn.affinity_divergence(s, t, self_pairs=False),
    "true class": lambda s, t: fn.target_class_kl(s.flatten(1), t.flatten(1), torch.zeros(len(s), dtype=torch.long)),
    "others": lambda s, t: fn.other_classes_kl(s.flatten(1), t.flatten(1), torch.zeros(len(s), dtype=torch.long)),
    "inter": lambda s, t: fn.inter_class_distance(s.flatten(1), t.flatten(1)),
    "intra": lambda s, t: fn.intra_class_distance(s.flatten(1), t.flatten(1)),
    "standardised": lambda s, t: fn.soft_target_kl(
        fn.standardise_logits(s.flatten(1)), fn.standardise_logits(t.flatten(1))
    ),
    "discrepancy": fn.mean_embedding_discrepancy,
    "logits": lambda s, t: fn.soft_target_kl(s.flatten(1), t.flatten(1)),
}


@pytest.mark.parametrize("ndim", STUDENTS)
@pytest.mark.parametrize("name", ON_FEATURES)
def test_equals_reference_and_gradcheck(name: str, ndim: str) -> None:
    function, reference = ON_FEATURES[name]
    shape = STUDENTS[ndim]
    student, teacher = positive(shape, 1).requires_grad_(), positive((8, 3, *shape[2:]), 2).flip(-1)
    value = function(student, teacher)
    expected = reference(numpy(student), numpy(teacher))
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert expected > 1e-4
    assert float(value.detach()) == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda s: function(s, teacher), (student,), atol=1e-6)
    assert float(function(student.detach().float(), teacher.float())) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_logits_equal_reference_and_gradcheck(name: str) -> None:
    function, reference = ON_LOGITS[name]
    student, teacher = (3 * tensor((8, 5), 1)).requires_grad_(), 4 * tensor((8, 5), 2)
    value, expected = function(student, teacher), reference(numpy(student), numpy(teacher))
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert expected > 1e-2
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda s: function(s, teacher), (student,), atol=1e-6)
    assert function(student.detach().float(), teacher.float()).item() == pytest.approx(expected, rel=2e-5)


def test_soft_targets_are_the_two_decoupled_parts() -> None:
    """KD = TCKD + (1 - p_y) NCKD, sample by sample, which is why the parts are weighed apart."""
    student, teacher = 3 * tensor((1, 5), 1), 4 * tensor((1, 5), 2)
    target, temperature = torch.tensor([2]), 3.0
    parts = [part(student, teacher, target, temperature) for part in (fn.target_class_kl, fn.other_classes_kl)]
    rest = 1 - (teacher / temperature).softmax(1)[0, 2]
    assert float(parts[0] + rest * parts[1]) == pytest.approx(float(fn.soft_target_kl(student, teacher, temperature)))


def test_decoupled_parts_of_a_certain_teacher_are_finite() -> None:
    student = torch.tensor([[60.0, -60.0, 0.0, 1.0]], requires_grad=True)
    for part in (fn.target_class_kl, fn.other_classes_kl):
        value = part(student, torch.tensor([[-1e4, 1e4, 0.0, 5.0]]), torch.tensor([1]), 1.0)
        value.backward()
        assert value.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_constants_count_as_equal() -> None:
    """Nothing but rounding varies: no direction is made of it, and no gradient of 1e7."""
    flat = torch.full((4, 6), 0.1).requires_grad_()
    teacher = tensor((4, 6), 1).float()
    assert fn.standardise_logits(flat.detach() * 7).abs().max() == 0
    assert float(fn.inter_class_distance(flat.detach(), flat.detach() * 3)) == 0
    value = fn.inter_class_distance(flat, teacher, 1.0)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.5)
    assert flat.grad is not None
    assert flat.grad.abs().max() < 1


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "none"])
def test_soft_targets(reduction: str) -> None:
    student, teacher = (3 * tensor((6, 5), 1)).requires_grad_(), 4 * tensor((6, 5), 2)
    per_sample = ref.soft_target_kl(numpy(student), numpy(teacher), 3.0)
    expected = {"none": per_sample, "batchmean": per_sample.mean(), "mean": per_sample.sum() / 30}[reduction]
    for temperature in (3.0, torch.tensor(3.0)):
        value = fn.soft_target_kl(student, teacher, temperature, reduction)
        np.testing.assert_allclose(numpy(value), expected, rtol=1e-10)
        assert value.dtype == torch.float64
    assert torch.autograd.gradcheck(lambda s: fn.soft_target_kl(s, teacher, 3.0, reduction), (student,))


def test_mean_is_k_times_smaller() -> None:
    student, teacher = tensor((6, 5), 1), tensor((6, 5), 2)
    assert float(fn.soft_target_kl(student, teacher)) == pytest.approx(
        5 * float(fn.soft_target_kl(student, teacher, reduction="mean"))
    )


def test_soft_targets_of_certain_logits_are_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = fn.soft_target_kl(student, torch.tensor([[-1e4, 0.0, 1e4]]), 1.0)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_cross_entropy_of_indices_and_probabilities() -> None:
    logits, index = tensor((6, 5), 1), torch.arange(6) % 5
    mixed = tensor((6, 5), 2).softmax(1)
    assert float(fn.cross_entropy(logits, index)) == pytest.approx(ref.cross_entropy(numpy(logits), numpy(index)))
    assert float(fn.cross_entropy(logits, mixed)) == pytest.approx(ref.cross_entropy(numpy(logits), numpy(mixed)))
    assert float(fn.cross_entropy(logits, index.int())) == float(fn.cross_entropy(logits, index))
    assert float(fn.cross_entropy(logits.bfloat16(), mixed.float())) > 0
    assert torch.autograd.gradcheck(lambda z: fn.cross_entropy(z, mixed), (logits.requires_grad_(),))
    with pytest.raises(InputError, match=r"\(6, 5\).*\(5,\)"):
        fn.cross_entropy(logits, index[:5])


def test_discrepancy() -> None:
    a, b = tensor((6, 5), 1).requires_grad_(), tensor((4, 5), 2).requires_grad_()
    expected = ref.mean_embedding_discrepancy(numpy(a), numpy(b))
    assert float(fn.mean_embedding_discrepancy(a, b)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(fn.mean_embedding_discrepancy, (a, b))


def test_attention_map() -> None:
    feature = tensor((3, 4, 2, 5), 1)
    for power in (1, 2, 3):
        expected = np.stack([ref.unit(ref.energy(sample, power)).ravel() for sample in numpy(feature)])
        np.testing.assert_allclose(numpy(fn.attention_map(feature, power)), expected, rtol=1e-12)
    assert fn.attention_map(torch.zeros(2, 3, 7)).abs().sum() == 0


@pytest.mark.parametrize("sizes", [((4, 3, 17), (4, 2, 12)), ((4, 3, 8, 5), (4, 2, 6, 7))])
def test_pooling_only_when_asked(sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    student, teacher = positive(sizes[0], 1), positive(sizes[1], 2)
    small = tuple(map(min, sizes[0][2:], sizes[1][2:]))
    fitted = ref.pool(numpy(student), small), ref.pool(numpy(teacher), small)
    energies = [np.sqrt(ref.pool((x**2).sum(1, keepdims=True), small)) for x in (numpy(student), numpy(teacher))]
    for function, expected in (
        (fn.attention_transfer, ref.attention_transfer(*fitted)),
        (fn.angular_margin, ref.angular_margin(*energies)),  # it pools energies
    ):
        assert float(function(student, teacher, resize="pool")) == pytest.approx(expected)
        with pytest.raises(InputError) as error:
            function(student, teacher)
        assert str(sizes[0]) in str(error.value)
        assert str(sizes[1]) in str(error.value)
    with pytest.raises(InputError, match="resize"):
        fn.attention_transfer(student, teacher, resize="stretch")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ONE_TEACHER)
@pytest.mark.parametrize("ndim", STUDENTS)
def test_equal_nets_give_zero_and_no_gradient_to_the_teacher(name: str, ndim: str) -> None:
    student = positive(STUDENTS[ndim], 1).float().requires_grad_()
    teacher = student.detach().clone().requires_grad_()
    value = ONE_TEACHER[name](student, teacher)
    assert abs(float(value)) < 1e-9
    value.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 1e-5
    if name != "discrepancy":
        assert teacher.grad is None


@pytest.mark.parametrize("merge", ["raw", "normalised"])
def test_several_equal_teachers_give_zero(merge: str) -> None:
    student = positive(STUDENTS["1-D"], 1)
    teachers = {"raw": student, "pi": student.clone()}
    assert float(fn.merged_similarity(student, teachers, {"raw": 0.9, "pi": 0.4}, merge)) < 1e-20
    for oth in ("rows", "square", "sp"):
        assert float(fn.orthogonal_similarity(student, teachers, WEIGHTS, 4, oth)) < 1e-20


@pytest.mark.parametrize("name", ONE_TEACHER)
@pytest.mark.parametrize("ndim", STUDENTS)
@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("case", ["bf16 autocast", "bf16", "fp16", "zero student", "zero teacher", "zeros", "constant"])
def test_finite_with_finite_gradient(name: str, ndim: str, batch: int, case: str) -> None:
    shape = (batch, *STUDENTS[ndim][1:])
    student, teacher = positive(shape, 1).float(), positive(shape, 2).float()
    if case in ("zero student", "zeros"):
        student = torch.zeros_like(student)
    if case in ("zero teacher", "zeros"):
        teacher = torch.zeros_like(teacher)
    if case == "constant":
        student, teacher = torch.ones_like(student), 300 * torch.ones_like(teacher)
    if case in ("bf16", "fp16"):
        dtype = torch.bfloat16 if case == "bf16" else torch.float16
        student, teacher = (50 * student).to(dtype), (50 * teacher).to(dtype)
    student.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "bf16 autocast"):
        value = ONE_TEACHER[name](student, teacher)
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert value.isfinite()
    value.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 1e4
    if case == "bf16 autocast":
        assert float(value) == float(ONE_TEACHER[name](student, teacher))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ONE_TEACHER)
def test_a_teacher_without_finite_numbers_is_no_finite_loss(name: str, value: float) -> None:
    student, teacher = tensor((8, 2, 13), 1), tensor((8, 2, 13), 2)
    teacher[3, 0, 2] = value
    assert not ONE_TEACHER[name](student, teacher).isfinite()


def test_what_varies_without_finite_numbers_is_not_constant() -> None:
    rows = torch.tensor([[1.0, 2.0, 3.0], [torch.nan, 1.0, 2.0], [torch.inf, 1.0, 2.0], [5.0, 5.0, 5.0]])
    assert fn.standardise_logits(rows).isnan().any(1).tolist() == [False, True, True, False]
    features = torch.tensor([[1.0, 0.0, 0.0], [0.0, torch.nan, 0.0], [2.0, 0.0, 0.0]])
    costs = fn.class_costs(features, torch.tensor([0, 1, 2]), 3)
    assert costs[0, 1].isnan()
    assert costs[0, 2] == 0


def test_one_dead_sample_among_others() -> None:
    teacher = positive((8, 3, 13), 2).float()
    for name, function in ONE_TEACHER.items():
        student = positive((8, 3, 13), 1).float()
        student[3] = 0
        student[5] = student[6]
        student.requires_grad_()
        function(student, teacher).backward()
        assert student.grad is not None, name
        assert student.grad.isfinite().all(), name
        assert student.grad.abs().max() < 1e4, name


def test_large_features_do_not_overflow() -> None:
    student, teacher = (5e3 * positive((8, 64, 32, 32), seed).half() for seed in (1, 2))
    assert fn.similarity_preserving(student, teacher).isfinite()
    assert fn.gram(student).isfinite().all()
    assert fn.gram(student).dtype == torch.float32


def test_argument_order() -> None:
    """The second argument is the teacher: it teaches and does not learn."""
    a, b = positive((8, 3, 13), 1).requires_grad_(), positive((8, 3, 13), 2)
    for name, function in ONE_TEACHER.items():
        assert function(a, b).requires_grad, name
        if name != "discrepancy":
            assert not function(b, a).requires_grad, name
    assert float(fn.soft_target_kl(a[..., 0], b[..., 0])) != float(fn.soft_target_kl(b[..., 0], a[..., 0].detach()))


def test_order_of_the_batch() -> None:
    student, teacher = positive((8, 3, 13), 1), positive((8, 3, 13), 2)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    for name, function in ONE_TEACHER.items():
        assert float(function(student[order], teacher[order])) == pytest.approx(float(function(student, teacher))), name
    teachers, mixed = {"raw": teacher}, {"raw": teacher[order]}
    value = float(fn.orthogonal_similarity(student, teachers, {"raw": 1.0}))
    assert float(fn.orthogonal_similarity(student[order], mixed, {"raw": 1.0})) != pytest.approx(value)


def test_gram_level_equals_feature_level() -> None:
    student, teachers = positive((8, 3, 13), 1), two(positive((8, 5, 7), 2))
    grams = {name: fn.gram(feature) for name, feature in teachers.items()}
    merged = fn.merge_grams(grams, WEIGHTS)
    own = fn.gram(student)
    assert fn.gram_distance(own, merged) == fn.merged_similarity(student, teachers, WEIGHTS)
    assert fn.orthogonal_distance(own, merged) == fn.orthogonal_similarity(student, teachers, WEIGHTS)
    np.testing.assert_allclose(numpy(own), ref.gram(numpy(student)), rtol=1e-12)
    np.testing.assert_allclose(numpy(merged), ref.merged(numpy(teachers), WEIGHTS), rtol=1e-12)


def test_single_row_patches_are_constant() -> None:
    student, teacher = positive((4, 3, 13), 1), positive((4, 3, 13), 2)
    assert float(fn.orthogonal_similarity(student, {"raw": teacher}, {"raw": 1.0}, patches=4)) < 1e-20


B8, B6 = torch.ones(8, 3, 12), torch.ones(6, 3, 12)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "kl shapes": (lambda: fn.soft_target_kl(torch.ones(4, 5), torch.ones(4, 6)), r"\(4, 5\).*\(4, 6\)"),
    "kl temperature": (lambda: fn.soft_target_kl(torch.ones(4, 5), torch.ones(4, 5), 0.0), "temperature.*0.0"),
    "kl reduction": (lambda: fn.soft_target_kl(torch.ones(4, 5), torch.ones(4, 5), 4.0, "sum"), "reduction.*'sum'"),
    "attention ranks": (lambda: fn.attention_transfer(B8, torch.ones(8, 3, 4, 3)), r"\(8, 3, 12\).*\(8, 3, 4, 3\)"),
    "attention pooled ranks": (
        lambda: fn.attention_transfer(B8, torch.ones(8, 3, 4, 3), resize="pool"),
        r"\(8, 3, 12\).*\(8, 3, 4, 3\)",
    ),
    "attention batch": (lambda: fn.attention_transfer(B8, B6), r"\(8, 3, 12\).*\(6, 3, 12\)"),
    "attention embedding": (lambda: fn.attention_transfer(torch.ones(8, 4), torch.ones(8, 4)), r"\(8, 4\)"),
    "attention one position": (
        lambda: fn.attention_transfer(torch.ones(8, 4, 1), torch.ones(8, 5, 1)),
        r"\(8, 4, 1\).*\(8, 5, 1\)",
    ),
    "map embedding": (lambda: fn.attention_map(torch.ones(8, 4)), r"\(8, 4\)"),
    "map power": (lambda: fn.attention_map(B8, 0.5), "power.*0.5"),
    "margin small": (lambda: fn.angular_margin(B8[..., :3], B8[..., :3]), r"\(8, 3, 3\).*local_weight=0"),
    "margin local": (lambda: fn.angular_margin(B8, B8, local_weight=1.5), "local_weight.*1.5"),
    "margin scale": (lambda: fn.angular_margin(B8, B8, scale=0.0), "scale"),
    "similarity batch": (lambda: fn.similarity_preserving(B8, B6), r"\(8, 3, 12\).*\(6, 3, 12\)"),
    "merged batch": (lambda: fn.merged_similarity(B8, {"pi": B6}, {"pi": 1.0}), r"\(8, 3, 12\).*'pi'.*\(6, 3, 12\)"),
    "merged names": (lambda: fn.merged_similarity(B8, {"pi": B8}, {"raw": 1.0}), r"\['pi'\].*\['raw'\]"),
    "merged none": (lambda: fn.merged_similarity(B8, {}, {}), r"\[\]"),
    "merged merge": (lambda: fn.merged_similarity(B8, {"pi": B8}, {"pi": 1.0}, "mean"), "merge.*'mean'"),
    "grams": (lambda: fn.gram_distance(torch.ones(3, 3), torch.ones(4, 4)), r"\(3, 3\).*\(4, 4\)"),
    "gram": (lambda: fn.gram(torch.ones(3)), r"\(3,\)"),
    "patches": (lambda: fn.orthogonal_similarity(B6, {"pi": B6}, {"pi": 1.0}), r"patches=4.*\(6, 6\)"),
    "no patches": (lambda: fn.orthogonal_similarity(B6, {"pi": B6}, {"pi": 1.0}, 0), "patches=0"),
    "oth": (lambda: fn.orthogonal_similarity(B8, {"pi": B8}, {"pi": 1.0}, 4, "columns"), "oth.*'columns'"),
    "distance batch": (lambda: fn.relational_distance(B8, B6), r"\(8, 3, 12\).*\(6, 3, 12\)"),
    "angle batch": (lambda: fn.relational_angle(B8, B6), r"\(8, 3, 12\).*\(6, 3, 12\)"),
    "affinity batch": (lambda: fn.affinity_divergence(B8, B6), r"\(8, 3, 12\).*\(6, 3, 12\)"),
    "two classes": (
        lambda: fn.target_class_kl(torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4, dtype=torch.long)),
        r"three classes.*\(4, 2\)",
    ),
    "decoupled target": (
        lambda: fn.other_classes_kl(torch.ones(4, 3), torch.ones(4, 3), torch.zeros(3, dtype=torch.long)),
        r"\(4, 3\).*\(3,\)",
    ),
    "relations shapes": (lambda: fn.inter_class_distance(torch.ones(4, 5), torch.ones(4, 6)), r"\(4, 5\).*\(4, 6\)"),
    "relations temperature": (lambda: fn.intra_class_distance(torch.ones(4, 5), torch.ones(4, 5), -1.0), "-1.0"),
    "standardised": (lambda: fn.standardise_logits(torch.ones(4, 1)), r"two classes.*\(4, 1\)"),
    "discrepancy": (lambda: fn.mean_embedding_discrepancy(B8, B8[..., :4]), r"\(8, 3, 12\).*\(8, 3, 4\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_what_came(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()
