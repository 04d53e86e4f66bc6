"""The options of a run: of its network, and of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinykan.fitting.moving_grids import GRID_UPDATES
from tinykan.fitting.optimizers import OPTIMIZERS
from tinykan.optim import SCHEDULES
from tinykan.runs.command_line import device_option, option
from tinykan.runs.presets import MODELS, ModelOptions
from tinykan.tasks.task import Task
from tinykan.training import sees_model


def refine_option() -> Any:
    """The option of scripts whose network is evaluated after its training alone."""
    return option(
        None,
        "numbers of intervals to which the splines are refined after the training, one after "
        "another, as 10,20; with each the network is trained as long again",
    )


@dataclass(kw_only=True)
class Options(ModelOptions):
    """What to train and how: the options of a script, or of a cell of a study."""

    steps: int = option(1000, "training steps of Adam", minimum=0)
    batch: int = option(4096, "points in a step; all of them if there are fewer", minimum=1)
    optimizer: str | None = option(
        None,
        "muon is orthogonalized momentum for matrices, and Adam for vectors (default: what suits "
        "the model)",
        choices=OPTIMIZERS,
    )
    lr: float | None = option(
        None, "learning rate (default: what suits the model under its optimizer)", minimum=0
    )
    schedule: str = option("cosine", "of the learning rate over the steps", choices=SCHEDULES)
    warmup: int = option(0, "first steps in which the learning rate rises", minimum=0)
    lbfgs: int = option(
        0,
        "iterations of L-BFGS after Adam's steps, all on one batch, in float64 (for equations "
        "without splines, up to 3,000 parameters: of Broyden's method with the whole matrix)",
        minimum=0,
    )
    grid_updates: int | None = option(
        None,
        "times that splines' grids are moved to their inputs in the first half of Adam's steps and "
        f"in that of L-BFGS's iterations (default: 0 and {GRID_UPDATES}; 0 for equations)",
        minimum=0,
    )
    halvings: int = option(
        0, "times to continue with half the learning rate when training diverges", minimum=0
    )
    seed: int = option(
        0, "of the weights, of random data and of the points of each step", minimum=0
    )
    device: str | None = device_option()
    devices: str | None = option(
        None, "devices that share each batch, as CUDA:0,CUDA:1 (default: one device)"
    )
    out: str | None = option(
        None,
        "folder for the results (default: one in runs, by its task, with a number if that has the "
        "results of other options)",
    )
    resume: bool = option(
        False, "continue the run of these options in that folder from its last checkpoint"
    )
    overwrite: bool = option(
        False, "start anew in that folder, whatever it holds: results of other options are lost"
    )
    checkpoint_every: str = option(
        "60s", "interval between checkpoints, in steps (500) or seconds (60s)"
    )
    quiet: bool = option(False, "print the summary only")

    @property
    def rate(self) -> float:
        """The learning rate, if need be what suits the model."""
        return MODELS[self.model].learning_rate if self.lr is None else self.lr

    @property
    def trained_by(self) -> str:
        """The optimizer, if need be what suits the model."""
        return self.optimizer or MODELS[self.model].optimizer

    def settled(self, task: Task) -> dict[str, Any]:
        """Options whose default depends on others or on the task, with the values that are used."""
        moves = self.lbfgs and not sees_model(task.loss)
        by_default = f"{GRID_UPDATES} under L-BFGS" if moves else 0
        updates = by_default if self.grid_updates is None else self.grid_updates
        return {"lr": self.rate, "optimizer": self.trained_by, "grid_updates": updates}


# What may differ between a run and its resumption.
VOLATILE = ("device", "out", "resume", "overwrite", "checkpoint_every", "quiet")
