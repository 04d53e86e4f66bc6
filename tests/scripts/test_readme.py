"""The README's code prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.helpers import ROOT, assert_same_output

TEXT = (ROOT / "README.md").read_text()


def printed_by(code: str, folder) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_estimators(tmp_path):
    code = re.search(r"## Tables.*?```python\n(.*?)```", TEXT, re.DOTALL)[1]
    # Renderers differ in rounding, which may decide about 2 of the 178 rows.
    assert abs(float(printed_by(code, tmp_path)) - float(code.split("# ")[-1])) < 0.02


def test_the_library_in_ten_lines(tmp_path):
    code, expected = re.search(r"```python\n(.*?)```.*?```\n(.*?)```", TEXT, re.DOTALL).groups()

    def without_value(printed: str) -> tuple[str, float]:
        """The output but for the network's value at 0.5, and that value."""
        found = re.search(r"y\(0\.5\) = (-?[\d.]+)", printed)
        assert found, printed
        return printed.replace(found[0], "y(0.5)"), float(found[1])

    (printed, y), (expected, y_expected) = map(
        without_value, (printed_by(code, tmp_path), expected)
    )
    assert_same_output(printed, expected)
    # Renderers add in different orders, and 300 steps of training make the most of it.
    assert abs(y - y_expected) < 0.02


def test_validation(tmp_path):
    code = next(c for c in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "split" in c)
    assert printed_by(code, tmp_path) == "True (80, 1)\n"
    assert (tmp_path / "model.safetensors").exists()
