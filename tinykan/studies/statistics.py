"""What a study's cells say together: finals by arm and condition, their spread, who ties with the
best, and what the search for learning rates found."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinykan.studies.schema import CELL_FIELDS, check


@dataclass(frozen=True)
class Condition:
    """Under which arms are compared."""

    steps: int
    budget: int  # of learnable numbers

    def __str__(self) -> str:
        return f"{self.steps:,} steps, {self.budget:,} parameters"


@dataclass(frozen=True)
class Group:
    """The final cells of an arm under one condition: one for each seed, finished or not."""

    arm: str
    condition: Condition
    cells: list[dict]

    @cached_property
    def complete(self) -> list[dict]:
        return [cell for cell in self.cells if cell["state"] == "complete"]

    def values(self, score: str) -> list[float]:
        return finite(cell["scores"].get(score) for cell in self.complete)

    def mean(self, score: str) -> float:
        return float(np.mean(self.values(score)))

    @property
    def seconds(self) -> float:
        """Of training, without the compilation."""
        return float(np.mean([cell["train_seconds"] for cell in self.complete]))


@dataclass(frozen=True)
class SearchRow:
    """The learning rates tried with one variant of an arm: the cells of each, and the rates that
    were the best of a search."""

    arm: str
    variant: dict[str, Any]  # what else was varied in the search
    rates: dict[float, list[dict]]
    chosen: set[float]

    @property
    def name(self) -> str:
        details = ", ".join(f"{key} {value}" for key, value in self.variant.items())
        return f"{self.arm} ({details})" if details else self.arm

    @property
    def at_the_edge(self) -> bool:
        """Whether a better rate may lie beyond those tried."""
        return not self.chosen.isdisjoint({min(self.rates), max(self.rates)})


class Study:
    """The results of a study, checked and grouped. Raises UserError for any that are not of
    format 1."""

    def __init__(self, results: dict) -> None:
        check(results)
        self.results = results
        self.score: str = results["score"]
        self.lower_is_better: bool = results["lower_is_better"]
        self.cells: list[dict] = [self._judged(cell) for cell in results["cells"]]
        self.arms = list(dict.fromkeys(cell["arm"] for cell in self.cells))
        self.failed = [cell for cell in self.cells if cell["state"] == "failed"]
        self.rankings = self._rankings()
        # Without the arms that have no score, and the conditions in which none has.
        scored = {c: [g for g in ranking if g.complete] for c, ranking in self.rankings.items()}
        self.scored = {condition: ranking for condition, ranking in scored.items() if ranking}
        self.search = self._search()

    def count(self, state: str) -> int:
        return sum(cell["state"] == state for cell in self.cells)

    def better(self, value: float, other: float) -> bool:
        return value < other if self.lower_is_better else value > other

    def order(self, value: float) -> float:
        """A key that sorts the best score first."""
        return value if self.lower_is_better else -value

    def standing(self, group: Group, best: Group) -> str:
        """How far the scores of `group` are from those of `best`: "best", "tied" if the means lie
        within one pooled standard deviation, "behind", or "unknown" with one seed each."""
        if group is best:
            return "best"
        spread = pooled_deviation(group.values(self.score), best.values(self.score))
        if spread is None:
            return "unknown"
        tied = abs(group.mean(self.score) - best.mean(self.score)) <= spread
        return "tied" if tied else "behind"

    def _judged(self, cell: dict) -> dict:
        """With every field, if empty; a run that ended without a score has failed, whatever it says
        of itself."""
        cell = dict.fromkeys(CELL_FIELDS) | cell
        if cell["state"] == "complete" and not finite([cell["scores"].get(self.score)]):
            return cell | {"state": "failed", "reason": f"its {self.score} is not a finite number"}
        return cell

    def _rankings(self) -> dict[Condition, list[Group]]:
        """The longest training first; the best arm first, those without a score last."""
        groups: dict[tuple[Condition, str], list[dict]] = defaultdict(list)
        for cell in self.cells:
            if cell["phase"] == "final":
                config = cell["config"]
                groups[Condition(config["steps"], config["parameters"]), cell["arm"]].append(cell)
        rankings: dict[Condition, list[Group]] = defaultdict(list)
        for condition, arm in sorted(groups, key=lambda k: (-k[0].steps, -k[0].budget)):
            rankings[condition].append(Group(arm, condition, groups[condition, arm]))
        for ranking in rankings.values():
            ranking.sort(
                key=lambda g: self.order(g.mean(self.score)) if g.complete else math.inf,
            )
        return dict(rankings)

    def _search(self) -> list[SearchRow]:
        rows = []
        every = [cell for cell in self.cells if cell["tried"]]
        lengths = {cell["config"]["steps"] for cell in every}
        for arm in self.arms:
            tried = [cell for cell in every if cell["arm"] == arm]
            _, varied = shared([cell["config"] for cell in tried])
            varied = [key for key in varied if key not in ("lr", "seed", "steps")]
            varied += ["steps"] if len(lengths) > 1 else []
            variants: dict[str, list[dict]] = defaultdict(list)
            for cell in tried:
                variants[json.dumps([cell["config"].get(key) for key in varied])].append(cell)
            for cells in variants.values():
                variant = {key: cells[0]["config"].get(key) for key in varied}
                rates: dict[float, list[dict]] = defaultdict(list)
                for cell in cells:
                    rates[cell["config"]["lr"]].append(cell)
                chosen = {cell["config"]["lr"] for cell in cells if cell["chosen"]}
                rows.append(SearchRow(arm, variant, dict(rates), chosen))
        return rows


def finite(values: Any) -> list[float]:
    """Those that are finite numbers; JSON has null for the others."""
    return [v for v in values if isinstance(v, int | float) and math.isfinite(v)]


def deviation(values: list[float]) -> float | None:
    """The standard deviation of a sample; none of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pooled_deviation(a: list[float], b: list[float]) -> float | None:
    """The standard deviation that two samples have in common, each around its own mean; none if
    both are single values."""
    freedom = len(a) + len(b) - 2
    squares = sum(len(sample) * float(np.var(sample)) for sample in (a, b))
    return math.sqrt(squares / freedom) if freedom > 0 else None


def shared(tables: list[dict]) -> tuple[dict[str, Any], list[str]]:
    """What all tables say alike, and the keys in which they differ."""
    keys = dict.fromkeys(key for table in tables for key in table)
    alike = {
        key: tables[0][key]
        for key in keys
        if all(key in table and table[key] == tables[0][key] for table in tables)
    }
    return alike, [key for key in keys if key not in alike]
