"""A small twin of ``python -m benchmarks.long.fuzz_configs``: damaged configs end in one line, and leave nothing."""

from collections import Counter

from benchmarks.long import fuzz_configs
from benchmarks.long.mutations import KINDS
from tests.configs import EXPERIMENTS

NAMES = ("basic_motions/scratch", "basic_motions/cs_kd", "basic_motions/ddgsd", "basic_motions/tpkd")


def test_forty_damaged_configs(tmp_path, monkeypatch):
    (tmp_path / "experiments").symlink_to(EXPERIMENTS)  # BasicMotions comes with a package; other data are not needed
    monkeypatch.chdir(tmp_path)
    results = list(fuzz_configs.fuzz(NAMES, range(40), seed=1))
    faults = [f"{r.config} {r.case.kind} {r.case.what:.80}: {r.said}" for r in results if r.outcome == "fault"]
    assert not faults, "\n".join(faults)
    assert Counter(r.case.kind for r in results).most_common()[-1][1] == 40 // len(KINDS) >= 4
    assert sum(r.outcome == "refused" for r in results) > 25
    assert [p.name for p in tmp_path.iterdir()] == ["experiments"]


def test_a_fault_is_found(tmp_path, monkeypatch):
    """The judge itself: tracebacks, several lines, files left behind, and what takes too long."""
    monkeypatch.chdir(tmp_path)
    judge = fuzz_configs.run

    def ends_with(action):
        monkeypatch.setattr(fuzz_configs.cli, "main", action)
        return judge(["fit"])[:2]

    def fail():
        raise ZeroDivisionError("x")

    def spin():
        while True:
            pass

    def leave():
        (tmp_path / "runs").mkdir()
        raise SystemExit("error: a: must be b, but got c.")

    assert ends_with(fail)[0] == "fault"
    assert ends_with(lambda: exec("raise SystemExit('error: a\\nb')"))[0] == "fault"
    assert ends_with(lambda: exec("raise SystemExit(2)"))[0] == "fault"
    assert ends_with(lambda: None) == ("accepted", "")
    assert ends_with(lambda: exec("raise SystemExit('error: a')")) == ("refused", "error: a")
    monkeypatch.setattr(fuzz_configs, "LIMIT_S", 0.2)
    monkeypatch.setattr(fuzz_configs, "FIT_S", 0.1)
    assert ends_with(spin)[0] == "fault"
    monkeypatch.setattr(fuzz_configs.cli, "main", leave)
    monkeypatch.setattr(fuzz_configs, "base_config", lambda name: {"data": {"class_path": "a", "init_args": {"b": 1}}})
    (result,) = fuzz_configs.fuzz(["x"], range(1), seed=0)
    assert (result.outcome, result.said.split(",")[0]) == ("fault", "left runs behind")
