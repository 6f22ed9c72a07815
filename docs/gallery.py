"""The gallery of notebooks: as the tests ran them, or as they are committed."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: where ``make test`` leaves the notebooks with their outputs
EXECUTED = ROOT / "build/notebooks"


def text_of(notebook: dict[str, Any]) -> tuple[str, str]:
    """Title and first sentences of a notebook."""
    heading, _, rest = "".join(notebook["cells"][0]["source"]).partition("\n")
    paragraph = rest.strip().split("\n\n")[0].split("\n")[0]
    return heading.lstrip("# "), paragraph


def thumbnail(notebook: dict[str, Any]) -> bytes | None:
    """The first figure among the outputs; None where the notebook was not run."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if image := output.get("data", {}).get("image/png"):
                return base64.b64decode("".join(image))
    return None


def collect(folder: Path) -> None:
    """Copy the notebooks into a folder of the site, with ``index.md`` and thumbnails."""
    folder.mkdir(parents=True, exist_ok=True)
    cards, names = [], []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        run = EXECUTED / path.name
        chosen = run if run.is_file() and run.stat().st_mtime >= path.stat().st_mtime else path
        shutil.copy2(chosen, folder / path.name)
        notebook = json.loads(chosen.read_text(encoding="utf-8"))
        heading, sentence = text_of(notebook)
        names.append(path.stem)
        card = [f":::{{grid-item-card}} {heading}", f":link: {path.stem}", ":link-type: doc"]
        if image := thumbnail(notebook):
            (folder / f"{path.stem}.png").write_bytes(image)
            card += [f":img-top: {path.stem}.png"]
        cards.append("\n".join([*card, "", sentence, ":::", ""]))
    grid = "\n".join(["::::{grid} 1 1 2 2", ":gutter: 3", "", *cards, "::::", ""])
    tree = "\n".join(["```{toctree}", ":hidden:", "", *names, "```", ""])
    text = "# Notebooks\n\nEach runs in minutes on a processor. The tests run them as they are.\n\n"
    (folder / "index.md").write_text(text + grid + "\n" + tree, encoding="utf-8")
