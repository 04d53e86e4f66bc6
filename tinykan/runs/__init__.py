"""Runs: one training on disk. Command lines and their options, models and tasks by name, widths for
a number of parameters, the run's folder with its metrics, checkpoints and summary, interruption and
resumption, several devices, figures (tinykan.runs.figures, which needs matplotlib)."""

from tinykan.runs.options import Options
from tinykan.runs.presets import MODELS, ModelOptions, build, network_for, task_from
from tinykan.runs.run import Run
from tinykan.runs.widths import widths_for

__all__ = [
    "MODELS",
    "ModelOptions",
    "Options",
    "Run",
    "build",
    "network_for",
    "task_from",
    "widths_for",
]
