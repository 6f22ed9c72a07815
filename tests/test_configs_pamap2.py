"""The configs of pamap2, geneactiv: each through fit, test and predict, in one process."""

import pytest

from tests.configs import configs_of, fit_test_predict

FOLDERS = ("pamap2", "geneactiv")


@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    fit_test_predict(name)
