"""Files: whole or absent, UTF-8, and read under limits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdlab import files
from kdlab.types import InputError, MissingFileError


def test_replacing_leaves_the_old_file_where_the_new_one_fails(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
        part.write_text(f"half {1 / 0}", encoding="utf-8")
    assert files.read_json(path, "x") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_replacing_keeps_suffix_and_mode_and_takes_long_names(tmp_path):
    path = tmp_path / ("ü" * 120 + ".txt")  # 244 bytes: no room for a longer name beside it
    with files.replacing(path) as part:
        assert part.suffix == ".txt"
        assert part.parent == tmp_path
        part.write_text("ü", encoding="utf-8")
    assert path.read_bytes() == "ü".encode()
    assert path.stat().st_mode & 0o777 == 0o666 & ~files._umask()


def test_leftovers_of_a_killed_process_go_and_those_of_others_stay(tmp_path):
    text = f"from kdlab.files import replacing\nimport os\nwith replacing({str(tmp_path / 'a')!r}): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 9
    (tmp_path / f".kdlab-part-{files._host()}-{os.getpid()}-x").touch()
    (tmp_path / ".kdlab-part-00000000-999999999-x").touch()
    assert len(list(tmp_path.iterdir())) == 3
    assert files.remove_leftovers(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert files.remove_leftovers(tmp_path / "absent") == 0


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{new}: &{new} [*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old}]"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "at most 50,000 values"),
        ("a: &a [*a]", "must come after its whole anchor"),
        ("trainer: {max_epochs: 1, max_epochs: 2}", "line 1: key 'max_epochs' must stand once"),
        ("a: 1\n'a': 2", "line 2: key 'a' must stand once"),
        ("? [1, 2]\n: 3", "a key must be a word or a number"),
        ("[" * 5000, "at most 64 levels deep"),
        ("a: " + "{b: " * 70 + "1" + "}" * 70, "at most 64 levels deep"),
        ("a: [1", "not valid YAML"),
        ("a: !!python/object/apply:os.system [echo]", "not valid YAML"),
        (f"a: {'9' * 5000}", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("- 1", "must hold a mapping, but it holds a list"),
        ("a", "must hold a mapping, but it holds a str"),
        ("# nothing", "must hold a mapping, but it holds nothing"),
        (" ", "it is empty"),
    ],
)
def test_yaml_that_is_refused(tmp_path, text, reason):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        files.read_yaml(path, "--config")
    assert reason in str(error.value)
    assert str(error.value).startswith(f"--config: {str(path)!r}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PK\x03\x04\x80", b"x" * (files.MOST_YAML + 1)])
def test_files_that_are_no_yaml(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"UTF-8|at most 1 MiB"):
        files.read_yaml(path, "--config")
    with pytest.raises(MissingFileError):
        files.read_yaml(tmp_path / "none.yaml", "--config")
    with pytest.raises(InputError, match="not a file"):
        files.read_yaml(tmp_path, "--config")
    with pytest.raises(InputError, match="cannot be read"):
        files.read_yaml(tmp_path / ("n" * 300), "--config")


def test_yaml_merges_anchors_and_reads_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufeffbase: &b {lr: 1e-3, name: ü}\nrun: {<<: *b, lr: 5}\n".encode())
    assert files.read_yaml(path, "x") == {"base": {"lr": 0.001, "name": "ü"}, "run": {"lr": 5, "name": "ü"}}


def test_json_that_is_refused(tmp_path):
    path = tmp_path / "c.json"
    for text, reason in (("{", "not valid JSON"), ("[1]", "must hold an object"), ("[" * 100_000, "not valid JSON")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=reason):
            files.read_json(path, "card")


def test_plain_values():
    files.plain({"a": [1, None, {"b": "c"}, (2.0,)]}, "x")
    for value in ({"a": Path()}, [object()], {("a",): 1}, {"a": {1, 2}}):
        with pytest.raises(InputError, match="plain values"):
            files.plain(value, "x")
    deep = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InputError, match="levels"):
        files.plain(deep, "x")


def test_a_date_is_a_word():
    assert files.parse_yaml("a: 2020-01-31\nb: [2020-13-45]", "x") == {"a": "2020-01-31", "b": ["2020-13-45"]}
