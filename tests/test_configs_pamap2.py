"""The configs of pamap2, geneactiv: trained and used, or made, in one process."""

import pytest

from tests.configs import configs_of, walk

FOLDERS = ("pamap2", "geneactiv")


@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)
