"""Fixtures of the tests of studies."""

from __future__ import annotations

import pytest

from tests.studies.helpers import TINY
from tinykan.studies.study import Study


@pytest.fixture
def study(tmp_path):
    def make(text: str = TINY, **options) -> Study:
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return Study(path, **options)

    return make
