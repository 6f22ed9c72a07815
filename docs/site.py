"""The site: ``make docs``. Pages are collected and made below build/docs/source, and the HTML below build/docs/html.

python -m docs.site [--without-figures]

It needs no network, when it is built and when it is read. Every warning of Sphinx is an error, and so is a link or
anchor within the site that leads nowhere.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import build_main

from docs import gallery, links, pages, view_figures

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build/docs"
#: files of the repository that pages include or link to
COPIED = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff", "docs", "experiments", "benchmarks")
#: page -> title, text and the pages below it
SECTIONS = {
    "docs/guide.md": (
        "User guide",
        "From recordings to a student on the device, in the order in which it is used.",
        {
            "Data": ["quick_start", "new", "recordings", "devices", "data_sets", "your_own_loaders"],
            "Views": ["views", "augmentation", "protocol"],
            "Training": ["nets", "editors", "studies", "cluster", "sweeps", "gpu"],
            "On the device": ["export", "stream"],
            "Help": ["faq"],
        },
    ),
    "docs/evidence.md": (
        "Evidence",
        "Tables of studies with what they do not show, speed and memory, and the runs behind defaults.",
        {
            "Studies": ["../experiments/README", "../experiments/every_method", "../experiments/earlier_results"],
            "Speed and defaults": ["../benchmarks/README", "../benchmarks/long/*"],
        },
    ),
    "docs/project.md": (
        "Project",
        "How kdlab is built, changed and compared.",
        {"": ["architecture", "comparison", "../CONTRIBUTING", "release", "../CHANGELOG"]},
    ),
}
TOP = ["docs/guide", "docs/methods", "docs/evidence", "notebooks/index", "docs/api/index", "docs/project"]


def toctree(names: list[str], caption: str = "", *, hidden: bool = False) -> str:
    """The directive that lists pages."""
    options = [":glob:", ":maxdepth: 1", f":caption: {caption}" if caption else "", ":hidden:" if hidden else ""]
    return "\n".join(["```{toctree}", *filter(None, options), "", *names, "```", ""])


def collect(source: Path, figures: bool = True) -> None:
    """Fill the folder that Sphinx reads.

    Args:
        source: the folder; what is there from an earlier build is replaced.
        figures: whether the figures of the views are drawn, which takes some seconds.
    """
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "*.pyc"))
        else:
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, source / name)
    made = {
        name: f"# {heading}\n\n{text}\n\n" + "\n".join(toctree(names, caption) for caption, names in parts.items())
        for name, (heading, text, parts) in SECTIONS.items()
    }
    made["index.md"] = (ROOT / "README.md").read_text(encoding="utf-8") + "\n" + toctree(TOP, hidden=True)
    methods = pages.linked((ROOT / "docs/methods.md").read_text(encoding="utf-8"))
    made["docs/methods.md"] = methods + "\n" + toctree(["which", "methods/*"], hidden=True)
    images = view_figures.draw(source / "docs/views", pages.views()) if figures else {}
    sections = [pages.view_section(n, c, images.get(n)) for n, c in pages.views().items()]
    made["docs/views.md"] = (ROOT / "docs/views.md").read_text(encoding="utf-8") + "\n" + "".join(sections)
    made["docs/nets.md"] = (ROOT / "docs/nets.md").read_text(encoding="utf-8") + "\n" + pages.net_table()
    pages.written(source, made | pages.method_pages() | pages.api_pages())
    gallery.collect(source / "notebooks")


def main(words: list[str] | None = None) -> int:
    """Build the site and check its links; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.site")
    parser.add_argument("--without-figures", action="store_true")
    given = parser.parse_args(words)
    start = time.process_time()
    collect(BUILD / "source", not given.without_figures)
    options = ["-b", "html", "-W", "--keep-going", "-n", "-q", "-c", str(ROOT / "docs"), "-d", str(BUILD / "doctrees")]
    if status := build_main([*options, str(BUILD / "source"), str(BUILD / "html")]):
        return status
    broken = [*links.broken(BUILD / "html"), *links.unrendered(BUILD / "html")]
    for line in broken:
        print(line, file=sys.stderr)
    count = len(list((BUILD / "html").rglob("*.html")))
    seconds = time.process_time() - start
    print(f"{count} pages, {len(broken)} broken links, {seconds:.0f} s of processor time: build/docs/html/index.html")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
