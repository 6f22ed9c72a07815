"""How well a net separates windows of unknown classes from those of known ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab import functional
from kdlab.methods.windows import datamodule_in, windows_in, windows_of
from kdlab.types import InputError


class OpenSetScore(Callback):
    """Log ``test/open_set_auroc``: how well a score separates test windows of known classes from unknown ones.

    The unknown classes are the ``unknown_classes`` of the data module, whose windows are in no training; both kinds
    of windows are of the same test subjects. 1/2 is chance. It works for any method; the score is that of the net.

    Args:
        score: ``"probability"`` (largest class probability), ``"logit"`` (largest logit), ``"energy"`` (log-sum-exp of
            the logits) or ``"cosine"`` (largest cosine of embedding and class weights), see
            :func:`kdlab.functional.known_score`.

    Raises:
        InputError: for another score, or as a test begins when all classes are known.
    """

    def __init__(self, score: Literal["probability", "logit", "energy", "cosine"] = "probability") -> None:
        super().__init__()
        functional.check_choice("OpenSetScore: score", score, functional.SCORES)
        self.score = score
        self._known: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start without scores."""
        self._known = []
        self.check(datamodule_in(trainer))

    @staticmethod
    def check(datamodule: Any) -> None:
        """Raise unless the data module holds a class out; the command line also checks this before a fit."""
        if not windows_of(datamodule).unknown_classes:
            raise InputError(
                "OpenSetScore: unknown_classes of the data module must name a class, but it holds no class out. Name "
                "some in its unknown_classes (and train with the same), or leave the callback out."
            )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the known windows of a batch."""
        self._known.append(self._scores(pl_module, batch))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the unknown windows, and log how well the scores separate them."""
        module: Any = pl_module
        limit = int(min(trainer.num_test_batches[0], sys.maxsize))
        loader = windows_in(trainer).ordered_loader("unknown", [module.view])
        batches: Iterable[Any] = (module.transfer_batch_to_device(b, module.device, 0) for b in islice(loader, limit))
        known, unknown = self._known, [self._scores(module, batch) for batch in batches]
        values = [self._gathered(module, torch.cat(s)) if s else None for s in (known, unknown)]
        if values[0] is None or values[1] is None:
            rank_zero_warn("OpenSetScore: no test window of an unknown class (or of a known one): nothing to compare.")
            return
        module.log("test/open_set_auroc", functional.auroc(values[0], values[1]).float())

    @torch.no_grad()
    def _scores(self, module: Any, batch: Any) -> Tensor:
        """Scores ``(B,)``; minus infinity for repeats, which only equalise the ranks' numbers of windows."""
        precision = module.trainer.precision_plugin
        index, batch = batch.index, precision.convert_input(batch)
        with precision.test_step_context():
            output = module.net(batch.views[module.view])
        weight = getattr(module.net.head, "weight", None)  # a parameter, or computed, or there is none
        found = functional.known_score(output.logits, self.score, output.features.get("embedding"), weight)
        return found.masked_fill(index < 0, -torch.inf)

    @staticmethod
    def _gathered(module: Any, scores: Tensor) -> Tensor:
        """The scores of all ranks, which hold as many each, without the repeats."""
        if module.trainer.world_size > 1:
            scores = module.all_gather(scores).flatten()
        return scores[scores != -torch.inf]  # NaN stays, and is refused
