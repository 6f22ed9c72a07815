"""``python -m versions PART --out FILE``: record one part of the kdlab that ``PYTHONPATH`` names first."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("configs", "signatures", "terms", "fits"))
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--asked", type=Path, help="JSON list: names that an earlier version has")
    words = parser.parse_args()
    import torch

    import kdlab

    if words.checkout.resolve() not in Path(kdlab.__file__).resolve().parents:
        sys.exit(f"error: kdlab was imported from {kdlab.__file__}, not from {words.checkout}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    asked = json.loads(words.asked.read_text()) if words.asked else None
    words.out.write_text(json.dumps(record(words.part, words.checkout, asked), indent=1), encoding="utf-8")


def record(part: str, checkout: Path, asked: list[str] | None) -> dict[str, Any]:
    if part == "configs":
        from . import configs

        os.chdir(checkout)
        return configs.record(checkout, asked)
    if part == "signatures":
        from . import signatures

        return signatures.record(asked)
    if part == "terms":
        from . import terms

        return terms.record()
    from . import fits

    with tempfile.TemporaryDirectory() as folder:
        return fits.record(Path(folder))


main()
