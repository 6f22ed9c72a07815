"""The configs of shoulder_watch and of the demo: trained and used, or made, in one process."""

import importlib.util

import pytest

from tests.configs import configs_of, walk

FOLDERS = ("shoulder_watch", "demo")


@pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason="seglearn is not installed")
@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)
