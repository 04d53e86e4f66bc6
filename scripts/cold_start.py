"""Measures the seconds from the command to the first training step, kernel cache empty and warm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tinykan.errors import UserError
from tinykan.runs.command_line import option, run

SCRIPT = Path(__file__).with_name("fit_image.py")
IMAGE = Path(__file__).parents[1] / "images" / "camera.png"


@dataclass
class Config:
    """Measures the seconds from the command to the end of the first step of fit_image.py, in new
    processes, with an empty kernel cache and with a warm one; medians."""

    rounds: int = option(3, "runs of each kind", minimum=1)
    parameters: int = option(10_000, "number of parameters", minimum=1)
    device: str | None = option(None, "tinygrad device (default: the best one here)")


def main(config: Config) -> None:
    for name in ("tanh", "spline"):
        cold, warm = [], []
        for _ in range(config.rounds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(seconds_to_first_step(name, config, folder))
                warm.append(seconds_to_first_step(name, config, folder))
        print(f"{name:8s} cold {median(cold):5.1f} s   warm {median(warm):5.1f} s")


def seconds_to_first_step(model: str, config: Config, folder: str) -> float:
    command = [sys.executable, str(SCRIPT), str(IMAGE), "--size", "128", "--steps", "2"]
    command += ["--model", model, "--parameters", str(config.parameters), "--out", f"{folder}/out"]
    command += ["--device", config.device] if config.device else []
    environment = os.environ | {"CACHEDB": f"{folder}/cache.db"}
    metrics = Path(folder) / "out" / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    # The first line is written at the end of the first step.
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.005)
    elapsed = time.perf_counter() - start
    _, errors = process.communicate()
    if process.returncode:
        raise UserError(f"fit_image.py failed: {errors.strip()}")
    return elapsed


if __name__ == "__main__":
    run(main, Config)
