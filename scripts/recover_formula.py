"""Searches for the formula behind data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykan import checkpoint, device
from tinykan.errors import UserError
from tinykan.runs.command_line import device_option, option, run
from tinykan.runs.pictures import drawing
from tinykan.runs.run import versions
from tinykan.tasks.tables import read_table
from tinykan.tasks.target_functions import TARGET_FUNCTIONS
from tinykan.tasks.task import FunctionTask


@dataclass(kw_only=True)
class Config:
    """Searches for the formula behind data: trains a sparse KAN, prunes it, replaces its edges by
    functions, and fits their parameters. Exits with status 1 if the formula found is not exact."""

    function: str = option("exp_sin", "the target function to sample", choices=TARGET_FUNCTIONS)
    data: str | None = option(
        None,
        "instead of a function: a file of numbers in columns (CSV), the target in the last one",
    )
    target: str | None = option(None, "with --data: the target's column (default: the last)")
    hidden: int = option(5, "hidden nodes to start with", minimum=1)
    digits: int = option(3, "decimals of the formula's numbers", minimum=0)
    seed: int = option(0, "of the weights and of random data", minimum=0)
    out: str | None = option(None, "folder for the results (default: in runs, by the function)")
    device: str | None = device_option()


def main(config: Config) -> None:
    from tinykan.interpret.recovery import recover  # here, where a missing extra is one line

    diagrams = drawing("tinykan.interpret.diagram")
    device.select(config.device)
    print(device.summary())
    x, y, names = from_file(config.data, config.target) if config.data else from_function(config)
    found = recover(
        x,
        y,
        hidden=config.hidden,
        seed=config.seed,
        input_names=names,
        digits=config.digits,
        log=lambda line: print(line, flush=True),
    )
    folder = Path(
        config.out or f"runs/{Path(config.data).stem if config.data else config.function}-formula"
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("trained", "reduced", "symbolic"):
        network = getattr(found, name)
        checkpoint.save(network, folder / f"{name}.safetensors")
        if diagrams:
            diagrams.save_diagram(network, x, folder / f"{name}.png", input_names=names)
    summary = {
        "formula": [str(expression) for expression in found.formula],
        "mse": found.loss,
        "exact": found.exact,
        "config": vars(config),
        **device.describe(),
        "versions": versions(),
    }
    checkpoint.write_atomically(
        folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode()
    )
    print(f"{'; '.join(map(str, found.formula))}  mse {found.loss:.1e}  in {folder}")
    if not found.exact:
        raise UserError(
            "this formula fits, but not exactly: more hidden nodes or data may tell more"
        )


def from_function(config: Config) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Inputs in the function's own units, and targets."""
    task = FunctionTask(config.function, config.seed)
    inputs, targets = task.data
    names = [f"x{n + 1}" for n in range(task.in_features)]
    return task.function.to_box(inputs).astype(np.float32), targets, names


def from_file(path: str, target: str | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Inputs, targets and names of the inputs."""
    table = read_table(path, target)
    return table.x, table.y, table.inputs


if __name__ == "__main__":
    run(main, Config)
