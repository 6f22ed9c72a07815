r"""The mathematics of distillation: pure, batched functions of one tap at a time, student first.

Every function takes one-dimensional and two-dimensional features alike, computes in at least float32 with autocast off
(half precision is promoted, float64 stays float64), returns a 0-dim tensor unless documented otherwise, sends no
gradient to a teacher, and is zero with a finite gradient where the student equals its teacher. Batches of one and
all-zero features give finite values and gradients. Nothing is resized without an argument for it: tensors that do not
fit raise :class:`~kdlab.types.InputError` with both shapes.

The functions of Gram matrices come in two layers, so that a caller who already holds the ``(B, B)`` matrices of a
teacher need not hold its features: :func:`similarity_preserving`, :func:`merged_similarity` and
:func:`orthogonal_similarity` take features, :func:`gram_distance`, :func:`merge_grams` and :func:`orthogonal_distance`
take what :func:`gram` returns.
"""

from kdlab.functional.angles import (
    angular_losses,
    angular_softmax,
    angular_softmax_weight,
    geodesic_contrastive,
    margin_maps,
)
from kdlab.functional.binary import (
    binary_cross_entropy,
    binary_losses,
    binary_soft_target_kl,
    labelled_rows,
)
from kdlab.functional.embeddings import (
    affinity_divergence,
    mean_embedding_discrepancy,
    relational_angle,
    relational_distance,
)
from kdlab.functional.grams import (
    gram,
    gram_distance,
    merge_grams,
    merged_similarity,
    orthogonal_distance,
    orthogonal_similarity,
    similarity_preserving,
)
from kdlab.functional.hints import (
    channel_weighted_distance,
    fit_maps,
    mean_square,
    noise_contrast,
    pooled_attention_map,
    variational_information,
)
from kdlab.functional.labels import (
    check_labels,
    class_losses,
    cross_entropy,
    label_divisor,
    label_losses,
    label_sum,
    label_total,
)
from kdlab.functional.logits import (
    inter_class_distance,
    intra_class_distance,
    other_classes_kl,
    soft_target_kl,
    standardise_logits,
    target_class_kl,
)
from kdlab.functional.maps import angular_margin, attention_map, attention_transfer
from kdlab.functional.noise import keyed_normal, keyed_uniform
from kdlab.functional.open_set import SCORES, auroc, known_score
from kdlab.functional.precision import (
    EPS,
    check_choice,
    check_same_batch,
    check_same_names,
    full_precision,
    promote,
    shape_of,
    unit,
)
from kdlab.functional.pyramid import hierarchical_context
from kdlab.functional.references import reference_cross_entropy
from kdlab.functional.semantics import (
    ablation_distance,
    ablation_map,
    check_embeddings,
    class_semantic_distance,
    semantic_weight,
)
from kdlab.functional.teachers import (
    confidence_weights,
    entropy_weights,
    least_norm_weights,
    logit_gradients,
    logit_regression,
)
from kdlab.functional.transformed import (
    contrastive_consistency,
    log_power_distance,
    moment_distance,
    transformed_teacher_kl,
)
from kdlab.functional.transport import class_costs, transport_cost

__all__ = [
    "EPS",
    "SCORES",
    "ablation_distance",
    "ablation_map",
    "affinity_divergence",
    "angular_losses",
    "angular_margin",
    "angular_softmax",
    "angular_softmax_weight",
    "attention_map",
    "attention_transfer",
    "auroc",
    "binary_cross_entropy",
    "binary_losses",
    "binary_soft_target_kl",
    "channel_weighted_distance",
    "check_choice",
    "check_embeddings",
    "check_labels",
    "check_same_batch",
    "check_same_names",
    "class_costs",
    "class_losses",
    "class_semantic_distance",
    "confidence_weights",
    "contrastive_consistency",
    "cross_entropy",
    "entropy_weights",
    "fit_maps",
    "full_precision",
    "geodesic_contrastive",
    "gram",
    "gram_distance",
    "hierarchical_context",
    "inter_class_distance",
    "intra_class_distance",
    "keyed_normal",
    "keyed_uniform",
    "known_score",
    "label_divisor",
    "label_losses",
    "label_sum",
    "label_total",
    "labelled_rows",
    "least_norm_weights",
    "log_power_distance",
    "logit_gradients",
    "logit_regression",
    "margin_maps",
    "mean_embedding_discrepancy",
    "mean_square",
    "merge_grams",
    "merged_similarity",
    "moment_distance",
    "noise_contrast",
    "orthogonal_distance",
    "orthogonal_similarity",
    "other_classes_kl",
    "pooled_attention_map",
    "promote",
    "reference_cross_entropy",
    "relational_angle",
    "relational_distance",
    "semantic_weight",
    "shape_of",
    "similarity_preserving",
    "soft_target_kl",
    "standardise_logits",
    "target_class_kl",
    "transformed_teacher_kl",
    "transport_cost",
    "unit",
    "variational_information",
]
