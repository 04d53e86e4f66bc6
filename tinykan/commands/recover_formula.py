"""Searches for the formula behind data."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinykan import checkpoint, device
from tinykan.errors import UserError
from tinykan.runs import devices
from tinykan.runs.command_line import device_option, option
from tinykan.runs.folder import Wanted
from tinykan.runs.pictures import drawing
from tinykan.runs.records import machine, versions
from tinykan.tasks.tables import read_table
from tinykan.tasks.target_functions import TARGET_FUNCTIONS
from tinykan.tasks.task import FunctionTask

NEW = {"samples", "target", "time_limit"}  # in a summary's configuration, not of earlier versions
NOT_RECORDED = {"function", "data", "target", "quiet"}  # the first three are where they are used


@dataclass(kw_only=True)
class Config:
    """Searches for the formula behind data: trains a sparse KAN, prunes it, replaces its edges by
    functions, and fits their parameters; of the formulas, the simplest is given that is as good as
    any on a fifth of the rows, held out. Exits with status 1 if the network is better there."""

    function: str = option("exp_sin", "the target function to sample", choices=TARGET_FUNCTIONS)
    data: str | None = option(
        None,
        "instead of a function: a file of numbers in columns (CSV), the target in the last one",
    )
    target: str | None = option(None, "with --data: the target's column (default: the last)")
    hidden: int = option(5, "hidden nodes to start with", minimum=1)
    digits: int = option(
        3, "significant digits of the formula's numbers; more where its error needs them", minimum=1
    )
    seed: int = option(
        0, "of the weights, of random data, and of the rows that are held out", minimum=0
    )
    time_limit: float | None = option(
        None, "seconds after which the search ends with the best formula so far", minimum=1
    )
    quiet: bool = option(False, "print the result alone (without a terminal: always)")
    out: str | None = option(
        None,
        "folder for the results (default: in runs, by the function or file, with a number if that "
        "has the results of other options)",
    )
    overwrite: bool = option(
        False, "write into that folder, whatever it holds: results of other options are lost"
    )
    device: str | None = device_option()


def main(config: Config) -> None:
    from tinykan.interpret.recovery import recover  # here, where a missing extra is one line

    diagrams = drawing("tinykan.interpret.diagram")
    device.select(config.device)
    devices.announce()
    x, y, names, source = samples(config)
    settings = {k: v for k, v in vars(config).items() if k not in NOT_RECORDED}
    record = {
        **source,
        **settings,
        "inputs": names,
        "samples": hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
        "device": device.describe()["device"],
    }
    name = Path(config.data).stem if config.data else config.function
    wanted = Wanted(config.out, f"runs/{name}-formula", config.overwrite)
    folder = wanted.folder("summary.json", lambda summary: is_same(summary.get("config"), record))
    record["out"] = str(folder)
    terminal = sys.stderr.isatty() and not config.quiet
    found = recover(
        x,
        y,
        hidden=config.hidden,
        seed=config.seed,
        input_names=names,
        digits=config.digits,
        time_limit=config.time_limit,
        log=progress if terminal else lambda line: None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("trained", "reduced", "symbolic"):
        network = getattr(found, name)
        checkpoint.save(network, folder / f"{name}.safetensors")
        if diagrams:
            inputs = (x - found.input_shift) / found.input_scale
            diagrams.save_diagram(network, inputs, folder / f"{name}.png", input_names=names)
    summary = {
        "formula": [str(expression) for expression in found.formula],
        "mse": found.loss,
        "mse_of_each": found.errors,
        "networks": {
            "input_shift": found.input_shift.tolist(),
            "input_scale": found.input_scale.tolist(),
            "target_shift": found.target_shift.tolist(),
            "target_scale": found.target_scale.tolist(),
        },
        "exact": found.exact,
        "fits": found.fits,
        "network_mse": found.network_errors,
        "held_out": np.flatnonzero(found.held_out).tolist(),
        "tables": [
            [
                {"complexity": r.complexity, "mse": r.error, "formula": str(r.expression)}
                for r in rows
            ]
            for rows in found.tables
        ],
        "config": record,
        **machine(),
        "versions": versions(),
    }
    checkpoint.write_atomically(
        folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode()
    )
    for output, errors in enumerate(found.network_errors):
        print(f"{found.table(output)}\n    splines  {errors:14.3e}")
    print(f"{'; '.join(map(str, found.formula))}  mse {found.loss:.1e}  in {folder}")
    if not found.fits:
        raise UserError(
            "on the rows held out the spline network is better than this formula: more hidden "
            "nodes or data may tell more"
        )


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def is_same(earlier: Any, record: dict[str, Any]) -> bool:
    """Whether a summary's configuration is of the same options and data; files of earlier versions
    have no digest of the samples."""
    known = earlier if isinstance(earlier, dict) else {}
    left_out = {"device", "inputs", "out", "overwrite", *(NEW - set(known))}
    return all(known.get(name) == record[name] for name in set(record) - left_out)


Samples = tuple[np.ndarray, np.ndarray, list[str], dict[str, str]]


def samples(config: Config) -> Samples:
    """Inputs, targets, names of the inputs, and the options that say where they are from."""
    if config.data:
        return from_file(config.data, config.target)
    if config.target:
        raise UserError("--target names a column of a file: give --data, too")
    return from_function(config)


def from_file(path: str, target: str | None = None) -> Samples:
    table = read_table(path, target)
    return table.x, table.y, table.inputs, {"data": path, "target": table.target}


def from_function(config: Config) -> Samples:
    """Inputs in the function's own units, and targets."""
    task = FunctionTask(config.function, config.seed)
    inputs, targets = task.data
    names = [f"x{n + 1}" for n in range(task.in_features)]
    x = task.function.to_box(inputs).astype(np.float32)
    return x, targets, names, {"function": config.function}
