"""The encoder-decoder: its equations sample by sample, training without labels, and what starts from it."""

import copy
import signal
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

import kdlab
from kdlab import KD, Reconstruction, Supervised, Teacher
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.nets import Decoder, Seq2Seq, WideResNet
from kdlab.study.labels_alone import labels_alone
from kdlab.types import InputError, Output
from tests.conftest import trainer


def lstm_by_hand(layer, x, h, c):
    """All states ``(T, H)`` of one window ``(T, D)``."""
    w, u, b = (getattr(layer, n).detach().numpy() for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"))
    b = b + layer.bias_hh_l0.detach().numpy()
    states = []
    for sample in x:
        i, f, g, o = np.split(w @ sample + u @ h + b, 4)
        sigmoid = [1 / (1 + np.exp(-v)) for v in (i, f, o)]
        c = sigmoid[1] * c + sigmoid[0] * np.tanh(g)
        h = sigmoid[2] * np.tanh(c)
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("attention", [False, True])
def test_encoder_and_decoder_by_hand(attention):
    torch.manual_seed(0)
    net = Seq2Seq(2, 5, attention, in_channels=3, num_classes=4).double().eval()
    net.standardize.fill([0.5, 0.0, -0.5], [2.0, 1.0, 0.5])
    decoder = Decoder(net).double()
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    features = net(x).features
    made = decoder(net, features).detach().numpy()
    zero = np.zeros(5)

    def attend(queries, states):
        score = queries @ net.score.weight.detach().numpy().T @ states.T
        weights = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        return weights, weights @ states

    for k in range(2):
        window = (x[k].numpy() - np.array([[0.5], [0.0], [-0.5]])) / np.array([[2.0], [1.0], [0.5]])
        states = window.T
        for i, layer in enumerate(net.layers, start=1):
            states = lstm_by_hand(layer, states, zero, zero)
            np.testing.assert_allclose(features[f"stage{i}"][k].detach().T, states, atol=1e-9)
        context = states[-1]
        if attention:
            weights, read = attend(states[-1:], states)
            np.testing.assert_allclose(features["attention"][k].detach(), weights, atol=1e-9)
            context = read[0]
        np.testing.assert_allclose(features["embedding"][k].detach(), context, atol=1e-9)
        out = lstm_by_hand(decoder.lstm, [context] * 9, context, zero)
        if attention:
            out = np.concatenate([out, attend(out, states)[1]], 1)
        out = out @ decoder.out.weight.detach().numpy().T + decoder.out.bias.detach().numpy()
        np.testing.assert_allclose(made[k], out[::-1].T, atol=1e-9)


def module(attention=True, **kwargs):
    torch.manual_seed(0)
    return Reconstruction(Seq2Seq(1, 12, attention, in_channels=6, num_classes=4), **kwargs)


def test_the_term_is_the_error_of_the_standardised_window():
    made = module()
    made.net.standardize.fill([0.5] * 6, [2.0] * 6)
    windows = torch.randn(3, 6, 20)
    batch = next(iter(data().batches("train")))._replace(views={"raw": windows})
    terms = made.terms(batch, made.net(windows))
    reconstruction = made.decoder(made.net, made.net(windows).features)
    expected = (((windows.double() - 0.5) / 2 - reconstruction.double()) ** 2).mean()
    assert list(terms) == ["reconstruction"]
    assert terms["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert made.error(batch, Output(torch.zeros(3, 4), made.net(windows).features)).shape == (3,)


def data(**kwargs):
    return BasicMotions(batch_size=16, **kwargs)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint of four epochs, the method, and what the fit logged."""
    folder = tmp_path_factory.mktemp("pretrained")
    made = module()
    first = copy.deepcopy(made.state_dict())
    run = trainer(folder, max_epochs=4)
    run.fit(made, data())
    run.save_checkpoint(folder / "encoder.ckpt")
    return folder / "encoder.ckpt", made, first, {k: float(v) for k, v in run.callback_metrics.items()}


def test_it_trains_encoder_and_decoder_and_not_the_head(pretrained):
    _, made, first, logged = pretrained
    after = made.state_dict()
    moved = {name for name in after if not torch.equal(after[name], first[name])}
    assert {"net.layers.0.weight_ih_l0", "net.score.weight", "decoder.lstm.weight_hh_l0", "decoder.out.bias"} <= moved
    assert not any(name.startswith("net.head.") for name in moved)
    assert all(p.requires_grad for p in made.parameters())  # as it was before
    assert {"train/reconstruction", "val/reconstruction"} <= set(logged)
    assert "train/ce" not in logged
    made.net.eval()
    errors = torch.cat([made.error(b, made.net(b.views["raw"])) for b in data().batches("val")])
    assert logged["val/reconstruction"] == pytest.approx(errors.mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("error", "when", "compiled"),
    [
        (KeyboardInterrupt, "on_train_batch_end", "eager"),
        (RuntimeError, "on_validation_end", False),
        (RuntimeError, "on_fit_start", False),
    ],
)
def test_a_fit_that_an_error_ends_leaves_the_net_as_one_that_ends_well(
    error, when, compiled, pretrained, tmp_path, request
):
    path, _, _, _ = pretrained
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))  # Lightning ignores it

    class Ending(Callback):
        pass

    def end(*_):
        raise error

    setattr(Ending, when, end)
    made = module()
    frozen = Supervised(copy.deepcopy(made.net), init=str(path), freeze="body", compile=compiled)
    for method in (made, frozen):
        windows = data()
        with pytest.raises((RuntimeError, SystemExit)):
            trainer(tmp_path, callbacks=[Ending()]).fit(method, windows)
        assert all(p.requires_grad for p in method.net.parameters())
        assert method.net.frozen == ()
        assert method.net._compiled_call_impl is None
        after = Supervised(method.net)
        before = copy.deepcopy(after.state_dict())
        trainer(tmp_path, max_epochs=1).fit(after, windows)
        assert not any(torch.equal(before[name], value) for name, value in after.named_parameters())


def test_views_are_computed_again_after_an_error(teachers, tmp_path):
    class Ending(Callback):
        def on_sanity_check_start(self, *_):
            raise RuntimeError

    views = {"raw": kdlab.views.Raw(), "pi": kdlab.views.PersistenceImage(size=16)}
    windows, filters = kdlab.data.BasicMotions(views=views), list(warnings.filters)
    student = kdlab.KD(
        WideResNet(10, 1, in_channels=6, num_classes=4), {"pi": kdlab.Teacher(teachers["pi"], view="pi")}
    )
    run = trainer(tmp_path, callbacks=[Ending()], num_sanity_val_steps=1)
    with pytest.raises(RuntimeError):
        run.fit(student, windows)
    assert set(next(iter(windows.val_dataloader())).views) == {"raw", "pi"}
    assert warnings.filters == filters
    assert "on_exception" not in vars(run.strategy)


def test_a_resumed_fit_is_equal(pretrained, tmp_path):
    _, made, *_ = pretrained
    run = trainer(tmp_path, max_epochs=2)
    run.fit(module(), data())
    run.save_checkpoint(tmp_path / "two.ckpt")
    resumed = module()
    trainer(tmp_path, max_epochs=4).fit(resumed, data(), ckpt_path=tmp_path / "two.ckpt")
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_labels_are_not_read(pretrained, tmp_path):
    """Windows whose labels are others, or missing, train the same weights."""
    _, made, *_ = pretrained
    assert not made.reads_labels
    assert not labels_alone({"class_path": "Reconstruction"})
    other, others = module(), data()
    others.setup()
    labels, train = others.data.target, others.train_index
    before = labels.copy()
    labels.setflags(write=True)
    labels[train] = (before[train] + 1) % 4
    try:
        assert not np.array_equal(torch.cat([b.target for b in others.batches("train")]), before[train])
        trainer(tmp_path, max_epochs=4).fit(other, others)
    finally:
        labels[:] = before
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in other.state_dict().items())


def test_other_runs_start_from_its_checkpoint(pretrained, tmp_path):
    """A classifier and a student of distillation begin with the encoder; the decoder is in neither."""
    path, made, *_ = pretrained
    assert any(name.startswith("decoder.") for name in read_checkpoint(path)["state_dict"])
    encoder = {n: v for n, v in made.net.state_dict().items() if n.startswith(("layers.", "score."))}
    teacher = Teacher(net=WideResNet(10, 1, in_channels=6, num_classes=4), mean=[0.0] * 6, std=[1.0] * 6)
    for start in (
        lambda net: Supervised(net, init=str(path), freeze=["layers", "score"]),
        lambda net: KD(net, {"raw": teacher}, student_init=str(path), optimizer=still),
    ):
        torch.manual_seed(1)
        net = Seq2Seq(1, 12, True, in_channels=6, num_classes=4)
        run = trainer(tmp_path, max_epochs=1)
        run.fit(start(net), data())
        assert all(torch.equal(net.state_dict()[name], value) for name, value in encoder.items())
        run.save_checkpoint(tmp_path / "next.ckpt")
        held = read_checkpoint(tmp_path / "next.ckpt")["state_dict"]
        assert not any(name.startswith("decoder.") for name in held)


def still(parameters):
    return torch.optim.SGD(parameters, lr=0.0)


def test_other_nets_are_refused():
    with pytest.raises(InputError, match=r"Reconstruction: net must be a Seq2Seq, .* but got WideResNet"):
        Reconstruction(WideResNet(10, 1, in_channels=6, num_classes=4))
