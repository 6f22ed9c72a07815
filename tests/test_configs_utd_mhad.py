"""The configs of utd_mhad: trained and used, or made, in one process."""

import pytest

from tests.configs import configs_of, walk

FOLDERS = ("utd_mhad",)


@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)
