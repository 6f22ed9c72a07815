"""The parts that the site is made of: pages from the code, equations, links, the gallery, and what its pages claim."""

import json
import os
import re
import shlex

import pytest

import kdlab
from docs import gallery, links, mathml, pages, references, site
from kdlab import usage
from tests.conftest import REPOSITORY

TABLE = """## A study

| run | view | test accuracy | minus scratch [95 %] | minus kd |
| --- | --- | ---: | ---: | ---: |
| kd (last epoch) | raw | 90 | **+1.0** | - |
| scratch | raw | 89 | - | |

Text, and a table of other things:

| file | size |
|---|---|
| kd | 3 |
"""


def test_rows_of_a_study_are_found():
    evidence = pages.tables(TABLE)
    assert [row["run"] for row in evidence["A study"]] == ["kd (last epoch)", "scratch"]
    assert pages.rows_of(["kd"], evidence) == [["A study", "kd (last epoch)", "90", "**+1.0**", "-"]]
    assert pages.rows_of(["k"], evidence) == []


def test_every_method_has_a_page_with_its_equation_config_and_rows():
    made = pages.method_pages()
    assert {f"docs/methods/{name}.rst" for name in pages.methods()} == set(made)
    assert {"KD", "TPKD", "Supervised", "CSKD"} <= set(pages.methods())
    tpkd = made["docs/methods/TPKD.rst"]
    assert ".. automodule:: kdlab.methods.tpkd\n\n" in tpkd
    assert ".. literalinclude:: /experiments/methods/tpkd.yaml" in tpkd
    assert "Its teachers are ``raw`` and ``pi`` unless" in tpkd
    assert "The order of a batch matters: consecutive rows" in tpkd
    assert tpkd.count("\n   * - ") >= 3  # the head and two studies at least
    assert "It compares logits alone" in made["docs/methods/KD.rst"]
    assert "It has no teacher." in made["docs/methods/CSKD.rst"]
    assert "It trains adapters" in made["docs/methods/VID.rst"]
    assert "not exported" not in made["docs/methods/KD.rst"]
    modules = [re.search(r"automodule:: (\S+)\n(?!   :no-index:)", text) for text in made.values()]
    documented = [found[1] for found in modules if found]
    assert len(documented) == len(set(documented))  # one of TF-KD's two pages documents their module


def test_costs_and_advice_name_methods():
    known = set(pages.methods())
    assert set(pages.costs()) <= known
    assert set(pages.advice()) == known  # each page says when to use its method
    said = pages.cost("AT", kdlab.AT, {"AT": {"teachers": "1", "step": "1.25", "adapters": "1200"}})
    assert "keep its logits and attention maps." in said
    assert "1.25 times" in said
    assert "1,200 parameters" in said
    assert "not measured yet" in pages.cost("KD", kdlab.KD, {})
    assert "keep its logits." in pages.cost("KD", kdlab.KD, {})
    assert "teacher" not in pages.cost("CSKD", kdlab.CSKD, {})


def test_names_of_methods_in_tables_become_links():
    text = pages.linked("`KD` of text\n| logits | `KD`, `WideResNet` |\n")
    assert text == "`KD` of text\n| logits | [`KD`](methods/KD.rst), `WideResNet` |\n"


def equations():
    for path in sorted((REPOSITORY / "kdlab").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)\.\. math::(.*?)(?=\n\s*\n|\n\1\S)", text, re.MULTILINE | re.DOTALL):
            yield path, match[2]


def test_every_equation_is_rendered():
    found = list(equations())
    assert len(found) > 100
    for path, latex in found:
        assert "merror" not in "".join(mathml.mathml(part) for part in mathml.parts(latex)), path


def test_an_unknown_command_of_an_equation_is_an_error():
    with pytest.raises(ValueError, match=r"\\nonsense"):
        mathml.mathml(r"a \nonsense b")
    assert mathml.parts(r"a \qquad {b \qquad c}") == ["a", r"{b \qquad c}"]


def test_broken_links_are_found(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "template.html").write_text('<a href="nowhere.html">x</a>', encoding="utf-8")
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">1</a><a href="b.html#not">2</a><a href="c.html">3</a>'
        '<a href="https://example.org/x">4</a><a href="#top">5</a><script src="https://cdn.example.org/m.js"></script>'
        '<img src="data:image/png;base64,">',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="there">B</p><a href="a.html">1</a>', encoding="utf-8")
    assert links.broken(tmp_path) == [
        "a.html: b.html#not has no such anchor",
        "a.html: c.html is no file",
        "a.html: https://cdn.example.org/m.js is loaded from the network",
    ]


def test_directives_that_are_shown_as_text_are_found(tmp_path):
    (tmp_path / "good.html").write_text("<p>a grid</p>")
    (tmp_path / "bad.html").write_text("<p>:::{grid-item-card} Views</p>")
    assert links.unrendered(tmp_path) == ["bad.html: a directive is shown as text"]


def test_the_gallery_takes_the_notebooks_that_the_tests_ran(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "EXECUTED", tmp_path / "run")
    gallery.collect(tmp_path / "plain")
    text = (tmp_path / "plain/index.md").read_text(encoding="utf-8")
    assert text.count("grid-item-card") == len(list((REPOSITORY / "notebooks").glob("*.ipynb"))) == 4
    assert "img-top" not in text

    path = REPOSITORY / "notebooks/01_views.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": "aGVsbG8="}}]
    run = tmp_path / "run" / path.name
    run.parent.mkdir()
    run.write_text(json.dumps(notebook), encoding="utf-8")
    gallery.collect(tmp_path / "with")
    assert (tmp_path / "with/01_views.png").read_bytes() == b"hello"
    assert ":img-top: 01_views.png" in (tmp_path / "with/index.md").read_text(encoding="utf-8")
    os.utime(run, (0, 0))  # older than the notebook, so it is of another version
    gallery.collect(tmp_path / "old")
    assert "img-top" not in (tmp_path / "old/index.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_table_of_contents():
    listed = {"methods", "which"}
    for name, (_, _, parts) in site.SECTIONS.items():
        listed |= {name.removeprefix("docs/").removesuffix(".md")} | {n for names in parts.values() for n in names}
    assert {path.stem for path in (REPOSITORY / "docs").glob("*.md")} <= listed, "add it to docs/site.py"


def test_references_are_found_under_every_name():
    assert references.imported("kdlab.Teacher") is kdlab.Teacher
    assert references.imported("kdlab.methods.teacher.Teacher") is kdlab.Teacher
    with pytest.raises(AttributeError):
        references.imported("kdlab.methods.Tutor")


def test_versions_of_code_are_links():
    lines = ["Code: owner/a-repo@893df54, HobbitLong/RepDistiller@b84f547.", "mail@example.org"]
    references.code_links(None, "class", "x", None, None, lines)
    assert lines[0].startswith("Code: `owner/a-repo@893df54 <https://github.com/owner/a-repo/tree/893df54>`__, `Hobbit")
    assert lines[1] == "mail@example.org"


def test_the_errors_of_the_page_of_questions_exist():
    """Each heading is a part of a message; literals that Python joins are joined here, too."""
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "kdlab").rglob("*.py")))
    source = re.sub(r'"\s+f?"', "", source)
    asked = re.findall(r"^## `(.*)`$", (REPOSITORY / "docs/faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(asked) >= 12
    assert not [text for text in asked if text not in source]


def commands():
    """Words of every kdlab command in the pages, without comments."""
    pages_of_text = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "README.md"]
    for page in pages_of_text:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^(?:    |\$ )?kdlab (.+)$", text, re.MULTILINE):
            for part in line.split("&&"):
                yield page.name, shlex.split(part.removeprefix("kdlab "), comments=True)


def test_commands_of_the_pages_have_known_options():
    known = {name: getattr(usage, name)() for name in ("study", "new", "tune", "evaluate", "export", "nets", "cite")}
    checked = 0
    for page, words in commands():
        if words and (parser := known.get(words[0].strip())):
            options = {word.split("=")[0] for word in words[1:] if re.match(r"--[a-z]", word) and "." not in word}
            unknown = options - set(parser._option_string_actions)
            assert not unknown, f"{page}: kdlab {' '.join(words)}"
            checked += 1
    assert checked > 20
