r"""Pre-training without labels: an encoder-decoder makes its standardised window again.

.. math:: \frac1{B C T} \sum (\hat x - x)^2

The encoder is a `Seq2Seq`; its `Decoder` belongs to the method, is resumed with it and is in no exported file. A run
that is to classify starts from the checkpoint: ``Supervised(net, init=...)``, ``KD(student, ..., student_init=...)``.

References:
    Srivastava, Mansimov and Salakhutdinov, Unsupervised learning of video representations using LSTMs, ICML 2015,
    arXiv:1502.04681; Sutskever, Vinyals and Le, Sequence to sequence learning with neural networks, NeurIPS 2014,
    arXiv:1409.3215.

Differences from the papers:
    The decoder reads the context at every step, not its own last output, so that all steps are one call.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.methods.base import Method, sgd
from kdlab.methods.calls import checked_call
from kdlab.methods.freezing import freeze, unfreeze
from kdlab.methods.plans import Interval
from kdlab.methods.schedules import OptimizerCallable, ScheduleCallable
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.nets.seq2seq import Decoder, Seq2Seq
from kdlab.types import Batch, InputError, Output, Windows


class Reconstruction(Method):
    """Train a `Seq2Seq` net to make its windows again; no label is read, and the head is not trained.

    ``val/reconstruction`` and ``test/reconstruction`` are the errors of windows that are not trained on. The metrics of
    the classes are those of a head with random weights, and mean nothing.

    Args:
        net: a `Seq2Seq`.
        view: name of the view that it reads.
        optimizer: makes the optimiser from the parameters (SGD .05, momentum .9, weight decay 1e-4 by default).
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch.
        init: checkpoint or run folder of the same net to start from.
        compile: compile the net for the fit, see `Method`.
        memory_format: how the net's features lie in memory, see `Method`.
        num_classes: number of classes, see `Method`.
        scheduler_interval: step the schedule once an ``"epoch"`` or with every ``"step"``, see `Method`.
        init_lr: learning rate of a fit that starts from ``init``, see `Method`.

    Raises:
        InputError: for another net.

    Example:
        >>> module = Reconstruction(Seq2Seq(layers=1, hidden=8, in_channels=6, num_classes=4))
        >>> sorted({name.split(".")[0] for name, _ in module.named_parameters()})
        ['decoder', 'net']
    """

    label_free: ClassVar[bool] = True
    paper: ClassVar[tuple[str, ...]] = ("srivastava2015unsupervised", "sutskever2014sequence")

    @checked_call
    def __init__(
        self,
        net: Backbone,
        view: str = "raw",
        optimizer: OptimizerCallable = sgd,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
        scheduler_interval: Interval | None = None,
        init_lr: float | None = None,
    ) -> None:
        super().__init__(
            net, view, optimizer, scheduler, init, compile, memory_format, num_classes, scheduler_interval, init_lr
        )
        if not isinstance(net, Seq2Seq):
            raise InputError(
                f"Reconstruction: net must be a Seq2Seq, whose context a decoder reads, but got {type(net).__name__}. "
                "Write net: {class_path: Seq2Seq}."
            )
        self.decoder = Decoder(net)
        self._term_names = ("reconstruction",)
        self._frozen: list[str] = []

    def start_weights(self, windows: Windows) -> None:
        """Also take the head, which no term reads, out of training."""
        super().start_weights(windows)
        self._frozen = self._frozen or freeze(self.net, ["head"], type(self).__name__)

    def end_fit(self) -> None:
        """Put the head back into training."""
        super().end_fit()
        if self._frozen:
            unfreeze(self.net, self._frozen)
            self._frozen = []

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """``{"reconstruction": mean squared error of the standardised window}``."""
        return {"reconstruction": self.error(batch, student).mean()}

    def error(self, batch: Batch, student: Output) -> Tensor:
        """The mean squared error of each window, ``(B,)``."""
        assert isinstance(self.net, Seq2Seq)
        window = functional.promote(self.net.standardize(batch.views[self.view]))
        made = functional.promote(self.decoder(self.net, student.features))
        errors: Tensor = (made - window.to(made.dtype)).square().flatten(1).mean(1)
        return errors

    def _evaluate(self, batch: Batch, stage: str) -> None:
        super()._evaluate(batch, stage)
        errors = self.error(batch, self.net(batch.views[self.view]))
        kept = errors[batch.index >= 0] if self.trainer.world_size > 1 else errors
        mean = kept.mean() if len(kept) else errors.new_zeros(())
        self.log(f"{stage}/reconstruction", mean, batch_size=max(1, len(kept)), sync_dist=self.trainer.world_size > 1)
