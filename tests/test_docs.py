"""Every snippet of the documentation runs, in the order of its page, and prints or refuses what the page says."""

import re
from pathlib import Path

import pytest
import yaml

import kdlab
from kdlab.data import RecordingDataModule, WindowDataModule
from kdlab.types import InputError

PAGES = sorted((Path(kdlab.__file__).parents[1] / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def data_module(config):
    """What the command line makes of a page's YAML."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WindowDataModule, "data")
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # the older name
    return build(parser.parse_object(config)).data


@pytest.mark.parametrize(
    "page", [p for p in PAGES if FENCE.search(p.read_text(encoding="utf-8"))], ids=lambda page: page.stem
)
def test_snippets(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    assert blocks
    names: dict[str, object] = {}
    refused = None
    for language, code in blocks:
        if language == "text":
            assert refused is not None, f"{page.name}: a message without a refusal before it"
            assert str(refused).split() == code.split()
            refused = None
            continue
        assert refused is None, f"{page.name}: {refused}"
        if language == "python":
            try:
                exec(compile(code, f"{page.name}: {code[:40]!r}", "exec"), names)
            except InputError as error:
                refused = error
            printed = capsys.readouterr().out.splitlines()
            for said in re.findall(r"print\(.*\)  # (\[.*?\]|\d+)", code):
                assert said in printed
        else:
            assert language == "yaml", f"{page.name}: nobody runs a block of {language!r}"
            data = data_module(yaml.safe_load(code))
            assert isinstance(data, WindowDataModule)
            data.load()
    assert refused is None, f"{page.name}: {refused}"


def test_the_page_on_recordings_names_every_setting():
    import inspect

    text = (Path(kdlab.__file__).parents[1] / "docs" / "recordings.md").read_text(encoding="utf-8")
    known = set(inspect.signature(RecordingDataModule.__init__).parameters) - {"self", "common"}
    unsaid = {name for name in known if not re.search(rf"\b{name}\b", text)}
    assert unsaid <= {"resample", "units", "dataset", "missing"}
