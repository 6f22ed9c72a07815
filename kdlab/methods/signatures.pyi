"""Signatures of the methods that objectives make; `python -m kdlab.methods.stubs` writes this file."""

from typing import Literal

from lightning.pytorch.cli import OptimizerCallable

from kdlab.cache import TeacherCache
from kdlab.methods.a_softmax import ASoftmax as _ASoftmax
from kdlab.methods.aekd import AEKD as _AEKD
from kdlab.methods.afd import AFD as _AFD
from kdlab.methods.afds import AFDS as _AFDS
from kdlab.methods.amc import AMC as _AMC
from kdlab.methods.amd import AMD as _AMD
from kdlab.methods.annealing_kd import AnnealingKD as _AnnealingKD
from kdlab.methods.at import AT as _AT
from kdlab.methods.aver import AVER as _AVER
from kdlab.methods.ca_mkd import CAMKD as _CAMKD
from kdlab.methods.crd import CRD as _CRD
from kdlab.methods.cs_kd import CSKD as _CSKD
from kdlab.methods.dask import DASK as _DASK
from kdlab.methods.ddgsd import DDGSD as _DDGSD
from kdlab.methods.dist import DIST as _DIST
from kdlab.methods.dkd import DKD as _DKD
from kdlab.methods.ebkd import EBKD as _EBKD
from kdlab.methods.eskd import ESKD as _ESKD
from kdlab.methods.fitnet import FitNet as _FitNet
from kdlab.methods.full_kd import FullKD as _FullKD
from kdlab.methods.kd import KD as _KD
from kdlab.methods.logit_standardisation import LogitStandardisation as _LogitStandardisation
from kdlab.methods.nkd import NKD as _NKD
from kdlab.methods.pkt import PKT as _PKT
from kdlab.methods.plans import Interval
from kdlab.methods.ps_kd import PSKD as _PSKD
from kdlab.methods.rkd import RKD as _RKD
from kdlab.methods.sakdn import SAKDN as _SAKDN
from kdlab.methods.sakdn_teacher import SAKDNTeacher as _SAKDNTeacher
from kdlab.methods.schedules import ScheduleCallable
from kdlab.methods.simkd import SimKD as _SimKD
from kdlab.methods.sp import SP as _SP
from kdlab.methods.teacher import Teacher
from kdlab.methods.tf_kd import TFKDSelf as _TFKDSelf
from kdlab.methods.tf_kd import TFKDVirtual as _TFKDVirtual
from kdlab.methods.tgd import TGD as _TGD
from kdlab.methods.topological_kd import TopologicalKD as _TopologicalKD
from kdlab.methods.tpkd import TPKD as _TPKD
from kdlab.methods.vid import VID as _VID
from kdlab.nets.base import Backbone, MemoryFormat

class AEKD(_AEKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        max_weight: float = 0.6,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AFD(_AFD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        attention_weight: float = 200.0,
        ce_weight: float = 1.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        width: int = 128,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AFDS(_AFDS):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        channel_weight: float = 500.0,
        ratio: float = 1.0,
        resize: Literal["pool"] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AMC(_AMC):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        geodesic_weight: float = 10.0,
        margin: float = 0.5,
        ramp_up: int = 50,
        ramp_down: int = 0,
        epochs: int | None = None,
        pairs: Literal["labels", "predictions"] = "labels",
        tap: str = "embedding",
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AMD(_AMD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        margin_weight: float = 5000.0,
        margin: float = 1.35,
        scale: float = 64.0,
        local_weight: float = 0.2,
        map_teacher: str | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        resize: Literal["pool"] | None = None,
        ce_weight: float | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class ASoftmax(_ASoftmax):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        margin: int = 4,
        start: float = 1500.0,
        slope: float = 0.1,
        least: float = 5.0,
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AT(_AT):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        attention_weight: float = 3000.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        resize: Literal["pool"] | None = None,
        mode: Literal["code", "paper"] = "code",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AVER(_AVER):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        mode: Literal["loss", "logits"] = "loss",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class AnnealingKD(_AnnealingKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        regression_epochs: int | None = None,
        t_max: int = 10,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class CAMKD(_CAMKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        mkd_scale: Literal["normalised", "released"] = "normalised",
        feature_weight: float = 0.0,
        relu: bool = True,
        resize: Literal["resample"] | None = None,
        distill_decay: bool = False,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class CRD(_CRD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        contrast_weight: float = 0.8,
        tap: str = "embedding",
        width: int = 128,
        negatives: int = 16384,
        contrast_temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class CSKD(_CSKD):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        kd_weight: float = 1.0,
        temperature: float = 4.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class DASK(_DASK):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        relation_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        tap: str = "embedding",
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class DDGSD(_DDGSD):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        kd_weight: float = 1.0,
        discrepancy_weight: float = 0.0005,
        temperature: float = 3.0,
        ce_weight: float = 1.0,
        detach_targets: bool = False,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class DIST(_DIST):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        inter_weight: float = 2.0,
        intra_weight: float = 2.0,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        eps: float = 1e-08,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class DKD(_DKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        target_weight: float = 1.0,
        others_weight: float = 8.0,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        standardise: bool = False,
        warm_up: int = 20,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class EBKD(_EBKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        mkd_scale: Literal["normalised", "released"] = "normalised",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class ESKD(_ESKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class FitNet(_FitNet):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        taps: tuple[str, ...] = ("stage2",),
        pairs: dict[str, str | dict[str, str]] | None = None,
        hint_weight: float = 100.0,
        relu: bool = True,
        resize: Literal["pool", "strided"] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class FullKD(_FullKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class KD(_KD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class LogitStandardisation(_LogitStandardisation):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 2.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        factor: float = 10.0,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class NKD(_NKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        others_weight: float = 1.5,
        temperature: float = 1.0,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class PKT(_PKT):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        affinity_weight: float = 30000.0,
        self_pairs: bool = True,
        taps: tuple[str, ...] = ("embedding",),
        pairs: dict[str, str | dict[str, str]] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class PSKD(_PSKD):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        past_weight: float = 0.8,
        epochs: int | None = None,
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class RKD(_RKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        taps: tuple[str, ...] = ("embedding",),
        pairs: dict[str, str | dict[str, str]] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class SAKDN(_SAKDN):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        map_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        gsdm_weight: Literal["cosine", "relative"] = "cosine",
        class_embeddings: str | list[list[float]] | None = None,
        collapse: Literal["rows"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class SAKDNTeacher(_SAKDNTeacher):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        semantic_weight: float = 1.0,
        class_embeddings: str | list[list[float]] = "learned",
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class SP(_SP):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        similarity_weight: float = 3000.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class SimKD(_SimKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        feature_weight: float = 1.0,
        ce_weight: float = 0.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        resize: Literal["pool"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class TFKDSelf(_TFKDSelf):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        temperature: float = 6.0,
        kd_weight: float = 0.95,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        multiplier: float = 1.0,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class TFKDVirtual(_TFKDVirtual):
    def __init__(
        self,
        net: Backbone,
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        kd_weight: float = 0.1,
        temperature: float = 20.0,
        multiplier: float = 1.0,
        correct: float = 0.99,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class TGD(_TGD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        similarity_weight: float = 3000.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        merge: Literal["raw", "normalised"] = "raw",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class TPKD(_TPKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.7,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        similarity_weight: float = 700.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        patches: int = 4,
        oth: Literal["rows", "sp", "square"] = "rows",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class TopologicalKD(_TopologicalKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        kd_weight: float = 0.99,
        scale: float = 2.0,
        factor: float = 16.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        eps: float = 1e-07,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...

class VID(_VID):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        class_weights: list[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        pairs: dict[str, str | dict[str, str]] | None = None,
        information_weight: float = 3.0,
        resize: Literal["pool"] | None = None,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
    ) -> None: ...
