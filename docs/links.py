"""Links and anchors of built pages: each that leads within the site must lead somewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: attributes that name another file
REFERENCES = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The references and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[tuple[str, str]] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to, and its anchor."""
        given = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := given.get(key))}
        if (value := given.get(REFERENCES.get(tag, ""))) is not None:
            self.references.append((tag, value))


def broken(folder: Path) -> list[str]:
    """One line per reference that leads nowhere, and per file that a page loads from the network.

    Args:
        folder: the built site.
    """
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]  # templates of the theme
    read = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in paths}
    found = []
    for path, page in read.items():
        where = path.relative_to(folder.resolve())
        for tag, reference in page.references:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                if tag != "a" and parts.scheme != "data":
                    found.append(f"{where}: {reference} is loaded from the network")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{where}: {reference} is no file")
            elif target in read and unquote(parts.fragment) not in read[target].anchors:
                found.append(f"{where}: {reference} has no such anchor")
    return found


def unrendered(site: Path) -> list[str]:
    """Pages on which a directive is shown as text, since no extension reads it."""
    pages = [page for page in sorted(site.rglob("*.html")) if ":::{" in page.read_text(encoding="utf-8")]
    return [f"{page.relative_to(site)}: a directive is shown as text" for page in pages]
