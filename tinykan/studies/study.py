"""A study file in TOML, and the training runs it asks for.

title = "..."                  # and question, notes: texts for the report
task = "image-256"             # by name, or as in "ImageTask('cat.png', size=128)"

[fixed]                        # options of every run
parameters = 66_000            # a list, here and below, is a factor: all its values are run

[search]                       # run for every arm first; the best settings are used in the final
lr = [1e-3, 3e-3, 1e-2]        # or {low = 1e-4, high = 1e-2, log = true} and draws = 8
steps = 500                    # default: as many as in the final
seed = 0

[[final]]                      # the runs that are reported
steps = 2000
seed = [0, 1, 2]
arms = ["tanh"]                # default: all arms
search = {lr = [1e-4, 3e-4]}   # default: the search above

[arms.tanh]                    # an arm of the comparison, with its options
model = "tanh"

[published]                    # numbers that the report has beside its own
source = "..."                 # where they stand, and how they were measured
score = "rmse"                 # default: that of the study
values = {tanh = 0.012}        # by arm; if that is refined, by intervals: {5 = 0.1, 10 = 0.02}
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinykan.errors import UserError
from tinykan.runs.command_line import checked
from tinykan.runs.options import VOLATILE
from tinykan.runs.presets import task_from
from tinykan.studies.cell import Cell, CellOptions, intervals
from tinykan.studies.published import checked_published
from tinykan.tasks.task import Task

HIGHER_IS_BETTER = ("psnr", "ssim")
TEXTS = ("title", "question", "notes", "task", "score")
TABLES = (*TEXTS, "fixed", "search", "final", "arms", "published")


@dataclass(frozen=True)
class Reported:
    """One run to be reported: its options, except those that the best of `candidates` supplies."""

    arm: str
    options: dict[str, Any]
    candidates: list[Cell]
    searched: list[str]  # options that the search chooses


class Study:
    """The study in the file `path`. `steps`, if given, limits every run, to try out the study.

    Raises UserError for an invalid study, before anything runs.
    """

    def __init__(self, path: Path, steps: int | None = None) -> None:
        self.path, self.most_steps = path, steps
        try:
            self.text = path.read_text()
            content = tomllib.loads(self.text)
        except FileNotFoundError:
            raise UserError(f"{path}: no such study") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{path}: not a readable study ({error})") from None
        for name in content:
            if name not in TABLES:
                raise UserError(
                    f"{path}: unknown entry {name!r} of the study; choose from {', '.join(TABLES)}"
                )
        self.name = path.stem + (f"-{steps}-steps" if steps else "")
        self.title = str(content.get("title", self.name))
        self.question, self.notes = (str(content.get(k, "")).strip() for k in ("question", "notes"))
        task_text = content.get("task")
        if not isinstance(task_text, str):
            raise UserError(f'{path}: task is missing, as in task = "image-256"')
        self.task_text: str = task_text
        self.task: Task = task_from(self.task_text)
        self.score = content.get("score", self.task.score)
        scores = self.task.scores(self.task.target)
        if self.score not in scores:
            raise UserError(f"{path}: score {self.score!r}: choose from {', '.join(scores)}")
        arms = self._table(content, "arms")
        if not arms or not all(isinstance(options, dict) for options in arms.values()):
            raise UserError(f"{path}: no arms; each is a table, as in [arms.tanh]")
        finals = content.get("final", [{}])
        if not isinstance(finals, list) or not finals:
            raise UserError(f"{path}: final is a list of tables: [[final]]")
        settings = list(self._arm_settings(self._table(content, "fixed"), arms))
        search = self._table(content, "search")
        # All cells are made once, so that invalid options are reported before training.
        self._finals = [
            list(self._reported({"search": search, **final}, arms, settings)) for final in finals
        ]
        self.searched = list(
            dict.fromkeys(n for final in self._finals for run in final for n in run.searched)
        )
        cells = self.cells(lambda cell: 1.0)
        self.planned = len(cells)
        self.published = self._published(self._table(content, "published"), cells, list(scores))

    @property
    def lower_is_better(self) -> bool:
        return self.score not in HIGHER_IS_BETTER

    def cells(self, score_of: Callable[[Cell], float | None]) -> list[Cell]:
        """The cells of the searches, and the final cells of all arms whose search has ended.
        `score_of` returns a cell's score: NaN if it failed, None while it is unknown."""
        cells: dict[str, Cell] = {}
        for final in self._finals:
            for run in final:
                for candidate in run.candidates:
                    cells.setdefault(candidate.key, candidate)
            for run in final:
                best = self._best(run.candidates, score_of)
                if run.candidates and not best:
                    continue
                options = dict(run.options)
                if best:
                    cells[best.key] = replace(cells[best.key], chosen=True)
                    options |= {name: best.config[name] for name in run.searched}
                cell = self._cell(run.arm, "final", options)
                earlier = cells.setdefault(cell.key, cell)  # shared by all finals that need it
                if earlier.phase == "search":
                    cells[cell.key] = replace(earlier, phase="final")
        return list(cells.values())

    def _best(self, cells: list[Cell], score_of: Callable[[Cell], float | None]) -> Cell | None:
        """The cell with the best score, once all are known; None if all failed."""
        scores = [score_of(cell) for cell in cells]
        if None in scores:
            return None
        sign = 1 if self.lower_is_better else -1
        known = [
            (sign * score, i)
            for i, score in enumerate(scores)
            if score is not None and math.isfinite(score)
        ]
        return cells[min(known)[1]] if known else None

    def _reported(
        self, final: dict[str, Any], arms: dict[str, dict], settings: list[tuple[str, str, dict]]
    ) -> Iterator[Reported]:
        """The runs of one `[[final]]`."""
        for name in final.get("arms", ()):
            if name not in arms:
                raise UserError(
                    f"{self.path}: final names arm {name!r}; choose from {', '.join(arms)}"
                )
        search = self._table(final, "search")
        factors = {k: v for k, v in final.items() if k not in ("arms", "search")}
        # One seed of every arm before the next, so that half a study is a comparison already.
        for reported in expand(factors, "final"):
            for arm, name, options in settings:
                if name not in final.get("arms", [name]):
                    continue
                complete = {**options, **reported}
                searched = [k for k in search if k not in ("steps", "seed", "draws", *reported)]
                candidates = [
                    self._cell(arm, "search", {**complete, "seed": 0, **tried}, tried=True)
                    for tried in (expand(search, "search") if searched else [])  # the same draws
                ]
                self._cell(arm, "final", complete)
                yield Reported(arm, complete, candidates, searched)

    def _arm_settings(
        self, fixed: dict[str, Any], arms: dict[str, dict]
    ) -> Iterator[tuple[str, str, dict]]:
        """Label, name and options of every arm with each combination of its factors."""
        for name, options in arms.items():
            table = {**fixed, **options}
            factors = [k for k, v in table.items() if isinstance(v, (list, dict))]
            for settings in expand(table, name):
                differing = [f"{k} {settings[k]}" for k in factors if k != "parameters"]
                yield ", ".join([name, *differing]), name, settings

    def _cell(self, arm: str, phase: str, options: dict[str, Any], *, tried: bool = False) -> Cell:
        try:
            complete = asdict(checked(CellOptions, options))
        except UserError as error:
            raise UserError(f"{self.path}: {arm}: {error}") from None
        if self.most_steps:
            for name in ("steps", "lbfgs"):
                complete[name] = min(complete[name], self.most_steps)
        config = {k: v for k, v in complete.items() if k not in VOLATILE}
        return Cell(arm, phase, {"task": self.task_text, **config}, self.task.digest, tried)

    def _published(
        self, table: dict[str, Any], cells: list[Cell], scores: list[str]
    ) -> dict[str, Any] | None:
        arms = {cell.arm: intervals(self.task, cell) for cell in cells}
        try:
            return checked_published(table, arms, scores, self.score)
        except UserError as error:
            raise UserError(f"{self.path}: published: {error}") from None

    def _table(self, content: dict[str, Any], name: str) -> dict[str, Any]:
        table = content.get(name, {})
        if not isinstance(table, dict):
            raise UserError(f"{self.path}: {name} is a table: [{name}]")
        return table


def expand(table: dict[str, Any], seed: str) -> list[dict[str, Any]]:
    """All combinations of the values of `table`'s lists, or, if it has `draws`, that many random
    ones, in which ranges `{low, high}` are allowed. Equal `seed`s give equal draws."""
    draws = table.get("draws")
    if draws is None:
        for name, value in table.items():
            if isinstance(value, dict):
                raise UserError(f"{name} is a range: say how many to draw, as in draws = 8")
        lists = [v if isinstance(v, list) else [v] for v in table.values()]
        return [dict(zip(table, values, strict=True)) for values in itertools.product(*lists)]
    rng = np.random.default_rng(list(seed.encode()))
    factors = {name: value for name, value in table.items() if name != "draws"}
    return [{name: _draw(name, v, rng) for name, v in factors.items()} for _ in range(draws)]


def _draw(name: str, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, list):
        return value[rng.integers(len(value))]
    if not isinstance(value, dict):
        return value
    try:
        low, high, logarithmic = _range(**value)
    except (TypeError, ValueError):
        raise UserError(
            f"{name}: a range is {{low = 1e-4, high = 1e-2, log = true}}, not {value}"
        ) from None
    drawn = rng.uniform(low, high)
    if logarithmic:
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
    whole = isinstance(low, int) and isinstance(high, int)
    return round(drawn) if whole else float(f"{drawn:.4g}")


def _range(low: float, high: float, log: bool = False) -> tuple[float, float, bool]:
    if not low < high or (log and low <= 0):
        raise ValueError
    return low, high, log
