"""The notebooks run in a fresh kernel and a folder of their own, and print what they have printed
when their output was committed."""

from __future__ import annotations

import base64
import sys

import pytest

from scripts import notebooks
from tests.helpers import assert_same_output

LARGEST = 100_000  # bytes of a picture


@pytest.fixture(autouse=True)
def no_kernel_in_this_process():
    """Running a notebook imports ipykernel, by which training knows that it may show its bar."""
    yield
    sys.modules.pop("ipykernel", None)


@pytest.mark.long
@pytest.mark.parametrize("name", notebooks.NOTEBOOKS)
def test_the_output_in_the_notebook(name):
    fresh, committed = notebooks.execute(name), notebooks.read(name)
    assert_same_output(notebooks.printed(fresh), notebooks.printed(committed))


@pytest.mark.parametrize("name", notebooks.NOTEBOOKS)
def test_the_committed_output_is_whole_and_small(name):
    cells = [cell for cell in notebooks.read(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell.outputs]
    assert not any(out.get("name") == "stderr" for out in outputs)
    pictures = [
        base64.b64decode(out["data"]["image/png"])
        for out in outputs
        if "image/png" in out.get("data", {})
    ]
    assert pictures and all(len(picture) < LARGEST for picture in pictures)


def test_a_cell_that_fails_is_one_line(tmp_path, monkeypatch, script):
    nbformat = pytest.importorskip("nbformat")
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setitem(notebooks.NOTEBOOKS, "broken", path)
    with pytest.raises(notebooks.UserError, match=r"^broken: ZeroDivisionError: division by zero$"):
        notebooks.execute("broken")
    result = script("notebooks.py", "brokn")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "unknown notebook 'brokn'" in result.stderr and "from_pykan" in result.stderr
