"""Runs tests/test_backend.py on every backend of this machine, and times a step on each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tinykan import device
from tinykan.errors import UserError, need
from tinykan.runs.command_line import option, run

ROOT = Path(__file__).parents[1]
BACKENDS = (*(f"CPU:{name}" for name in device.CPU_RENDERERS), *device.ACCELERATORS)
FAILED = "failed"
SIZES = {"PYTHON": "3-4-1"}  # the emulator takes a second for what a CPU does in a millisecond

# The step that bench.py times.
STEP = """
import statistics, sys, time
import numpy as np
from scripts.contenders import CONTENDERS
name, widths = sys.argv[1], [int(w) for w in sys.argv[2].split("-")]
rng, batch = np.random.default_rng(0), 64 if name == "PYTHON" else 4096
x = rng.uniform(-1, 1, (batch, widths[0])).astype(np.float32)
step, *_ = CONTENDERS["tinykan spline"].build(widths, 5, x, x[:, :1], name)
times = []
for _ in range(3 + (2 if name == "PYTHON" else 10)):
    start = time.perf_counter()
    step()
    times.append(time.perf_counter() - start)
print(1000 * statistics.median(times[3:]))
"""


@dataclass
class Config:
    """Runs the tests that hold on every device on each backend that works here, and prints a
    table: tests passed, the largest difference from float64 relative to the largest number, and
    the time of a training step of a spline network."""

    only: str | None = option(None, "names of backends, separated by commas (default: all)")
    out: str | None = option(None, "file for the table, in Markdown")


def main(config: Config) -> None:
    need("pytest", extra="test", purpose="testing backends")
    wanted = config.only.split(",") if config.only else [*BACKENDS, *device.ON_REQUEST]
    lines = [
        "| backend | tests passed | largest difference | network | ms per step |",
        "|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    failed = []
    for name in dict.fromkeys(wanted):
        if not works(name):
            lines.append(f"| {name} | not available here | | | |")
        else:
            passed, ran, difference = test(name)
            network = SIZES.get(name, "32-64-64-64-1")
            time = step_time(name, network)
            lines.append(f"| {name} | {passed} of {ran} | {difference:.1e} | {network} | {time} |")
            failed += [name] if passed < ran or ran == 0 or time == FAILED else []
        print(lines[-1], flush=True)
    if config.out:
        Path(config.out).write_text("\n".join(lines) + "\n")
    if failed:
        raise UserError(f"tests or steps failed on {', '.join(failed)}")


def works(name: str) -> bool:
    """In a process of its own, for a broken driver can end it."""
    code = f"import sys; from tinykan import device; sys.exit(not device.works({name!r}))"
    return _python("-c", code).returncode == 0


def test(name: str) -> tuple[int, int, float]:
    """Tests passed and run, and the largest difference."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        arguments = ["-m", "pytest", "tests/test_backend.py", f"--junitxml={report}"]
        result = _python(*arguments, DEV=name)
        if not report.exists():
            print(result.stdout, result.stderr, file=sys.stderr)
            return 0, 0, float("nan")
        suite = ElementTree.parse(report).getroot()[0]
    if result.returncode:
        print(result.stdout, file=sys.stderr)
    ran, bad = int(suite.get("tests", 0)), ("failures", "errors", "skipped")
    found = [float(p.get("value", 0)) for p in suite.iter("property")]
    return ran - sum(int(suite.get(b, 0)) for b in bad), ran, max(found, default=float("nan"))


def step_time(name: str, network: str) -> str:
    result = _python("-c", STEP, name, network)
    return f"{float(result.stdout.split()[-1]):.1f}" if result.returncode == 0 else FAILED


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k != "DEV"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True
    )


if __name__ == "__main__":
    run(main, Config)
