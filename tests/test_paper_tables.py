"""Tables and figures for a paper: settings, LaTeX, means, formats, marked latencies, data frames, and hashed people."""

import csv
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from PIL import Image

import kdlab.study
from kdlab import cli
from kdlab.evaluate.plots import plot_robustness
from kdlab.figures.style import style
from kdlab.study import workers
from kdlab.study.columns import COLUMNS, USUAL
from kdlab.study.command import main
from kdlab.study.conditions import conditions
from kdlab.study.figure_files import _resize
from kdlab.study.paper import Figures, Paper
from kdlab.study.people_differences import people_difference
from kdlab.study.plan import Study
from kdlab.study.plot_people import plot_people
from kdlab.study.report import write_report
from kdlab.study.report_paper import escape_tex
from kdlab.types import InputError, MissingFileError
from tests.test_people_statistics import SALT, drawn, rows_of
from tests.test_study import plan, toy

RUNS = ("teacher", "scratch", "kd_48", "tpkd")
TITLES = {"kd_48": "Soft targets & 50 % {x}", "tpkd": "TPKD"}


def study_rows(labels=None):
    rows = []
    for i, run in enumerate(RUNS):
        stage = {"teacher": "teacher", "scratch": "scratch"}.get(run, "student")
        more = {"parameters": 60933, "latency_ms": 1.5 + i, "latency_beside": 0, "seconds": 30.0, "shared": False}
        rows += [
            {**row, "labels": labels or {}, "test_f1": row["test_accuracy"] - 0.01}
            for row in rows_of(drawn(i, shift=0.02 * i), run, stage, **more)
        ]
    return rows


def written(folder, rows=None, **options):
    options = {"name": "study", "draw": False, "baselines": ["scratch"], **options}
    return write_report(study_rows() if rows is None else rows, [], folder, **options)


# ------------------------------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": "secret"}, "people must be 'plain' or 'hashed', but got 'secret'"),
        ({"title": ["a"]}, "title must be a text of one line"),
        ({"title": " "}, "title must be a text of one line"),
        ({"scratch": {"scratch": {"config": "supervised.yaml", "title": 5}}}, "scratch: title must be a text"),
        (
            {"scratch": {"scratch": {"config": "supervised.yaml", "title": "kd"}}},
            "that of one run alone",
        ),
        ({"columns": []}, "columns: must be a list of different names"),
        ({"columns": ["runs", "runs"]}, "columns: must be a list of different names"),
        ({"columns": ["test_acuracy"]}, "unknown column 'test_acuracy'.*Did you mean 'test_accuracy'"),
        ({"columns": "runs"}, "columns: must be a list"),
        ({"figures": ["pdf"]}, "formats must be a list with png, which results.md shows, but got"),
        ({"figures": ["png", "eps"]}, "unknown format 'eps'"),
        ({"figures": ["png", "png"]}, "formats must be"),
        ({"figures": "png"}, "figures: must be a list of formats or a mapping"),
        ({"figures": {"fnt": "serif"}}, "unknown name 'fnt'.*Did you mean 'font'"),
        ({"figures": {"font": "No Such Font"}}, "font must be a family that matplotlib finds, but got 'No Such Font'"),
        ({"figures": {"font_size": 100}}, "figures: font_size must be a number from 4 to 32, but got 100"),
        ({"figures": {"width": True}}, "figures: width must be a number from 1.5 to 30, but got True"),
        ({"compare": [["kd", "scrach"]]}, "compare: unknown run 'scrach'.*Did you mean 'scratch'"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Study.read(toy(tmp_path, **changes))


def test_settings_are_read_and_change_no_job(tmp_path):
    usual = toy(tmp_path)
    before = {name: job.key for name, job in plan(usual).items()}
    assert Study.read(usual).paper.columns == USUAL
    runs = {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}, "title": "Soft targets"}}
    changed = toy(
        tmp_path,
        title="On the wrist",
        people="hashed",
        compare=[["kd", "scratch"]],
        columns=list(COLUMNS),
        figures={"formats": ["png", "svg"], "font": "serif", "font_size": 8, "width": 3.5},
        students=runs,
    )
    found = Study.read(changed).paper
    assert (found.title, found.hashed, found.compare) == ("On the wrist", True, (("kd", "scratch"),))
    assert (found.shown("kd"), found.shown("scratch")) == ("Soft targets", "scratch")
    assert found.figures.formats == ("png", "svg")
    jobs = plan(changed)
    assert {name: job.key for name, job in jobs.items()} == before
    assert {job.hashed_for for job in jobs.values()} == {"toy/study"}
    assert {job.hashed_for for job in plan(usual.parent / "study.yaml").values()} == {"toy/study"}


# --------------------------------------------------------------------------------------------------------------- LaTeX
def unescaped(text):
    """Back from LaTeX, for the comparison."""
    text = re.sub(r"\\textbf\{(.*)\}", r"\1", text)
    for tex, plain in (
        ("$-$", "-"),
        (r"$\pm$", "±"),
        ("{[}", "["),
        ("{]}", "]"),
        (r"\%", "%"),
        (r"\&", "&"),
        (r"\_", "_"),
    ):
        text = text.replace(tex, plain)
    return re.sub(r"\\([%&_{}])", r"\1", text).strip()


def tex_table(text):
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    cells = [[unescaped(cell) for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))] for line in lines]
    assert len({len(line) for line in cells}) == 1
    return [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]


def test_the_latex_table_has_the_numbers_and_the_names(tmp_path):
    columns = ("parameters", "runs", "test_accuracy", "test_f1", "over_people", "latency_ms")
    written(tmp_path, paper=Paper(titles=TITLES, columns=columns))
    text = (tmp_path / "results.tex").read_text("utf-8")
    rows = study_rows()
    lines = tex_table(text)
    assert [line["run"] for line in lines] == ["teacher", "scratch", "Soft targets & 50 % {x}", "TPKD"]
    for run, line in zip(RUNS, lines, strict=True):
        values = 100 * np.array([row["test_accuracy"] for row in rows if row["run"] == run])
        assert line["accuracy (%)"] == f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
        assert (line["runs"], line["parameters"]) == ("9", "60,933")
    known = {c.run: c.rows for c in conditions(rows)}
    found = people_difference(known["tpkd"], known["scratch"])
    assert (
        lines[3]["minus scratch, over people [95 %]"]
        == f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    )
    assert (r"\textbf{" in text.splitlines()[-3]) == found.excludes_zero
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 3, 1]
    spec = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
    assert len(spec) == len(lines[0])
    depth = 0
    for letter in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0


def test_every_special_character_is_escaped():
    special = '\\{}$&#_%~^<>|"'
    escaped = escape_tex(special)
    for letter in "$&#_%":
        assert re.search(rf"(?<!\\){re.escape(letter)}", escaped) is None
    assert escaped.count("\\text") == 7
    assert escape_tex("a  b\nc") == "a b c"


def test_a_column_that_no_row_has_is_left_out_and_a_grid_has_its_axes(tmp_path):
    rows = [*study_rows({"a_b": "16-1"}), *study_rows({"a_b": "16-3"})]
    written(
        tmp_path, rows, paper=Paper(columns=("test_accuracy", "test_ece", "published")), axes={"a_b": ["16-1", "16-3"]}
    )
    lines = tex_table((tmp_path / "results.tex").read_text("utf-8"))
    assert list(lines[0]) == ["run", "a_b", "accuracy (%)"]
    assert [line["a_b"] for line in lines] == ["16-1", "16-3"] * 4


# --------------------------------------------------------------------------------------------------------------- means
def test_means_are_numbers(tmp_path):
    written(tmp_path, paper=Paper(titles=TITLES))
    frame = kdlab.study.read(tmp_path, "means").set_index("run")
    rows = study_rows()
    for run in RUNS:
        values = np.array([row["test_accuracy"] for row in rows if row["run"] == run])
        assert frame.loc[run, "test_accuracy"] == pytest.approx(values.mean(), rel=1e-12)
        assert frame.loc[run, "test_accuracy_sd"] == pytest.approx(values.std(ddof=1), rel=1e-10)
    known = {c.run: c.rows for c in conditions(rows)}
    found = people_difference(known["tpkd"], known["scratch"])
    ends = frame.loc["tpkd", [f"minus_scratch_over_people{end}" for end in ("", "_low", "_high", "_p", "_needed")]]
    assert ends.tolist() == pytest.approx([found.mean, found.low, found.high, found.p, found.needed], rel=1e-12)
    assert np.isnan(frame.loc["scratch", "minus_scratch_over_people"])
    assert frame.loc["kd_48", "title"] == "Soft targets & 50 % {x}"


def test_every_column_can_be_chosen(tmp_path):
    written(tmp_path, paper=Paper(columns=COLUMNS), published={"tpkd": {"value": "70.7 ± 0.1", "source": "A"}})
    head = (tmp_path / "means.csv").read_text().splitlines()[0].split(",")
    assert len(set(head)) == len(head) > len(COLUMNS)
    assert "70.7" in (tmp_path / "results.tex").read_text()


def test_display_names_head_the_page_and_stand_beside_the_runs(tmp_path):
    text = written(tmp_path, paper=Paper(titles=TITLES, title="On the wrist")).read_text("utf-8")
    assert text.startswith("# On the wrist\n")
    assert "| kd_48 | Soft targets & 50 % {x} | raw |" in text
    plain = written(tmp_path).read_text("utf-8")
    assert plain.startswith("# study\n")
    assert "title" not in plain


# ------------------------------------------------------------------------------------------------------------- figures
def test_figures_come_in_all_formats_with_the_same_bytes_each_time(tmp_path):
    look = Figures(("png", "pdf", "svg"), "DejaVu Serif", 7, 4.0)
    text = written(tmp_path / "a", draw=True, paper=Paper(titles=TITLES, figures=look)).read_text("utf-8")
    written(tmp_path / "b", draw=True, paper=Paper(titles=TITLES, figures=look))
    stems = [path.stem for path in (tmp_path / "a").glob("*.png")]
    assert sorted(stems) == ["accuracy", "differences", "people"]
    for stem in stems:
        assert f"]({stem}.png)" in text
        for ending in look.formats:
            first, second = (tmp_path / folder / f"{stem}.{ending}" for folder in "ab")
            assert first.read_bytes() == second.read_bytes()
        with Image.open(tmp_path / "a" / f"{stem}.png") as image:
            assert image.size[0] == 480  # 4 inches at 120 dpi
            assert np.asarray(image.convert("L")).std() > 5
        assert b"DejaVuSerif" in (tmp_path / "a" / f"{stem}.pdf").read_bytes()
        assert "<svg" in (tmp_path / "a" / f"{stem}.svg").read_text("utf-8")


def test_figures_of_an_earlier_report_are_removed_and_files_of_others_are_not(tmp_path):
    stale = {"accuracy.pdf", "pairs.png", "pairs.svg", "embeddings.png", "reliability.png"}
    others = {"mine.png", "pairs.txt", "gain_gap.png", "axis_mine.png"}
    for name in stale | others:
        (tmp_path / name).write_bytes(b"of another")
    (tmp_path / "axis_width.svg").write_bytes(b"of an axis that the study had")
    (tmp_path / "results.md").write_text("## Width\n\n![Width](axis_width.png)\n\n![elsewhere](../axis_mine.png)\n")
    written(tmp_path, draw=True, paper=Paper(figures=Figures(("png", "svg"))))
    there = {path.name for path in tmp_path.iterdir()}
    assert not (stale | {"axis_width.svg"}) & there
    assert others <= there
    drawn = {f"{stem}.{ending}" for stem in ("accuracy", "differences", "people") for ending in ("png", "svg")}
    assert {name for name in there if name.endswith(("png", "svg", "pdf"))} - others == drawn


def test_text_has_the_size_that_is_set():
    def sizes(figures):
        figure = plot_people({"difference to scratch": {"kd": difference()}})
        _resize(figure, figures)
        figure.draw_without_rendering()
        return np.array([text.get_fontsize() for text in figure.findobj(Text) if text.get_text()])

    usual, small = sizes(Figures()), sizes(Figures(font_size=5))
    assert set(small) == {size / 2 for size in usual}


def difference():
    return people_difference(rows_of(drawn(1, shift=0.05)), rows_of(drawn(2)))


def test_panels_of_many_studies_stand_in_lines_with_rows_of_their_own():
    panels = {f"study {i}": {"kd": difference(), ("amd" if i < 3 else "tgd"): difference()} for i in range(5)}
    axes = plot_people(panels).axes
    assert [one.get_xlabel().partition("\n")[0] for one in axes] == list(panels)
    tops = [round(one.get_position().y0, 3) for one in axes]
    assert len(set(tops[:3])) == len(set(tops[3:])) == 1
    assert tops[0] > tops[3]
    shown = [[text.get_text() for text in one.get_yticklabels()] for one in (axes[0], axes[3])]
    assert shown == [["kd", "amd"], ["kd", "tgd"]]
    colours = [{tuple(dots.get_facecolor()[0]) for dots in one.findobj(PathCollection)} for one in axes]
    assert len(colours[0] & colours[3]) == 1  # kd has one colour in all of them


def test_the_figure_of_people_has_every_person_the_mean_and_the_interval():
    found = difference()
    (axes,) = plot_people({"difference to scratch": {"kd": found}}).axes
    points = axes.collections[0].get_offsets()[:, 0]
    np.testing.assert_allclose(sorted(points), sorted(100 * value for value in found.people.values()))
    (bar,) = axes.containers
    assert bar.lines[0].get_xdata()[0] == pytest.approx(100 * found.mean)
    (segment,) = bar.lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 0], [100 * found.low, 100 * found.high])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["kd"]
    few = people_difference(rows_of(drawn(1, 3, 1)), rows_of(drawn(2, 3, 1)))
    (axes,) = plot_people({"difference": {"kd": few}}).axes
    assert not axes.containers[0].has_xerr


def test_ten_rows_are_told_apart_by_colour_and_marker():
    looks = [tuple(style(i).values()) for i in range(10)]
    assert len(set(looks)) == 10
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in itertools.pairwise(looks))
    curves = {f"net{i}": {"noise": [0.9, 0.8, 0.7, 0.6]} for i in range(10)}
    (axes,) = plot_robustness(curves).axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.get_lines()}) == 10
    found = difference()
    (axes,) = plot_people({"difference": {f"row{i}": found for i in range(10)}}).axes
    shapes = {
        (tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes())
        for dots in axes.collections
        if isinstance(dots, PathCollection)
    }
    assert len(shapes) == 10


# ------------------------------------------------------------------------------------------------------------- latency
def test_a_latency_beside_other_jobs_is_marked(tmp_path):
    rows = study_rows()
    for row in rows:
        if row["run"] == "tpkd":
            row["latency_beside"] = 3
    written(tmp_path, rows)
    text = (tmp_path / "times.md").read_text("utf-8")
    marked = [line for line in text.splitlines() if "†" in line and line.startswith("|")]
    assert [line.split(" | ")[0] for line in marked] == ["| tpkd"]
    assert "† measured while the study may have run 3 other jobs" in text
    times = kdlab.study.read(tmp_path, "times")
    assert times.groupby("run")["latency_beside"].max().to_dict() == dict.fromkeys(RUNS, 0) | {"tpkd": 3}
    with (tmp_path / "results.csv").open() as file:
        assert "latency_beside" not in next(csv.reader(file))
    written(tmp_path, study_rows())
    assert "†" not in (tmp_path / "times.md").read_text("utf-8")


def test_a_worker_knows_how_many_work_beside_it():
    assert workers.beside() == 0
    with workers.pool_of(2) as pool:
        assert pool.submit(workers.beside).result() == 1


# ------------------------------------------------------------------------------------------------------------- reading
def test_tables_are_read_as_data_frames(tmp_path):
    rows = [*study_rows({"size": "1"}), *study_rows({"size": "=2"})]
    written(tmp_path, rows, axes={"size": ["1", "=2"]})
    frame = kdlab.study.read(tmp_path)
    assert len(frame) == len(rows)
    assert set(frame["size"]) == {"1", "=2"}
    assert pd.api.types.is_integer_dtype(frame["seed"])
    assert frame["fold"].tolist()[0] == "fold0"
    means = frame.groupby("run")["test_accuracy"].mean()
    assert means["tpkd"] == pytest.approx(np.mean([row["test_accuracy"] for row in rows if row["run"] == "tpkd"]))
    people = kdlab.study.read(tmp_path, "people")
    assert set(people["person"]) == {f"s{i}" for i in range(9)}
    assert (people["accuracy"] == people["correct"] / people["windows"]).all()
    assert set(kdlab.study.read(tmp_path, "classes")["class"]) == {"walk", "a|b"}


def test_names_that_look_like_numbers_or_nothing_stay_words(tmp_path):
    rows = rows_of({"": {"01": [0.5, 0.6], "nan": [0.7, 0.8]}}, run="None")
    written(tmp_path, rows)
    assert kdlab.study.read(tmp_path)["run"].tolist() == ["None", "None"]
    assert kdlab.study.read(tmp_path)["fold"].tolist() == ["", ""]
    assert set(kdlab.study.read(tmp_path, "people")["person"]) == {"01", "nan"}


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"must hold results\.csv, but has none"):
        kdlab.study.read(tmp_path)
    with pytest.raises(InputError, match="table: must be one of results, people, classes, means, times, but got 'all'"):
        kdlab.study.read(tmp_path, "all")
    (tmp_path / "results.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is damaged"):
        kdlab.study.read(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(InputError, match="is damaged"):
        kdlab.study.read(tmp_path)


# ------------------------------------------------------------------------------------------------- from study to tables
NAMES = ("Anna", "Berta", "Clara", "Dorothea", "Emilia")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of five people, each tested once, hashed in its tables."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    subject = np.repeat(NAMES, 16)
    np.savez(folder / "own.npz", x=rng.normal(size=(80, 2, 16)).astype("f4"), y=np.arange(80) % 2, subject=subject)
    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 2}}
    config = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False},
        "data": {"class_path": "ArrayDataModule", "init_args": {"path": str(folder / "own.npz"), "batch_size": 8}},
        "model": {"class_path": "Supervised", "init_args": {"net": net, "view": "raw"}},
    }
    (folder / "scratch.yaml").write_text(yaml.safe_dump(config))
    content = {"study": "toy/people", "seeds": 1, "folds": "leave_one_subject_out"}
    content |= {"figures": ["png", "svg"], "scratch": {"scratch": {"config": "scratch.yaml"}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KDLAB_SALT", SALT)
        main(["study.yaml", "--hash-people"], cli.run, cli.check)
    return folder


def tables(folder):
    kept = {}
    for path in (folder / "runs/toy/people").iterdir():
        if path.is_file() and path.name not in ("times.csv", "times.md", ".study.lock"):
            lines = (
                path.read_bytes().splitlines() if path.suffix == ".jsonl" else []
            )  # of rows, the last ones are times
            kept[path.name] = [line for line in lines if b'"kind":"times"' not in line] or path.read_bytes()
    return kept


def test_no_table_names_a_person(finished):
    kept = tables(finished)
    assert {"people.csv", "classes.csv", "results.csv", "results.md", "results.tex", "accuracy.svg"} <= kept.keys()
    assert not [name for name, content in kept.items() for person in NAMES if person.encode() in content]
    frame = kdlab.study.read(finished / "runs/toy/people", "people")
    assert frame["person"].str.fullmatch("h[0-9a-f]{12}").all()
    assert (frame["fold"] == "subject-" + frame["person"]).all()
    assert frame["windows"].tolist() == [16] * 5
    for path in finished.glob("runs/toy/people/scratch/*/result.json"):
        row = json.loads(path.read_text())
        assert row["test_subjects"] == list(row["people"])
        assert sum(row["classes"]["hits"]) / 16 == pytest.approx(row["test_accuracy"])


def test_resumed_and_earlier_rows_give_the_same_tables(finished, monkeypatch):
    monkeypatch.chdir(finished)
    monkeypatch.setenv("KDLAB_SALT", SALT)
    before = tables(finished)
    first, second, *_ = sorted(finished.glob("runs/toy/people/scratch/*/result.json"))
    first.unlink()  # it was killed before its row was written
    row = json.loads(second.read_text())
    del row["people"], row["classes"]
    row["test_subjects"] = [next(name for name in NAMES if name in str(second))]  # as earlier versions wrote it
    second.write_text(json.dumps(row))
    main(["study.yaml", "--hash-people"], cli.run, cli.check)
    assert tables(finished) == before


def test_hashes_are_refused_without_a_salt(finished, monkeypatch):
    monkeypatch.chdir(finished)
    monkeypatch.delenv("KDLAB_SALT", raising=False)
    with pytest.raises(InputError, match="people: hashes must be salted"):
        main(["study.yaml", "--hash-people", "--dry-run"], cli.run, cli.check)


def test_the_command_of_one_job_hashes_too(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    monkeypatch.setenv("KDLAB_SALT", SALT)
    main(["study.yaml", "--hash-people", "--list", "--root", "elsewhere"], cli.run, cli.check)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("--root elsewhere --hash-people") for line in lines)
