"""One training run of a study, with its options and the key by which its result is found again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from tinykan.runs.command_line import checked
from tinykan.runs.models import MODELS
from tinykan.runs.options import Options, refine_option
from tinykan.runs.presets import network_for
from tinykan.runs.stages import grids_from, intervals_of
from tinykan.tasks.benchmarks import FORMER_NAMES
from tinykan.tasks.task import Task

# Of what code computes in a cell: raised by whoever changes the scores that studies get, by another
# initialization, optimizer or score. Cells of other versions are left alone, and not reported.
RESULTS_VERSION = 2


@dataclass(kw_only=True)
class CellOptions(Options):
    """The options of a cell."""

    refine: str | None = refine_option()


# Keys hash the names that options had when the first studies ran, so that databases and folders of
# earlier runs stay valid: by option, the present name and the one that is hashed.
HASHED_NAMES = {
    "task": {name: former for former, name in FORMER_NAMES.items()},
    "encoding": {"octaves": "seed"},
}
# Without L-BFGS, grids do not move by default, and the first models are trained with Adam, as they
# were when the first studies ran.
HASHED_DEFAULTS = {option.name: option.default for option in fields(CellOptions)}
HASHED_DEFAULTS |= {"grid_updates": 0, "optimizer": "adam"}


@dataclass(frozen=True)
class Cell:
    """One run: its arm, its phase, and all its options."""

    arm: str
    phase: str  # "search" or "final"
    config: dict[str, Any]
    data: str  # the digest of the task's data
    # Its role in a search; a reported cell may have one, too.
    tried: bool = field(default=False, compare=False)
    chosen: bool = field(default=False, compare=False)
    version: int = RESULTS_VERSION  # 1 before there were versions

    @cached_property
    def key(self) -> str:
        """A hash of the configuration, the data and the version of the code's results. The arm's
        name does not count, nor do options at their defaults, so that new options leave the keys of
        old cells as they are."""
        config = dict(self.config)
        if config.get("grid_updates") is None and not config.get("lbfgs"):
            config["grid_updates"] = 0
        model = MODELS[config.get("model", HASHED_DEFAULTS["model"])]
        config["optimizer"] = config.get("optimizer") or model.optimizer
        given = {
            name: HASHED_NAMES.get(name, {}).get(value, value)
            for name, value in config.items()
            if name == "task" or value != HASHED_DEFAULTS[name]
        }
        hashed = [given, self.data, *([self.version] if self.version > 1 else [])]
        text = json.dumps(hashed, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def steps(self) -> int:
        """Those of Adam and the iterations of L-BFGS, on all grids."""
        refine = self.config.get("refine")
        grids = 1 + len(refine.split(",")) if refine else 1
        return grids * (self.config["steps"] + self.config.get("lbfgs", 0))


def intervals(task: Task, cell: Cell) -> list[int]:
    """The intervals of the splines on each grid of a cell, none unless it is refined."""
    given = {k: v for k, v in cell.config.items() if k != "task" and v is not None}
    options = checked(CellOptions, given)
    if options.refine is None:
        return []
    model = network_for(task, options, options.seed)
    return [intervals_of(model), *grids_from(options.refine, model)]
