"""A small twin of ``benchmarks/long/compare_versions.py``: what counts as a difference, and records of a few things."""

import copy
import json

import pytest

from benchmarks.long import compare_versions
from benchmarks.long.versions import configs, differences, fits, signatures, terms
from tests.configs import EXPERIMENTS

ROOT = EXPERIMENTS.parent
RECORD = {
    "configs": {
        "set/afd": {"model": {"class": "AFD", "student": {"class": "Net", "depth": 16}, "taps": ["stage1"]}, "seed": 0},
        "set/kd": {"model": {"class": "KD", "kd_weight": 0.9, "cache": None}, "seed": 0},
    },
    "signatures": {
        "methods.AFD": {"arguments": {"width": {"default": "128", "type": "int", "kind": "keyword"}}},
        "objective.WeighedTeachers": {"arguments": {}},
        "kdlab.data": "module",
    },
    "terms": {
        "AFDObjective": {"1-D": {"terms": {"ce": 0.1, "attention": 2.0}}, "2-D": "refused"},
        "KDObjective": {"1-D": {"terms": {"ce": 1.0}, "gradient": {"digest": "ab", "norm": 3.0}}},
    },
    "fits": {"AFD": {"epochs": [{"train/ce": 1.0}]}, "KD": {"epochs": [{"train/ce": 1.0}, {"train/ce": 0.5}]}},
}


def place(record, path):
    for key in path[:-1]:
        record = record[key]
    return record, path[-1]


def changed(*path, to):
    record = copy.deepcopy(RECORD)
    inner, key = place(record, path)
    inner[key] = to
    return record


def found(after, ignore=()):
    return [(d.part, d.name, d.path, d.before, d.after, d.kind) for d in differences.compare(RECORD, after, ignore)]


def status(after, capsys, ignore=()):
    code = compare_versions.report(RECORD, after, ignore)
    return code, capsys.readouterr().out


def test_a_record_is_like_itself(capsys):
    code, out = status(copy.deepcopy(RECORD), capsys)
    assert code == 0
    assert out.splitlines() == [
        f"{part}: {len(RECORD[part])} and {len(RECORD[part])} records: no difference" for part in RECORD
    ]


CHANGES = {
    "value": (("configs", "set/kd", "model", "kd_weight"), 0.8, "model.kd_weight", "difference"),
    "value near": (("configs", "set/kd", "model", "kd_weight"), 0.9 + 1e-9, "model.kd_weight", "difference"),
    "class": (("configs", "set/kd", "model", "class"), "DKD", "model.class", "difference"),
    "new argument": (("configs", "set/kd", "model", "warm"), 3, "model.warm", "difference"),
    "false is not 0": (("configs", "set/kd", "seed"), False, "seed", "difference"),
    "list": (("configs", "set/afd", "model", "taps"), ["stage2"], "model.taps.0", "difference"),
    "longer list": (("configs", "set/afd", "model", "taps"), [], "model.taps", "difference"),
    "default": (
        ("signatures", "methods.AFD", "arguments", "width", "default"),
        "64",
        "arguments.width.default",
        "difference",
    ),
    "kind": (("signatures", "methods.AFD", "arguments", "width", "kind"), "positional", "arguments.width.kind", "note"),
    "new class": (("signatures", "methods.NKD"), {"arguments": {}}, "", "note"),
    "term": (("terms", "KDObjective", "1-D", "terms", "ce"), 1.01, "1-D.terms.ce", "difference"),
    "rounding": (("terms", "KDObjective", "1-D", "terms", "ce"), 1 + 1e-8, "1-D.terms.ce", "close"),
    "digest": (("terms", "KDObjective", "1-D", "gradient", "digest"), "cd", "1-D.gradient.digest", "close"),
    "accepted": (("terms", "AFDObjective", "2-D"), {"terms": {}}, "2-D", "difference"),
    "failed case": (("terms", "AFDObjective", "2-D"), {"failed": "TypeError: x"}, "2-D", "failed"),
    "epoch": (("fits", "KD", "epochs", 1, "train/ce"), 0.6, "epochs.1.train/ce", "difference"),
    "term gone": (("fits", "KD", "epochs", 1), {"train/kd": 0.5}, "epochs.1.train/ce", "difference"),
    "not a number": (("fits", "KD", "epochs", 1, "train/ce"), float("nan"), "epochs.1.train/ce", "difference"),
    "failed": (("fits", "KD"), {"failed": "InputError: x"}, "", "failed"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_every_change_is_found(case, capsys):
    path, to, where, kind = CHANGES[case]
    after = changed(*path, to=to)
    assert (path[0], path[1], where, kind) in [(part, name, at, how) for part, name, at, _, _, how in found(after)]
    code, out = status(after, capsys)
    assert code == (kind in ("difference", "failed"))
    assert f"1 {kind}" in out or f"2 {kind}" in out


def test_what_is_gone_is_a_difference(capsys):
    for part in RECORD:
        after = copy.deepcopy(RECORD)
        name = next(iter(after[part]))
        del after[part][name]
        code, out = status(after, capsys)
        assert code == 1
        assert "-> (absent)" in out
    assert status({part: RECORD[part] for part in ("configs", "terms")}, capsys)[0] == 1


def test_failures_of_both_sides_count(capsys):
    both = {"fits": {"KD": {"failed": "InputError: x"}}}
    assert compare_versions.report(both, copy.deepcopy(both)) == 1
    assert "before: InputError: x; after: InputError: x" in capsys.readouterr().out


def test_announced_changes_do_not_count(capsys):
    after = changed("configs", "set/afd", "model", "ce_weight", to=1.0)
    after["signatures"]["methods.AFD"]["arguments"]["ce_weight"] = {
        "default": "1.0",
        "type": "float",
        "kind": "keyword",
    }
    after["terms"]["AFDObjective"]["1-D"]["terms"]["ce"] = 1.0
    after["fits"]["AFD"]["epochs"][0]["train/ce"] = 10.0
    assert [kind for *_, kind in found(after)] == ["difference"] * 4
    assert [kind for *_, kind in found(after, ["AFD.ce_weight"])] == ["announced"] * 2 + ["difference"] * 2
    assert [kind for *_, kind in found(after, ["AFD"])] == ["difference"] * 2 + ["announced"] * 2
    assert [kind for *_, kind in found(after, ["KD", "KD.*", "AFDS.*"])] == ["difference"] * 4
    for ignore in (["AFD.ce_weight", "AFD"], ["AFDObjective.*", "AFD"]):
        assert [kind for *_, kind in found(after, ignore)] == ["announced"] * 4
        code, out = status(after, capsys, ignore)
        assert code == 0
        assert "configs    announced  set/afd: model.ce_weight: (absent) -> 1.0" in out
    for path in (("fits", "KD", "epochs", 0, "train/ce"), ("configs", "set/afd", "model", "student", "depth")):
        inner, key = place(after, path)
        inner[key], kept = 10, inner[key]
        assert status(after, capsys, ["AFD.ce_weight", "AFD"])[0] == 1
        inner[key] = kept


def test_renamed_classes_are_the_same():
    after = copy.deepcopy(RECORD)
    after["signatures"]["objective.WeightedTeachers"] = after["signatures"].pop("objective.WeighedTeachers")
    assert not found(after)


def test_the_command_compares_files(tmp_path, capsys):
    files = {"before": RECORD, "after": changed("fits", "KD", "epochs", 1, "train/ce", to=0.6)}
    for name, record in files.items():
        (tmp_path / name).write_text(json.dumps(record))
    folder = ["--folder", str(tmp_path / "records")]
    assert compare_versions.main([*[str(tmp_path / name) for name in files], *folder]) == 1
    assert "KD: epochs.1.train/ce: 0.5 -> 0.6" in capsys.readouterr().out
    assert compare_versions.main([*[str(tmp_path / name) for name in files], *folder, "--parts", "terms"]) == 0
    with pytest.raises(SystemExit):
        compare_versions.main([str(tmp_path / "before")])
    with pytest.raises(SystemExit, match=r"gone is neither a checkout.*nor a record"):
        compare_versions.main([str(tmp_path / "before"), str(tmp_path / "gone"), *folder])


# ------------------------------------------------------------------------------------------------------------- records
def test_configs_are_recorded(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = configs.record(ROOT, ["basic_motions/eskd", "basic_motions/eskd+behind+debug", "basic_motions/gone"])
    model, debug, gone = (found[name] for name in found)
    assert (model["model"]["class"], model["data"]["class"]) == ("ESKD", "BasicMotions")
    assert model["model"]["teachers"]["raw"]["class"] == "Teacher"
    assert {"depth", "width"} < set(model["model"]["student"])
    assert debug["model"] == model["model"]
    assert debug["trainer"] != model["trainer"]
    assert "methods/gone.yaml" in gone["failed"]
    assert len(configs.runs_of(ROOT)) > 40


def test_runs_of_an_earlier_version_are_composed(tmp_path, monkeypatch):
    (tmp_path / "experiments/set").mkdir(parents=True)
    (tmp_path / "experiments/set/data.yaml").write_text("data: {}")
    (tmp_path / "experiments/set/own.yaml").write_text("run: set/own")
    (tmp_path / "experiments/set/including.yaml").write_text("run: set/including\ninclude: [data.yaml]")

    def composed(name):
        words = configs.words_of(tmp_path, name, later=True)
        return [word.removeprefix("experiments/").removesuffix(".yaml") for word in words if word != "--config"]

    assert composed("set/own") == ["set/data", "set/own"]
    assert composed("set/including") == ["set/including"]
    monkeypatch.setattr(
        configs, "COMPOSED", {"set/own": ["x?", "set/data", "--a={run}"], "*/*": ["{set}/net", "m/{run}"]}
    )
    assert composed("set/own") == ["set/data", "--a=own"]
    assert composed("set/gone") == ["set/net", "m/gone"]


def test_signatures_are_recorded():
    recorded = signatures.record()
    temperature = {"default": "4.0", "type": "float", "kind": "keyword"}
    assert recorded["KD"]["arguments"]["temperature"] == temperature
    assert recorded["methods.KD"] == recorded["KD"]
    assert {"optimizer", "student_view", "cache"} < set(recorded["KD"]["arguments"])
    assert {"batch_size", "val_fraction", "views"} < set(recorded["data.BasicMotions"]["arguments"])
    assert recorded["KD"]["arguments"]["student"] == {"default": "required", "type": "Backbone", "kind": "positional"}
    assert recorded["functional"] == "module"
    assert not [name for name, value in recorded.items() if "failed" in value]
    assert json.loads(json.dumps(recorded)) == recorded
    asked = ["methods.base.Method", "methods.base.Gone", "nowhere.Gone", "KD"]
    assert set(signatures.record(asked)) == {*recorded, "methods.base.Method"}


def test_terms_are_recorded():
    first, second = (terms.record(["ATObjective", "SimKDObjective", "CRDObjective"]) for _ in range(2))
    assert first == second
    assert list(first) == ["ATObjective", "CRDObjective", "SimKDObjective"]
    at = first["ATObjective"]["2-D, 2 teachers, indices"]
    assert set(at["terms"]) == {"ce", "kd", "attention"}
    assert at["gradients"]["stage1"]["norm"] > 0
    assert first["ATObjective"]["1-D, 2 teachers, indices"]["terms"] != at["terms"]
    assert first["SimKDObjective"]["1-D, 2 teachers, indices"] == "refused"
    assert first["CRDObjective"]["with an index"]["remembers"]
    assert not [case for cases in first.values() for case in cases.values() if "failed" in case]


def test_a_fit_is_recorded(tmp_path, monkeypatch):
    assert {"KD", "SAKDNTeacher", "Supervised", "AnnealingKD"} < set(fits.methods())
    monkeypatch.setattr(fits, "EPOCHS", 1)
    found = fits.record(tmp_path, ["ESKD", "CSKD", "Gone"])
    assert found["ESKD"]["steps"] == 4
    assert {"train/ce", "train/kd", "val/accuracy"} < set(found["ESKD"]["epochs"][0])
    assert any(key.startswith("net.") for key in found["ESKD"]["state_dict"])
    assert all(measure["norm"] >= 0 for measure in found["CSKD"]["weights"].values())
    assert found["CSKD"]["test"].keys() == {"test/loss", "test/accuracy", "test/f1"}
    assert "AttributeError" in found["Gone"]["failed"]
