"""One training run on disk: its configuration, its measurements, its model and its summary."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinykan import checkpoint, device
from tinykan.errors import UserError
from tinykan.networks import Network, parameter_count
from tinykan.training import DivergenceError, History, Sampler, fit

PACKAGES = ("tinykan", "tinygrad", "numpy", "pillow")


class Run:
    """A folder with `config.json`, `metrics.jsonl`, `model.safetensors` and `summary.json`.

    Made before the training starts, so that a folder that cannot be written is known at once.
    `config` is a dataclass; the files of an earlier run there are replaced.
    """

    def __init__(self, folder: str | Path, config: Any) -> None:
        self.folder, self.config = Path(folder), {k: _plain(v) for k, v in asdict(config).items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write_json("config.json", self.config)
            self._metrics = (self.folder / "metrics.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror or error}") from None

    def train(
        self,
        model: Network,
        sample: Sampler,
        *,
        on_log: Callable[[int], None] | None = None,
        **options: Any,
    ) -> tuple[History, str | None]:
        """`fit` with its measurements written down; and what went wrong, if the run diverged, in
        which case the model holds its last good weights. The model is saved either way."""
        history, failure = History(), None

        def log(step: int, seen: History) -> None:
            nonlocal history
            history = seen
            entry = {
                "step": step,
                "loss": seen.losses[-1],
                "seconds": round(seen.seconds[-1], 4),
                "outside": seen.outside,
            }
            self._metrics.write(json.dumps(entry) + "\n")
            self._metrics.flush()
            if on_log:
                on_log(step)

        try:
            history = fit(model, sample, on_log=log, **options)
        except DivergenceError as error:
            failure = str(error)
        checkpoint.save(model, self.folder / "model.safetensors")
        return history, failure

    def finish(self, model: Network, history: History, scores: dict[str, float]) -> dict[str, Any]:
        """Writes `summary.json` and returns it."""
        self._metrics.close()
        summary = {
            **scores,
            "parameters": parameter_count(model),
            "steps": history.steps[-1] if history.steps else 0,
            "compile_seconds": round(history.compile_seconds, 3),
            "train_seconds": round(history.train_seconds, 3),
            "first_step_seconds": round(history.first_step_seconds, 3),
            **device.describe(),
            "versions": versions(),
            "seed": self.config.get("seed"),
            "config": self.config,
        }
        self.write_json("summary.json", summary)
        return summary

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({k: _finite(v) for k, v in content.items()}, indent=2)
        (self.folder / name).write_text(text + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Python's and the packages' versions, for the record."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def summary_line(summary: dict[str, Any], names: tuple[str, ...], folder: Path) -> str:
    """The last line of a script: the scores, the size, the time, and where the files are."""
    scores = "  ".join(f"{name} {summary[name]:.4g}" for name in names)
    return (
        f"{scores}  parameters {summary['parameters']}  steps {summary['steps']}  "
        f"compile {summary['compile_seconds']:.1f} s  train {summary['train_seconds']:.1f} s  "
        f"in {folder}"
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _finite(value: Any) -> Any:
    """JSON has no infinity: a perfect PSNR becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
