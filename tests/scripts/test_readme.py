"""The README's code prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.helpers import ROOT, assert_same_output


def test_the_library_in_ten_lines(tmp_path):
    text = (ROOT / "README.md").read_text()
    code, expected = re.search(r"```python\n(.*?)```.*?```\n(.*?)```", text, re.DOTALL).groups()
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr

    def without_value(printed: str) -> tuple[str, float]:
        """The output but for the network's value at 0.5, and that value."""
        found = re.search(r"y\(0\.5\) = (-?[\d.]+)", printed)
        assert found, printed
        return printed.replace(found[0], "y(0.5)"), float(found[1])

    (printed, y), (expected, y_expected) = map(without_value, (result.stdout, expected))
    assert_same_output(printed, expected)
    # Renderers add in different orders, and 300 steps of training make the most of it.
    assert abs(y - y_expected) < 0.02
