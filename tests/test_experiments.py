"""The configs are short and all tested, the notebooks and the README's script run."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from kdlab import cli
from tests.configs import COMPOSED, CONFIGS, EXPERIMENTS, METHODS, RUNS, TRAINED, arguments_of, files_of
from tests.conftest import PATIENCE, REPOSITORY


def test_every_config_is_walked():
    files = [importlib.import_module(f"tests.{path.stem}") for path in Path(__file__).parent.glob("test_configs_*.py")]
    walked = [folder for file in files for folder in file.FOLDERS]
    assert sorted(walked) == sorted({name.split("/")[0] for name in CONFIGS})
    assert len(CONFIGS) >= 100


def includes(name):
    if name in COMPOSED:
        return []
    value = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text()).get("include", [])
    return [value] if isinstance(value, str) else value


def test_every_method_is_trained_on_basic_motions_and_the_others_on_their_data_set():
    others = set(METHODS)
    for name in CONFIGS:
        folder, _, run = name.partition("/")
        if folder == "basic_motions":
            included = [Path(file).stem for file in [*files_of(name), *includes(name)] if "methods/" in file]
            assert included == [run] or run not in METHODS, name
            others -= set(included)
    assert others == {"sakdn"}
    for folder in ("sp_sw_har", "utd_mhad"):
        assert "../methods/sakdn.yaml" in includes(f"{folder}/sakdn")
        assert {"sakdn", "teacher_fusion"} <= set(TRAINED[folder])


def test_what_is_trained_exists_and_shows_each_data_set():
    named = {f"{folder}/{run}" for folder, runs in TRAINED.items() for run in runs}
    assert named <= set(RUNS)
    assert {"basic_motions", *TRAINED} == {name.split("/")[0] for name in RUNS}
    for folder, runs in TRAINED.items():
        assert any("teachers" in arguments_of(f"{folder}/{run}") for run in runs), folder


def is_of_studies(path):
    """A study, what studies include, or settings that kdlab tune wrote."""
    return bool({"study", "students", "tune", "tuned"} & set(yaml.safe_load(path.read_text())))


def test_every_part_is_included():
    """Of the files in the folders of data sets each is a run, a study, or what runs include or are stacked on."""
    included = {(EXPERIMENTS / name).parent / file for name in RUNS for file in includes(name)}
    included |= {EXPERIMENTS / file for name in CONFIGS for file in files_of(name)}
    included = {path.resolve() for path in included}
    parts = [p for p in EXPERIMENTS.rglob("*.yaml") if p.parent.name != "base" and not is_of_studies(p)]
    assert not [path for path in parts if path.resolve() not in included]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_configs_are_short(path):
    text = path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("# yaml-language-server:")]
    assert len(lines) <= 35 or text.startswith("# Written by kdlab tune")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path, tmp_path):
    """It runs; where KDLAB_NOTEBOOKS names a folder, its outputs are kept there for the site."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    if folder := os.environ.get("KDLAB_NOTEBOOKS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, path.name).write_text(nbformat.writes(notebook).replace(str(tmp_path), "."), encoding="utf-8")


def test_the_readme_script_runs_as_printed(tmp_path):
    text = (REPOSITORY / "README.md").read_text()
    script = re.search(r"<!-- readme-script.*?-->\n```python\n(.*?)```", text, re.S)[1]
    assert len(script.splitlines()) <= 40
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    accuracy = float(re.search(r"\[\{'test/accuracy': ([\d.]+)", ran.stdout)[1])
    assert accuracy > 0.6  # three classes: it has learnt something


def test_the_readme_is_short_and_its_run_is_read(tmp_path):
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    (tmp_path / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    cli.check(["fit", f"--config={tmp_path / 'mine.yaml'}"])


PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES += [REPOSITORY / "benchmarks/README.md", REPOSITORY / "experiments/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text()
    for name in re.findall(r"experiments/[\w/]+\.(?:yaml|md)", text):
        assert (REPOSITORY / name).is_file(), name
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
