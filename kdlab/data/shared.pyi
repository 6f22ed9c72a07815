"""Arguments that all data modules share; `python -m kdlab.data.stubs` writes this file."""

from typing import Any, Literal, TypedDict
from typing import Unpack as Unpack

from kdlab.augment import Augmentation
from kdlab.data.cross_fit import CrossFit
from kdlab.data.mixing import Mixing
from kdlab.data.scaling import Scale
from kdlab.data.unlabelled import Unlabelled
from kdlab.data.view_cache import ViewCache
from kdlab.types import Name
from kdlab.views import View

class _Rest(TypedDict, total=False):
    views: dict[str, View | None] | None
    augment: Augmentation | None
    mix: Mixing | None
    corruption: Augmentation | None
    num_workers: int
    split: Literal["group", "random_windows"]
    val_subjects: list[Name] | None
    val_count: int | None
    val_choice: Literal["balanced", "random"]
    split_seed: int
    seed: int | None
    train_per_class: int | None
    unknown_classes: list[Name] | None
    subjects: dict[Any, Name] | None
    drop_classes: list[Name] | None
    subject_ids: Literal["plain", "hashed"]
    sampling: Literal["shuffled", "balanced"]
    unlabelled: Unlabelled | None
    cross_fit: CrossFit | None
    view_cache: ViewCache | None
    drop_last: bool
    pin_memory: bool
    multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None

class _Scale(TypedDict, total=False):
    scale: Literal["standard", "minmax", "none"] | Scale | dict[str, Scale]

class _BatchSize(TypedDict, total=False):
    batch_size: int

class _TestSubjects(TypedDict, total=False):
    test_subjects: list[Name] | None

class _ValFraction(TypedDict, total=False):
    val_fraction: float

class _Labels(TypedDict, total=False):
    labels: Literal["one", "many"] | dict[Any, Name] | None

class Shared(_Rest, _Scale, _BatchSize, _TestSubjects, _ValFraction, _Labels, total=False): ...
class SharedButBatchSize(_Rest, _Scale, _TestSubjects, _ValFraction, _Labels, total=False): ...
class SharedButLabels(_Rest, _Scale, _BatchSize, _TestSubjects, _ValFraction, total=False): ...
class SharedButScaleBatchSizeValFraction(_Rest, _TestSubjects, _Labels, total=False): ...
class SharedButScaleTestSubjects(_Rest, _BatchSize, _ValFraction, _Labels, total=False): ...
