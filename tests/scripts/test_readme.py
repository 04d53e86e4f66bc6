"""The README's code prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.helpers import ROOT


def test_the_library_in_ten_lines(tmp_path):
    text = (ROOT / "README.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```.*?```\n(.*?)```", text, re.DOTALL).groups()
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr
    *structure, last = result.stdout.splitlines()
    *expected, last_expected = printed.splitlines()
    assert structure == expected

    def numbers(line: str) -> list[float]:
        return [float(n) for n in re.findall(r"[\d.]+e-\d+|\d+\.\d+", line)]

    # Renderers add in different orders, and 300 steps of training make the most of it.
    (loss, _, y), (loss_expected, _, y_expected) = numbers(last), numbers(last_expected)
    assert 0.5 * loss_expected < loss < 2 * loss_expected and abs(y - y_expected) < 0.02
