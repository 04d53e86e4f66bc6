"""Tests, in the layout of the package: a file for each file of the core, a folder for each wing."""

import pytest

pytest.register_assert_rewrite("tests.helpers")  # failures there show their values, too
