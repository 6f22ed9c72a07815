"""What earlier versions wrote is read by this one: teachers, students, exports, interrupted fits, studies."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import kdlab
import kdlab.export
from kdlab import cli

FOLDERS = sorted((Path(__file__).parent / "files").glob("written_*"))


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def written(request, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(request.param, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def expected(written):
    return json.loads(Path("expected.json").read_text(encoding="utf-8"))


def windows():
    with np.load("data.npz") as arrays:
        return arrays["x"][:4]


@pytest.mark.parametrize("run", ["teacher", "student"])
def test_checkpoints_give_the_outputs_that_they_gave(written, expected, run):
    teacher = kdlab.Teacher(f"kept/written/{run}").load()
    logits = teacher(torch.from_numpy(windows())).logits
    torch.testing.assert_close(logits, torch.tensor(expected["outputs"][run]), rtol=1e-4, atol=1e-4)


def test_a_view_gives_the_image_that_its_teacher_was_trained_on(written, expected):
    views = {"raw": kdlab.views.Raw(), "pi": kdlab.views.PersistenceImage(size=16)}
    data = kdlab.data.ArrayDataModule(path="data.npz", batch_size=8, views=views)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    logits = kdlab.Teacher("kept/written/teacher_pi", view="pi").load()(batch.views["pi"]).logits[:4]
    torch.testing.assert_close(logits, torch.tensor(expected["pi"]), rtol=1e-4, atol=1e-4)


def test_two_teachers_teach(written, expected):
    line = cli.run(["fit", "--config", "two.yaml"])
    for name, value in expected["two"].items():
        assert float(line.trainer.callback_metrics[name]) == pytest.approx(value, rel=1e-2, abs=1e-2), name


@pytest.mark.parametrize("name", ["best.pt", "best.pt2", "best.onnx", "int8.onnx"])
def test_exports_give_the_logits_that_they_gave(written, expected, name):
    loaded = kdlab.export.load(f"kept/written/student/version_0/checkpoints/{name}")
    # an int8 net rounds differently on other processors
    tolerance = 2.0 if name.startswith("int8") else 1e-3
    torch.testing.assert_close(loaded(windows()), torch.tensor(expected["logits"][name]), rtol=1e-4, atol=tolerance)
    assert loaded.card["classes"] == ["sit", "stand", "walk"]


def test_a_student_is_tested_and_resumed(written, expected):
    words = ["--config", "student.yaml", "--ckpt_path", "kept/written/student"]
    line = cli.run(["test", *words])
    for name, value in expected["test"].items():
        assert float(line.trainer.callback_metrics[name]) == pytest.approx(value, abs=1e-4), name
    line = cli.run(["fit", *words, "--trainer.max_epochs", "3"])
    assert line.trainer.current_epoch == 3
    for name, total in expected["resumed"].items():
        assert float(line.model.net.state_dict()[name].double().sum()) == pytest.approx(total, abs=1e-2), name


def test_a_study_is_complete(written, capsys, monkeypatch):
    """No job is run again: keys are what they were, and the table is made of the rows that are there."""
    before = {path: path.stat().st_mtime_ns for path in Path("kept/written/study").rglob("result.json")}
    assert len(before) == 6
    table = Path("kept/written/study/results.csv").read_text(encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["kdlab", "study", "study.yaml", "--root", "kept"])
    cli.main()
    assert "0 jobs run, 6 were done before, 0 failed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path("kept/written/study").rglob("result.json")} == before
    assert Path("kept/written/study/results.csv").read_text(encoding="utf-8") == table
