"""The configs of sp_sw_har: trained and used, or made, in one process."""

import pytest

from tests.configs import configs_of, walk

FOLDERS = ("sp_sw_har",)


@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)
