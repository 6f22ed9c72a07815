"""A-Softmax and AMC-Loss against loops in float64, nets with angular heads, and pictures of the maps of AMD."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kdlab import AMC, AMD, KD, ASoftmax, InputError, Output, Supervised, Teacher, functional
from kdlab.callbacks import MarginMapPictures
from kdlab.data import BasicMotions, Mixup
from kdlab.export import export, load
from kdlab.functional.angles import _psi
from kdlab.methods.a_softmax import ASoftmaxObjective
from kdlab.methods.amc import AMCObjective, amc_ramp
from kdlab.nets import (
    VGG,
    Adapter,
    AngularNet,
    AttentionLSTM,
    CifarResNet,
    MobileNetV2,
    TransformerEncoder,
    WideResNet,
    build,
)
from kdlab.views import GramianAngularField, Raw
from tests.conftest import net, trainer

BATCH, CLASSES, WIDTH = 8, 5, 6
TARGET = torch.arange(BATCH) % CLASSES
MIXED = torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(8), dtype=torch.float64).softmax(1)


def embedding(seed: int = 1, rows: int = BATCH) -> Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def angular(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Logits as an angular head makes them, and the embedding."""
    x, w = embedding(seed), embedding(seed + 50, CLASSES)
    return x @ (w / w.norm(dim=1, keepdim=True)).T, x


# ---------------------------------------------------------------------------------------------------------- A-Softmax


def psi(theta: float, m: int) -> float:
    for k in range(m):
        if k * math.pi / m <= theta <= (k + 1) * math.pi / m + 1e-12:
            return (-1) ** k * math.cos(m * theta) - 2 * k
    raise AssertionError(theta)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7])
def test_psi_falls_from_1_without_a_jump(m: int) -> None:
    angles = np.linspace(0, math.pi, 841)  # boundaries included
    found = _psi(torch.tensor(np.cos(angles)), m).numpy()
    assert found == pytest.approx([psi(a, m) for a in angles], abs=1e-9)
    assert (np.diff(found) < 0).all()
    assert (found[0], found[-1]) == pytest.approx((1, 1 - 2 * m))


def angular_reference(z: np.ndarray, x: np.ndarray, y: np.ndarray, m: int, weight: float) -> float:
    total = 0.0
    for i in range(len(z)):
        length = math.sqrt(sum(v * v for v in x[i]))
        for k in range(z.shape[1]):
            cosine = z[i, k] / length
            own = length * (weight * cosine + psi(math.acos(cosine), m)) / (1 + weight)
            others = sum(math.exp(z[i, j]) for j in range(z.shape[1]) if j != k)
            total -= y[i, k] * (own - math.log(math.exp(own) + others)) / len(z)
    return total


@pytest.mark.parametrize("weight", [0.0, 5.0, 1363.6])
@pytest.mark.parametrize("m", [1, 2, 4])
def test_angular_softmax(m: int, weight: float) -> None:
    z, x = angular()
    for target, y in ((TARGET, np.eye(CLASSES)[TARGET]), (MIXED, MIXED.numpy())):
        found = functional.angular_softmax(z, x, target, m, weight).item()
        assert found == pytest.approx(angular_reference(z.numpy(), x.numpy(), y, m, weight), rel=1e-9)
        if m == 1:
            assert found == pytest.approx(F.cross_entropy(z, target).item(), rel=1e-12)


def test_angular_softmax_of_the_released_code() -> None:
    """clcarwin/sphereface_pytorch: the polynomials of the cosine, k by way of the angle, all classes at once."""
    z, x = angular(3)
    length = x.pow(2).sum(1).pow(0.5).view(-1, 1)
    c = (z / length).clamp(-1, 1)
    k = (4 * c.acos() / 3.14159265).floor()
    phi = ((-1.0) ** k * (8 * c**4 - 8 * c**2 + 1) - 2 * k) * length
    at = F.one_hot(TARGET, CLASSES).bool()
    for step in (1, 20_000):
        weight = max(5.0, 1500.0 / (1 + 0.1 * step))
        logits = torch.where(at, z - z / (1 + weight) + phi / (1 + weight), z)
        assert functional.angular_softmax_weight(step) == weight
        found = functional.angular_softmax(z, x, TARGET, 4, weight)
        assert found.item() == pytest.approx(F.cross_entropy(logits, TARGET).item(), rel=1e-9)


def test_angular_softmax_gradient() -> None:
    w = embedding(51, CLASSES)
    w = w / w.norm(dim=1, keepdim=True)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return functional.angular_softmax(x @ w.T, x, target, 4, 2.0)

    for target in (TARGET, MIXED):
        assert torch.autograd.gradcheck(lambda x, y=target: loss(x, y), (embedding().requires_grad_(),))
    x = torch.stack([w[0], -w[0], torch.zeros(WIDTH)]).double().requires_grad_()  # angles 0 and pi, and none
    loss(x, torch.zeros(3, dtype=torch.long)).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    low = embedding().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = functional.angular_softmax((low.float() @ w.float().T).bfloat16(), low, TARGET)
    assert value.dtype == torch.float32
    value.backward()
    assert low.grad is not None
    assert low.grad.isfinite().all()


# ---------------------------------------------------------------------------------------------------------------- AMC


def geodesic_reference(x: np.ndarray, same: list[float], margin: float) -> float:
    half, total = len(x) // 2, 0.0
    for i in range(half):
        a, b = x[i], x[i + half]
        d = math.acos(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
        total += same[i] * d**2 + (1 - same[i]) * max(0.0, margin - d) ** 2
    return total / half


@pytest.mark.parametrize("margin", [0.5, 1.7])
def test_amc(margin: float) -> None:
    x, z = embedding(), 2 * torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 0, 4, 2, 1])
    out = Output(z, {"embedding": x})
    predicted = z.argmax(1)
    for pairs, label in (("labels", target), ("predictions", predicted)):  # the released code takes the latter
        same = [float(label[i] == label[i + 4]) for i in range(4)]
        terms = AMCObjective(geodesic_weight=2.0, margin=margin, pairs=pairs)(student=out, teachers={}, target=target)
        assert terms["geodesic"].item() == pytest.approx(2 * geodesic_reference(x.numpy(), same, margin), rel=1e-9)
        assert terms["ce"].item() == pytest.approx(F.cross_entropy(z, target).item())
    assert [bool(target[i] == target[i + 4]) for i in range(4)] != [
        bool(predicted[i] == predicted[i + 4]) for i in range(4)
    ]
    soft = [sum(float(MIXED[i, k] * MIXED[i + 4, k]) for k in range(CLASSES)) for i in range(4)]
    terms = AMCObjective(geodesic_weight=1.0, margin=margin)(student=out, teachers={}, target=MIXED)
    assert terms["geodesic"].item() == pytest.approx(geodesic_reference(x.numpy(), soft, margin), rel=1e-9)


@pytest.mark.parametrize("size", [(12,), (4, 3)], ids=["1-D", "2-D"])
def test_amc_reads_maps_and_odd_batches(size: tuple[int, ...]) -> None:
    maps = torch.randn(7, WIDTH, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled = maps.numpy().mean(axis=tuple(range(2, maps.ndim)))
    label = torch.tensor([0, 1, 2, 0, 2, 2, 1])
    terms = AMCObjective(geodesic_weight=1.0, tap="stage3")(
        student=Output(torch.zeros(7, 3, dtype=torch.float64), {"stage3": maps}), teachers={}, target=label
    )
    assert terms["geodesic"].item() == pytest.approx(geodesic_reference(pooled[:6], [1.0, 0.0, 1.0], 0.5), rel=1e-9)
    one = Output(torch.zeros(1, 3), {"embedding": torch.ones(1, WIDTH, requires_grad=True)})
    assert AMCObjective()(student=one, teachers={}, target=label[:1])["geodesic"] == 0


def test_amc_gradient() -> None:
    same = torch.tensor([1.0, 0.0, 0.3, 1.0])

    def loss(x: Tensor) -> Tensor:
        return functional.geodesic_contrastive(x[:4], x[4:], same, 1.5)

    assert torch.autograd.gradcheck(loss, (embedding().requires_grad_(),))
    for dtype in (torch.float32, torch.bfloat16):  # equal, opposite and dead embeddings
        a = torch.eye(3, WIDTH, dtype=dtype).requires_grad_()
        b = torch.stack([torch.eye(WIDTH)[0], -torch.eye(WIDTH)[1], torch.zeros(WIDTH)]).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = functional.geodesic_contrastive(a, b, torch.tensor([True, False, False]))
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(0, abs=1e-5)
        value.backward()
        for x in (a, b):
            assert x.grad is not None
            assert x.grad.isfinite().all()


def test_amc_ramp() -> None:
    """hchoi71/AMC-Loss: exp(-5 (1 - e/50)^2), none in the first epoch, then 1 to the end; down over 30 as its lr."""
    assert [amc_ramp(e, 200) for e in (0, 50, 51, 199)] == [0.0, 1.0, 1.0, 1.0]
    for e in range(1, 50):
        assert amc_ramp(e, 200) == pytest.approx(math.exp(-((1 - e / 50) ** 2) * 5))
    for e in range(170, 200):
        assert amc_ramp(e, 200, ramp_down=30) == pytest.approx(math.exp(-(((e - 170) * 0.5) ** 2) / 30))
    assert amc_ramp(0, 10, ramp_up=0) == 1.0


# ---------------------------------------------------------------------------------------------------------------- net

NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "wrn 1-D": (lambda: net(3, 4), (3, 40)),
    "wrn 2-D": (lambda: net(3, 4, 2), (3, 16, 16)),
    "resnet": (lambda: CifarResNet(8, ndim=2, in_channels=3, num_classes=4), (3, 16, 16)),
    "vgg": (lambda: VGG(8, ndim=2, in_channels=3, num_classes=4), (3, 16, 16)),
    "mobilenet": (lambda: MobileNetV2(in_channels=3, num_classes=4), (3, 40)),
    "lstm": (lambda: AttentionLSTM(in_channels=3, num_classes=4), (3, 40)),
    "transformer": (lambda: TransformerEncoder(in_channels=3, num_classes=4), (3, 40)),
}


@pytest.mark.parametrize("name", NETS)
def test_angular_net(name: str) -> None:
    make, shape = NETS[name]
    torch.manual_seed(0)
    inner = make()
    own = inner.spec
    outer = AngularNet(inner).eval()
    outer.standardize.fill([0.5] * 3, [2.0] * 3)
    x = torch.randn(5, *shape)
    said = outer(x)
    h, w = (v.detach().double().numpy() for v in (said.features["embedding"], outer.head.weight))
    for i in range(5):
        for k in range(4):
            angle = math.acos(float(h[i] @ w[k]) / math.sqrt(float(h[i] @ h[i]) * float(w[k] @ w[k])))
            expected = math.sqrt(float(h[i] @ h[i])) * math.cos(angle)
            assert said.logits[i, k].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert outer.spec == {"class_path": "kdlab.nets.angular.AngularNet", "init_args": {"net": own}}
    again = build(outer.spec).eval()
    again.load_state_dict(outer.state_dict())
    assert torch.equal(again(x).logits, said.logits)
    assert not any(key.startswith("body.head") or "body.standardize" in key for key in outer.state_dict())
    outer.memory_format = "contiguous"
    torch.testing.assert_close(outer(x).logits, said.logits, atol=1e-4, rtol=1e-4)


def test_angular_net_is_the_net_with_other_weights() -> None:
    inner = net()
    twin = net()
    twin.load_state_dict(inner.state_dict())
    outer = AngularNet(inner)
    x = torch.randn(4, 6, 50)
    for tap, feature in twin.eval()(x).features.items():
        assert torch.equal(feature, outer.eval()(x).features[tap])
    extra = sum(p.numel() for p in twin.parameters()) - sum(p.numel() for p in outer.parameters())
    assert extra == 4  # the bias


def test_angular_net_refuses() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Conv1d(3, 4, 3)
            self.last = torch.nn.Sequential(torch.nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(self.body(x).mean(2))
            return y

    with pytest.raises(InputError, match="AngularNet: net must be a net of kdlab with a linear head, but got Conv1d"):
        AngularNet(torch.nn.Conv1d(3, 4, 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got AngularNet with a AngularHead"):
        AngularNet(AngularNet(net()))
    AngularNet(Adapter(Two(), head="last.0", in_channels=3, num_classes=4))


# ------------------------------------------------------------------------------------------------------------ methods


def weights(module: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.net.parameters()])


class Seen:
    """Notes a setting in each step."""

    name = ""

    def terms(self, batch: Any, student: Output) -> dict[str, Tensor]:
        self.seen = [*getattr(self, "seen", []), float(getattr(self.objective, self.name))]  # type: ignore[attr-defined]
        found: dict[str, Tensor] = super().terms(batch, student)  # type: ignore[misc]
        return found


class SeenASoftmax(Seen, ASoftmax):
    name = "cosine_weight"


class SeenAMC(Seen, AMC):
    name = "geodesic_weight"


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 6}], ids=["epoch", "middle"])
@pytest.mark.parametrize("cls", [SeenASoftmax, SeenAMC])
def test_settings_are_resumed(cls: Any, stop: dict[str, int], tmp_path: Path) -> None:
    def fitted(path: Any = None, **limit: int) -> tuple[Any, Any]:
        torch.manual_seed(5)
        module = cls(net(), slope=3.0) if cls is SeenASoftmax else cls(net(), ramp_up=3, ramp_down=2, epochs=4)
        run = trainer(tmp_path, **{"max_epochs": 4, **limit})
        run.fit(module, BasicMotions(seed=3), ckpt_path=path, weights_only=True if path else None)
        return run, module

    run, whole = fitted()
    steps = run.global_step
    assert steps == 16
    if cls is SeenASoftmax:
        assert whole.seen == pytest.approx([max(5.0, 1500 / (1 + 3 * t)) for t in range(1, steps + 1)])
    else:
        assert whole.seen == pytest.approx([10 * amc_ramp(t // 4, 4, 3, 2) for t in range(steps)])
    half, first = fitted(**stop)
    half.save_checkpoint(tmp_path / "half.ckpt")
    _, second = fitted(tmp_path / "half.ckpt")
    assert first.seen + second.seen == whole.seen
    assert torch.equal(weights(whole), weights(second))


def test_an_angular_net_teaches_and_is_exported(tmp_path: Path) -> None:
    pl.seed_everything(0)
    data, module = BasicMotions(), ASoftmax(net(), slope=10.0)
    run = trainer(tmp_path, max_epochs=3)
    run.fit(module, data)
    path = str(tmp_path / "angular.ckpt")
    run.save_checkpoint(path)
    (tested,) = trainer(tmp_path).test(ASoftmax(net()), data, ckpt_path=path, weights_only=True, verbose=False)
    found = [(module.net.eval()(b.views["raw"]).logits.argmax(1), b.target) for b in data.batches("test")]
    share = np.mean([bool(p == t) for prediction, target in found for p, t in zip(prediction, target, strict=True)])
    assert tested["test/accuracy"] == pytest.approx(share)
    student = KD(net(), {"raw": Teacher(path)})
    trainer(tmp_path, max_epochs=1).fit(student, data)
    teacher = student.teachers["raw"]
    assert isinstance(teacher, Teacher)
    assert isinstance(teacher.net, AngularNet)
    x = next(data.batches("test")).views["raw"]
    assert torch.equal(teacher(x).logits, module.net.eval()(x).logits)
    made = export(path, data, tmp_path / "angular.pt2")
    assert made.card["check"]["largest_logit_difference"] < 1e-4
    assert load(tmp_path / "angular.pt2").card["check"]["passed"]
    warm = ASoftmax(net(), init=path)
    trainer(tmp_path, max_steps=1).fit(warm, data)
    with pytest.raises(InputError, match="which is not this student"):
        trainer(tmp_path).fit(Supervised(net(), init=path), data)
    assert ASoftmax(warm.net).net is warm.net


@pytest.mark.parametrize("cls", [ASoftmax, AMC])
def test_images_and_mixed_labels(cls: Any, tmp_path: Path) -> None:
    data = BasicMotions(views={"gaf": GramianAngularField(size=16)}, mix=Mixup(0.4))
    run = trainer(tmp_path, max_epochs=2)
    run.fit(cls(net(ndim=2), view="gaf"), data)
    assert run.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ASoftmax(net(), margin=0), "margin must be a whole number.*0"),
        (lambda: ASoftmax(net(), margin=2.5), "margin must be a whole number.*2.5"),  # type: ignore[arg-type]
        (lambda: ASoftmax(net(), least=-1.0), "least must be at least 0.*-1"),
        (lambda: ASoftmaxObjective(cosine_weight=-1.0), "cosine_weight.*-1"),
        (lambda: AMC(net(), ramp_up=-1), "ramp_up.*-1"),
        (lambda: AMC(net(), epochs=0), "epochs.*0"),
        (lambda: AMCObjective(margin=-0.1), "margin must be at least 0"),
        (lambda: AMCObjective(pairs="both"), "pairs.*'both'"),  # type: ignore[arg-type]
        (lambda: functional.angular_softmax(*angular(), TARGET[:3]), r"target.*\(8, 5\).*\(3,\)"),
        (lambda: functional.angular_softmax(angular()[0], embedding()[:3], TARGET), r"embedding.*\(3, 6\)"),
        (lambda: functional.geodesic_contrastive(embedding(), embedding()[:3], TARGET), r"\(8, 6\), \(3, 6\)"),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_refused_as_a_fit_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"AMC: batch_size must be at least 2.*but got 1"):
        trainer(tmp_path).fit(AMC(net()), BasicMotions(batch_size=1))
    with pytest.raises(InputError, match="no planned end for ramp_down"):
        trainer(tmp_path, max_epochs=-1, max_time="00:00:01:00").fit(AMC(net(), ramp_down=3), BasicMotions())
    trainer(tmp_path, max_epochs=-1, max_steps=2).fit(AMC(net(), ramp_down=3), BasicMotions())  # its steps are an end


# ----------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("size", [(10,), (4, 5)], ids=["1-D", "2-D"])
def test_margin_maps(size: tuple[int, ...]) -> None:
    feature = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = {name: x.flatten(1).numpy() for name, x in functional.margin_maps(feature).items()}
    for i, sample in enumerate(feature.flatten(2).numpy()):
        energy = [sum(sample[c, p] ** 2 for c in range(3)) for p in range(sample.shape[1])]
        norm = math.sqrt(sum(e * e for e in energy))
        for p, e in enumerate(energy):
            q = e / (norm + 1e-6)
            u, v = 64 * math.cos(1.35 * math.acos(q)), 64 * (1 - q)
            expected = (q, 1 - q, u - (max(u, v) + math.log(math.exp(-abs(u - v)) + 1)))
            found = tuple(maps[name][i, p] for name in ("positive", "negative", "angular"))
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("kind", ["1-D", "2-D"])
def test_pictures(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ndim, view = (1, "raw") if kind == "1-D" else (2, "gaf")
    views: Any = {"raw": Raw()} if kind == "1-D" else {"gaf": GramianAngularField(size=32)}
    teacher = net(ndim=ndim, width=2)
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        "kdlab.callbacks.margin_maps.plot_margin_maps",
        lambda x, maps, titles: drawn.update(x=x, maps=maps, titles=titles) or PLOT(x, maps, titles),
    )
    module = AMD(net(ndim=ndim), {"t": Teacher(net=teacher, view=view)}, student_view=view)
    pictures = MarginMapPictures(windows=2, angular=True, every_n_epochs=2)
    trainer(tmp_path, max_epochs=2, callbacks=[pictures]).fit(module, BasicMotions(views=views))
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["margin_maps-1.png", "margin_maps.png"]
    pixels = np.asarray(Image.open(tmp_path / "margin_maps.png").convert("L"))
    assert pixels.std() > 10
    assert drawn["titles"] == ["Badminton", "Running"]
    assert [(m.tap, m.kind) for m in drawn["maps"]] == [
        (tap, k) for tap in ("stage1", "stage2", "stage3") for k in ("positive", "negative", "angular")
    ]
    with torch.no_grad():
        x = torch.from_numpy(drawn["x"])
        for who, asked in (("student", module.net.eval()), ("teacher", teacher.eval())):
            positive = functional.margin_maps(asked(x).features["stage2"])["positive"].numpy()
            assert getattr(drawn["maps"][3], who) == pytest.approx(positive, abs=1e-5)


def PLOT(*arguments: Any) -> Any:
    from kdlab.figures.margin_maps import _images, _signals

    return (_signals if arguments[0].ndim == 3 else _images)(*arguments)


def test_pictures_refuse(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="windows must be a whole number at least 1, but got 0"):
        MarginMapPictures(windows=0)
    with pytest.raises(InputError, match="Supervised has no teachers"):
        trainer(tmp_path, callbacks=[MarginMapPictures()]).fit(Supervised(net()), BasicMotions())
    two = {name: Teacher(net=WideResNet(10, 1, in_channels=6, num_classes=4)) for name in ("a", "b")}
    with pytest.raises(InputError, match=r"teacher must name.*\['a', 'b'\].*None"):
        trainer(tmp_path, callbacks=[MarginMapPictures()]).fit(KD(net(), two), BasicMotions())
    run = trainer(tmp_path, max_steps=1, callbacks=[MarginMapPictures(taps=["embedding"], teacher="a")])
    with pytest.raises(InputError, match="the student has no map 'embedding'"):
        run.fit(KD(net(), two), BasicMotions())
    assert run.global_step == 0  # not after the training
    image = Teacher(net=WideResNet(10, 1, ndim=2, in_channels=6, num_classes=4), view="gaf")
    with pytest.raises(InputError, match=r"student have 1 and those of teacher 'image' 2"):
        trainer(tmp_path, callbacks=[MarginMapPictures()]).fit(
            KD(net(), {"image": image}), BasicMotions(views={"raw": Raw(), "gaf": GramianAngularField(size=16)})
        )
