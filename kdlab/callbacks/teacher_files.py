"""The checkpoints that `EarlyStoppedTeacher` writes, each with its provenance; none overwrites another run's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from kdlab.files import replacing
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY
from kdlab.methods.saving import save
from kdlab.types import InputError


class TeacherFiles:
    """Writes ``peak.ckpt`` during a fit, and ``teacher.ckpt`` in its place at the end.

    Attributes:
        peak: path of the peak's weights, ``""`` before there are some.
        place: where they are written; of a fit that resumes, where the interrupted fit wrote them.
    """

    def __init__(self) -> None:
        self.peak = self.place = ""
        self._suffix = ""  # "-v1", ... where the folder holds another run's teacher already

    def claim(self, trainer: Trainer) -> None:
        """Choose names that overwrite nothing, the same on every process; a resumed fit keeps those that it had."""
        folder, version, own = _folder(trainer), 0, Path(self.place)

        def is_taken(suffix: str) -> bool:
            peak, teacher = (folder / f"{stem}{suffix}.ckpt" for stem in ("peak", "teacher"))
            return teacher.exists() or (peak.exists() and peak != own)

        while is_taken(_suffix(version)):
            version += 1
        self._suffix = trainer.strategy.broadcast(_suffix(version))
        self.place = str(self.path(trainer, "peak"))

    def path(self, trainer: Trainer, name: str) -> Path:
        """The file of a name."""
        return _folder(trainer) / f"{name}{self._suffix}.ckpt"

    def write(self, trainer: Trainer, module: Method, name: str, provenance: dict[str, Any]) -> str:
        """Write the current weights with their provenance, and return the path."""
        path, before = self.path(trainer, name), module.provenance
        module.provenance = provenance
        try:
            trainer.save_checkpoint(path, weights_only=True)
        finally:
            module.provenance = before
        return str(path)

    def finish(self, trainer: Trainer, reason: str) -> str:
        """Turn the peak into ``teacher.ckpt``, with a reason where one is given, and return the path."""
        target = self.path(trainer, "teacher")
        if trainer.is_global_zero:
            kept = torch.load(self.peak, map_location="cpu", weights_only=True)
            provenance = kept[KEY]["provenance"]
            if reason:
                provenance["reason"] = reason
            save(kept, target)
            Path(self.peak).unlink()
            rank_zero_info(
                f"teacher of epoch {provenance['epoch']} ({provenance['monitor']} {provenance['value']:.4f}, "
                f"{provenance['reason']}) -> {target}"
            )
        trainer.strategy.barrier("teacher.ckpt")
        return str(target)

    def resume(self, trainer: Trainer) -> None:
        """Copy the peak of an interrupted run into the folder of this one.

        Raises:
            InputError: when it is not there.
        """
        if not self.peak:
            return
        target = self.path(trainer, "peak")
        if Path(self.peak) != target and trainer.is_global_zero:
            kept = Path(self.peak).with_name(Path(self.peak).name.replace("peak", "teacher"))
            if not Path(self.peak).is_file() and kept.is_file():  # that run was finished
                self.peak = str(kept)
            if not Path(self.peak).is_file():
                raise InputError(
                    f"EarlyStoppedTeacher: the peak of the interrupted run, {self.peak!r}, is gone. Put it back, or "
                    "start a new run."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                shutil.copyfile(self.peak, part)
        self.peak = str(target)


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"


def _suffix(version: int) -> str:
    return f"-v{version}" if version else ""
