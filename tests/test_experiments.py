"""The configs are short and all tested, the notebooks and the README's script run."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.configs import CONFIGS, EXPERIMENTS
from tests.conftest import PATIENCE, REPOSITORY


def test_every_config_is_walked():
    files = [importlib.import_module(f"tests.{path.stem}") for path in Path(__file__).parent.glob("test_configs_*.py")]
    walked = [folder for file in files for folder in file.FOLDERS]
    assert sorted(walked) == sorted({name.split("/")[0] for name in CONFIGS})
    assert len(CONFIGS) >= 29


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_configs_are_short(path):
    assert len(path.read_text().splitlines()) <= 35


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()


def test_the_readme_script_runs_as_printed(tmp_path):
    text = (REPOSITORY / "README.md").read_text()
    script = re.search(r"<!-- readme-script.*?-->\n```python\n(.*?)```", text, re.S)[1]
    assert len(script.splitlines()) <= 40
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    accuracy = float(re.search(r"\[\{'test/accuracy': ([\d.]+)", ran.stdout)[1])
    assert accuracy > 0.6  # three classes: it has learnt something


def test_every_name_in_the_readme_exists():
    text = (REPOSITORY / "README.md").read_text()
    for name in re.findall(r"experiments/[\w/]+\.(?:yaml|md)", text):
        assert (REPOSITORY / name).is_file(), name
