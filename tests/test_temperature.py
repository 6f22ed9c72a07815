"""A learnt temperature and standardised logits, as options of every objective that has a temperature."""

import copy
import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import kdlab
from kdlab.cache import TeacherCache
from kdlab.callbacks import TemperatureAnnealing
from kdlab.citations import papers
from kdlab.data import BasicMotions
from kdlab.fields import Setting, setting
from kdlab.methods.aekd import AEKDObjective
from kdlab.methods.dist import DISTObjective
from kdlab.methods.dkd import DKDObjective
from kdlab.methods.fitnet import FitNetObjective
from kdlab.methods.mtkd_rl import MTKDRLObjective
from kdlab.methods.simkd import SimKDObjective
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.temperature import NAME, START, LearntTemperature
from kdlab.types import InputError, Output
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_objectives import OBJECTIVES, TARGET, learn, output, teachers, tensors


def having(option):
    fields = {cls: cls.declared() for cls in OBJECTIVES}
    return [cls for cls, known in fields.items() if option in known and known[option].init]


def made(cls, **options):
    """With soft targets, also where their weight is 0 by default."""
    off = "kd_weight" in cls.declared() and cls.declared()["kd_weight"].default == 0
    return cls(**({"kd_weight": 0.5} if off else {}), **options)


def run(objective, student, others, detached=False):
    torch.manual_seed(0)  # of the adapters
    objective.adapt(student=student, teachers=others)
    terms = objective(student=student, teachers=others, target=TARGET)
    return {name: term.detach() if detached else term for name, term in terms.items()}


def test_every_objective_with_a_temperature_has_the_options():
    with_one = {cls for cls in OBJECTIVES if "temperature" in cls.declared()}
    without = {cls.__name__ for cls in with_one - set(having("learn_temperature"))}
    assert without == {"PseudoLabelObjective", "TFKDVirtualObjective"}
    assert {cls.__name__ for cls in with_one - set(having("standardise"))} - without == {
        "LogitStandardisationObjective"
    }
    assert set(having("temperature_epochs")) == set(having("learn_temperature"))
    assert len(with_one) > 25

    class Own(Objective):
        """An objective that is written elsewhere."""

        temperature: Setting = setting("T", default=2.0, low=1e-3)

        def forward(self, *, student, teachers, target, index=None):
            """One term."""
            return {"ce": (student.logits / self.temperature).square().mean()}

    own = Own(learn_temperature=True)
    assert own.settings()["temperature"].item() == pytest.approx(START)
    student = learn(output(1))
    own.adapt(student=student, teachers={})
    own.advance(9)
    own(student=student, teachers={}, target=TARGET)["ce"].backward()
    assert own.adapters[NAME].logit.grad.item() > 0  # reversed: a descent raises the loss


# ---------------------------------------------------------------------------------------------------- the temperature


def kd(student, teacher, a):
    return 0.9 * ref.soft_target_kl(student, teacher, 1 + 20 / (1 + math.exp(-a))).mean()


@pytest.mark.parametrize(("epoch", "epochs", "factor"), [(0, 10, -0.02447174), (4, 10, -0.5), (9, 10, -1), (30, 4, -1)])
def test_its_gradient_is_reversed(epoch, epochs, factor):
    """Against differences of the loss in float64."""
    student, raw = output(1), output(2)
    own, other = student.logits.double(), raw.logits.double()
    objective = SoftTargets(learn_temperature=True, temperature_epochs=epochs)
    given, others = Output(own.clone().requires_grad_(), {}), {"raw": Output(other, {})}
    objective.adapt(student=given, teachers=others)
    with torch.no_grad():
        objective.adapters[NAME].logit.fill_(0.3)
    objective.advance(epoch)
    terms = objective(student=given, teachers=others, target=TARGET)
    z, t = own.numpy(), other.numpy()
    assert terms["kd"].item() == pytest.approx(kd(z, t, 0.3), rel=1e-7)
    terms["kd"].backward()
    slope = (kd(z, t, 0.3 + 1e-5) - kd(z, t, 0.3 - 1e-5)) / 2e-5
    assert objective.adapters[NAME].logit.grad.item() == pytest.approx(factor * slope, rel=1e-5)
    plain = Output(own.clone().requires_grad_(), {})
    constant = SoftTargets(temperature=4.0).double()
    constant.set("temperature", float(objective.settings()["temperature"]))
    constant(student=plain, teachers=others, target=TARGET)["kd"].backward()
    torch.testing.assert_close(given.logits.grad, plain.logits.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("cls", [cls for cls in having("learn_temperature") if cls is not MTKDRLObjective])
def test_its_gradient_is_that_of_both_sides(cls):
    """By differences in float64; MTKD-RL is left out, whose agent reads without gradient what depends on it."""

    def double(given):
        return Output(given.logits.double(), {name: feature.double() for name, feature in given.features.items()})

    learnt, constant = made(cls, learn_temperature=True), made(cls)
    student, others = double(output(1)), {name: double(other) for name, other in teachers(learnt).items()}
    run(learnt, student, others)
    learnt.advance(9)
    torch.stack(list(run(learnt, student, others).values())).sum().backward()
    values = []
    for value in (START - 0.25, START + 0.25):
        constant.set("temperature", value)
        values.append(float(sum(run(constant, student, others, detached=True).values())))
    slope = (values[1] - values[0]) / 0.5 * 20 / (1 + math.exp(-1)) / (1 + math.exp(1))
    assert learnt.adapters[NAME].logit.grad.item() == pytest.approx(-slope, rel=5e-3, abs=1e-9)


@pytest.mark.parametrize("cls", having("learn_temperature"))
def test_terms_are_those_of_its_value(cls):
    learnt, constant = made(cls, learn_temperature=True), made(cls)
    constant.set("temperature", START)
    student, plain, others = learn(output(1)), learn(output(1)), teachers(learnt)
    terms, expected = run(learnt, student, others), run(constant, plain, others)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-5
    )
    learnt.adapters.zero_grad()
    learnt.advance(9, 8, step=0, epochs=20)
    torch.stack(list(run(learnt, student, others).values())).sum().backward()
    grad = learnt.adapters[NAME].logit.grad
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0
    held = learnt.settings()["temperature"]
    assert held.item() == pytest.approx(START)
    assert not held.requires_grad
    assert held is learnt._buffers["temperature"]
    assert [key for key in learnt.state_dict() if NAME in key] == [f"adapters.{NAME}.logit"]
    assert "temperature" in learnt.moves
    twin = copy.deepcopy(learnt)
    assert torch.equal(twin.adapters[NAME].logit, learnt.adapters[NAME].logit)
    learnt.to(torch.bfloat16)
    assert learnt.adapters[NAME].logit.dtype == torch.float32


@pytest.mark.parametrize("cls", [SoftTargets, AEKDObjective, DISTObjective, FitNetObjective])
def test_it_compiles_without_a_break(cls):
    objective, student, plain = made(cls, learn_temperature=True, standardise=True), learn(output(1)), learn(output(1))
    others = teachers(objective)
    objective.adapt(student=student, teachers=others)
    objective.advance(3)
    torch._dynamo.reset()
    terms = torch.compile(objective, fullgraph=True, backend="eager")(student=student, teachers=others, target=TARGET)
    torch.stack(list(terms.values())).sum().backward()
    grad, objective.adapters[NAME].logit.grad = objective.adapters[NAME].logit.grad, None
    expected = objective(student=plain, teachers=others, target=TARGET)
    torch.stack(list(expected.values())).sum().backward()
    torch.testing.assert_close(terms, expected)
    torch.testing.assert_close(grad, objective.adapters[NAME].logit.grad)
    for ours, theirs in zip(tensors(student), tensors(plain), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert not objective.settings()["temperature"].requires_grad


def test_in_half_precision_and_double():
    objective, others = SoftTargets(learn_temperature=True), {"raw": output(2)}
    expected = run(objective, output(1), others)
    objective.advance(9)
    with torch.autocast("cpu", torch.bfloat16):
        low = Output(output(1).logits.bfloat16(), {})
        terms = objective(student=low, teachers={"raw": Output(output(2).logits.bfloat16(), {})}, target=TARGET)
        assert objective(student=output(1), teachers=others, target=TARGET) == expected
    terms["kd"].backward()
    assert terms["kd"].dtype == torch.float32
    assert terms["kd"].item() == pytest.approx(expected["kd"].item(), rel=0.05)
    assert objective.adapters[NAME].logit.grad.isfinite().all()


def on_meta(out):
    moved = {tap: feature.to("meta").requires_grad_() for tap, feature in out.features.items()}
    return Output(out.logits.to("meta").requires_grad_(), moved)


@pytest.mark.parametrize("cls", having("learn_temperature"))
def test_nothing_waits_for_a_device(cls):
    """On the meta device, where reading a number raises and no tensor may be left behind."""
    objective = made(cls, learn_temperature=True, **({"standardise": True} if cls in having("standardise") else {}))
    others = teachers(objective)
    objective.adapt(student=output(1), teachers=others)
    objective.to("meta").advance(3, 8, step=2, epochs=20)
    moved = {name: on_meta(out) for name, out in others.items()}
    terms = objective(student=on_meta(output(1)), teachers=moved, target=TARGET.to("meta"))
    torch.stack(list(terms.values())).sum().backward()
    assert objective.adapters[NAME].logit.grad.is_meta
    assert objective.settings()["temperature"].is_meta


def test_the_value_is_back_after_an_error():
    objective = SoftTargets(learn_temperature=True)
    run(objective, output(1), {"raw": output(2)})
    with pytest.raises(InputError, match="same batch"):
        objective(student=output(1), teachers={"raw": output(2, classes=5)}, target=TARGET)
    assert not objective.settings()["temperature"].requires_grad
    copy.deepcopy(objective)


# ------------------------------------------------------------------------------------------------------- standardised


#: terms that read logits in another way; the reward of an agent contains the cross-entropy
OTHER_TERMS = {"ce", "map", "agent"}


@pytest.mark.parametrize("cls", having("standardise"))
def test_standardised_terms_do_not_depend_on_the_scale(cls):
    objective, plain = made(cls, standardise=True), made(cls)
    student, others = output(1), teachers(objective)
    terms, raw = run(objective, student, others, True), run(plain, student, others, True)
    scaled = run(objective, student._replace(logits=3 * student.logits + 2), others, True)
    changed = [name for name, term in terms.items() if float(term) != pytest.approx(float(raw[name]), rel=1e-3)]
    assert changed
    assert "ce" not in changed
    for name in terms.keys() - OTHER_TERMS:
        assert float(scaled[name]) == pytest.approx(float(terms[name]), rel=1e-4), name
    if not isinstance(objective, SimKDObjective):  # whose label term has the weight 0
        assert float(scaled["ce"]) != pytest.approx(float(terms["ce"]), rel=1e-3)
    assert "sun2024logit" in papers([objective])
    assert "sun2024logit" not in papers([plain])


def z_scores(x):
    return (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-7)


def test_standardised_soft_targets_value():
    student, raw = output(1), output(2)
    own, other = (z_scores(x.logits.double().numpy()) for x in (student, raw))
    terms = SoftTargets(temperature=2.0, kd_weight=0.5, standardise=True)(
        student=student, teachers={"raw": raw}, target=TARGET
    )
    assert float(terms["kd"]) == pytest.approx(0.5 * ref.soft_target_kl(own, other, 2.0).mean(), rel=1e-5)
    expected = 0.5 * ref.cross_entropy(student.logits.double().numpy(), np.asarray(TARGET))
    assert float(terms["ce"]) == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------------------ refused


def many(objective):
    objective.use_many_labels()
    rows = torch.nn.functional.one_hot(TARGET, 4).float()
    return objective(student=output(1), teachers={"raw": output(2)}, target=rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SoftTargets(learn_temperature=True, temperature=2.0), "temperature must be left out .or 4. where"),
        (lambda: SoftTargets(learn_temperature=True, kd_weight=0.0), "learn_temperature must be false .* Raise kd_w"),
        (lambda: SoftTargets(learn_temperature=True).set("temperature", 4.0), "temperature must not be set"),
        (lambda: SoftTargets(learn_temperature="yes"), "learn_temperature must be true or false, but got 'yes'"),
        (lambda: SoftTargets(temperature_epochs=0), "temperature_epochs must be a whole number at least 1"),
        (lambda: many(SoftTargets(standardise=True)), "standardise must be false with any number of labels"),
        (
            lambda: TemperatureAnnealing().check(taught(learn_temperature=True)),
            "KD changes 'temperature' by arguments of its own",
        ),
        (
            lambda: kdlab.methods.dask.DASKObjective(learn_temperature=True).adapt(
                student=output(1), teachers={NAME: output(2)}
            ),
            f"a teacher must not be named '{NAME}'",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_it_is_learnt_with_any_number_of_labels():
    objective = SoftTargets(learn_temperature=True)
    many(objective)  # makes it
    objective.advance(9)
    many(objective)["kd"].backward()
    assert objective.adapters[NAME].logit.grad.abs().item() > 0


def test_papers():
    assert "li2023curriculum" in papers([DKDObjective(learn_temperature=True)])
    assert "li2023curriculum" not in papers([DKDObjective()])


# --------------------------------------------------------------------------------------------------------------- fits


def taught(method=kdlab.KD, **options):
    return method(net(), {"raw": kdlab.Teacher(net=net(width=2))}, **{"kd_weight": 0.5, **options})


def fit(folder, limit, path=None, cache=None, method=kdlab.FitNet):
    pl.seed_everything(3)
    module = taught(method, learn_temperature=True, temperature_epochs=2, cache=cache)
    if path is not None:
        pl.seed_everything(4)
    run = trainer(folder, **limit)
    run.fit(module, BasicMotions(seed=3, batch_size=8), ckpt_path=path, weights_only=True)
    return run, module


def test_a_fit_learns_it_and_resumes(tmp_path):
    """Bit for bit; it is logged, and left out where nothing is trained."""
    whole_run, whole = fit(tmp_path, {"max_epochs": 3})
    first, half = fit(tmp_path, {"max_epochs": 1})
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fit(tmp_path, {"max_epochs": 3}, tmp_path / "half.ckpt")
    state = resumed.state_dict()
    assert list(state) == list(whole.state_dict())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, state[key]), key
    key = f"objective.adapters.{NAME}.logit"
    values = [module.state_dict()[key].item() for module in (half, whole)]
    assert len({1.0, *values}) == 3
    last = whole.objective.settings()["temperature"].item()
    assert 1 < last < 21
    assert whole_run.logged_metrics["train/temperature"].item() == pytest.approx(last, abs=0.5)
    whole_run.save_checkpoint(tmp_path / "whole.ckpt")
    fresh = taught(kdlab.FitNet, learn_temperature=True)
    assert trainer(tmp_path).test(fresh, BasicMotions(seed=3), tmp_path / "whole.ckpt", False, weights_only=True)
    described = torch.load(tmp_path / "whole.ckpt", weights_only=True)["kdlab"]["objective"]["arguments"]
    assert described["learn_temperature"] is True
    assert described["temperature"] == pytest.approx(last, rel=1e-6)


def test_cached_and_live_learn_the_same(tmp_path):
    live, cached = (fit(tmp_path, {"max_epochs": 2}, cache=c, method=kdlab.KD)[1] for c in (None, TeacherCache()))
    one, other = (module.objective.adapters[NAME].logit.item() for module in (live, cached))
    assert one == pytest.approx(other, abs=1e-5)
    assert one != 1.0


def test_plain_loaders_need_no_shapes_for_it(tmp_path):
    rows = [(torch.randn(6, 32), k % 4) for k in range(16)]
    module = taught(learn_temperature=True, temperature_epochs=1)
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(module, DataLoader(rows, batch_size=8))
    assert module.objective.adapters[NAME].logit.item() != 1.0


def test_a_loop_of_ones_own_needs_no_more_than_adapt_and_advance():
    temperature = LearntTemperature(epochs=1)
    temperature.at(0)
    optimizer = torch.optim.SGD(temperature.parameters(), 0.1)
    before = temperature().item()
    temperature().backward()
    optimizer.step()
    assert temperature().item() > before  # descent of the temperature, reversed
