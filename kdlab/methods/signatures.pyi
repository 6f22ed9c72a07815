"""Signatures of the methods that objectives make; `python -m kdlab.methods.stubs` writes this file."""

from typing import Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from kdlab.cache import TeacherCache
from kdlab.methods.dkd import DKD as _DKD
from kdlab.methods.eskd import ESKD as _ESKD
from kdlab.methods.full_kd import FullKD as _FullKD
from kdlab.methods.kd import KD as _KD
from kdlab.methods.teacher import Teacher
from kdlab.methods.tgd import TGD as _TGD
from kdlab.nets.base import Backbone, MemoryFormat

class DKD(_DKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        weights: dict[str, float] | None = None,
        target_weight: float = 1.0,
        others_weight: float = 8.0,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        warm_up: int = 20,
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None: ...

class ESKD(_ESKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None: ...

class KD(_KD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None: ...

class TGD(_TGD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        similarity_weight: float = 3000.0,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        merge: Literal["raw", "normalised"] = "raw",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None: ...

class FullKD(_FullKD):
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        weights: dict[str, float] | None = None,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        student_view: str = "raw",
        optimizer: OptimizerCallable = ...,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None: ...
