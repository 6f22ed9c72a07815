"""The configs of cifar10, cinic10, tiny_imagenet, imagenet: trained and used, or made, in one process."""

import pytest

from tests.configs import configs_of, walk

FOLDERS = ("cifar10", "cinic10", "tiny_imagenet", "imagenet")


@pytest.mark.parametrize("name", configs_of(*FOLDERS))
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)
