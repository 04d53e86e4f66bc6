"""The examples in docstrings give what they say they give."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import tinykan

MODULES = [
    module.name
    for module in pkgutil.walk_packages(tinykan.__path__, "tinykan.")
    if ">>>" in Path(importlib.util.find_spec(module.name).origin).read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
