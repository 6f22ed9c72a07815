"""Before the first step a net reads windows of its view's shape, and must return as many logits as it has classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab import KD, InputError, Supervised, Teacher
from kdlab.data import BasicMotions
from kdlab.nets import Adapter, Backbone, as_backbone
from tests.conftest import net, trainer
from tests.outside_nets import TorchvisionLike


class Fixed(nn.Module):
    """It reads windows of 100 samples only, as the windows of BasicMotions are, and has a layer that it does not read.

    Args:
        kind: what it does with its logits.
    """

    def __init__(self, kind: str = "", length: int = 100) -> None:
        super().__init__()
        self.kind, self.length = kind, length
        self.conv, self.fc, self.spare = nn.Conv1d(6, 4, 3), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.length:
            raise ValueError(f"expected {self.length} samples,\n  got {x.shape[-1]}")
        x = nn.functional.dropout(self.conv(x).mean(2), 0.5, self.training)
        x = self.fc(x)
        return x[:, :3] if self.kind == "cut" else x.softmax(1) if self.kind == "softmax" else x


class Wide(Backbone):
    """A net of a user whose head has other outputs than it says."""

    def __init__(self, in_channels: int = 6, num_classes: int = 4, outputs: int = 10) -> None:
        super().__init__(in_channels, num_classes)
        self.conv, self.norm = nn.Conv1d(in_channels, 8, 5), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, outputs)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.norm(self.conv(x)).mean(2)}


def prepared(method: Any) -> Any:
    data = BasicMotions()
    data.setup()
    method.prepare(data, "fit")
    return method


@pytest.mark.parametrize("kind", ["", "cut", "softmax"])
def test_the_head_is_checked_with_the_shape_of_the_data(kind: str) -> None:
    """None of these could be tried when the net was given: it does not read 32 samples."""
    reason = {"": r"got 'spare', which is called 0 times"}.get(kind, r"got 'fc', which is followed by other operations")

    def given() -> nn.Module:
        fixed: Any = Fixed(kind)
        if kind:
            del fixed.spare
        return fixed

    assert isinstance(as_backbone(given(), "KD", 4), Adapter)
    with pytest.raises(InputError, match=rf"^Supervised: Adapter: head must be the layer .*{reason}"):
        prepared(Supervised(given(), num_classes=4))  # type: ignore[arg-type]
    teacher = Teacher(net=given(), mean=[0.0] * 6, std=[1.0] * 6)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"^teacher 'raw': Adapter: head must be the layer .*{reason}"):
        prepared(KD(net(), {"raw": teacher}))


def test_a_wrong_number_of_logits_is_refused_by_name(tmp_path: Path) -> None:
    """The loss would take ten logits for four classes without a word."""
    said = r"the net must return 4 logits for a window, .* view 'raw' give an output of shape \(2, {}\)"
    for outputs in (10, 3):
        with pytest.raises(InputError, match="^Supervised: " + said.format(outputs)):
            prepared(Supervised(Wide(outputs=outputs)))
    with pytest.raises(InputError, match="^teacher 'raw': " + said.format(10)):
        prepared(KD(net(), {"raw": Teacher(net=Wide(), mean=[0.0] * 6, std=[1.0] * 6)}))
    two = TorchvisionLike(num_classes=12)
    two.fc = nn.Sequential(two.fc, nn.ReLU(), nn.Linear(12, 7))  # type: ignore[assignment]
    with pytest.raises(InputError, match="^KD: " + said.format(7)):
        prepared(KD(Adapter(two, "fc", in_channels=6, num_classes=4), {"raw": Teacher(net=net())}))
    with pytest.raises(InputError, match=r"^Supervised: the net must return 4 logits"):
        trainer(tmp_path).validate(Supervised(Wide()), BasicMotions())
    prepared(Supervised(Wide(outputs=4)))


def test_a_net_for_another_length_is_refused_by_name() -> None:
    wrong: Any = Fixed(length=64)
    del wrong.spare
    with pytest.raises(
        InputError, match=r"^Supervised: the net must read windows of view 'raw', of shape \(6, 100\).*but raised Val"
    ) as refused:
        prepared(Supervised(wrong, num_classes=4))
    assert "expected 64 samples, got 100" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_is_changed_by_the_check() -> None:
    method = Supervised(Wide(outputs=4))
    method.net.norm.eval()
    before = {name: value.clone() for name, value in method.net.state_dict().items() if "standardize" not in name}
    modes = [part.training for part in method.net.modules()]
    torch.manual_seed(5)
    prepared(method)
    assert torch.rand(1).equal(torch.rand(1, generator=torch.Generator().manual_seed(5)))
    assert [part.training for part in method.net.modules()] == modes
    for name, value in before.items():
        assert method.net.state_dict()[name].equal(value), name


def test_plain_nets_of_a_fixed_length_train(tmp_path: Path) -> None:
    fixed: Any = Fixed()
    del fixed.spare
    method = Supervised(fixed, num_classes=4)
    trainer(tmp_path, max_epochs=1).fit(method, BasicMotions())
    assert method.net.head_path == "fc"
