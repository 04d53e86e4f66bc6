"""Statistics of a study: final runs grouped by arm and condition, means and deviations over seeds,
ties with the best arm, and the search for learning rates."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tinykan.studies.results import CellResult, Results


@dataclass(frozen=True)
class Condition:
    """The training length and parameter budget under which arms are compared."""

    steps: int
    budget: int  # of parameters, before any refinement
    lbfgs: int = 0  # iterations, after the steps

    def __str__(self) -> str:
        lengths = {"steps": self.steps, "iterations of L-BFGS": self.lbfgs}
        length = " and ".join(f"{number:,} {unit}" for unit, number in lengths.items() if number)
        return f"{length or '0 steps'}, {self.budget:,} parameters"


@dataclass(frozen=True)
class Group:
    """The final cells of an arm under one condition: one for each seed, complete or not."""

    arm: str
    condition: Condition
    cells: list[CellResult]

    @cached_property
    def complete(self) -> list[CellResult]:
        return [cell for cell in self.cells if cell.state == "complete"]

    def values(self, score: str) -> list[float]:
        return finite(cell.value(score) for cell in self.complete)

    def mean(self, score: str) -> float:
        return float(np.mean(self.values(score)))

    @property
    def seconds(self) -> float:
        """Mean training time, without compilation."""
        return float(np.mean(finite(cell.train_seconds for cell in self.complete)))

    @property
    def parameters(self) -> int:
        return self.complete[0].parameters or 0


@dataclass(frozen=True)
class SearchRow:
    """The learning rates tried with one variant of an arm: the cells of each rate, and the rates
    that won a search."""

    arm: str
    variant: dict[str, Any]  # the other options that the search varied
    rates: dict[float, list[CellResult]]
    chosen: set[float]

    @property
    def name(self) -> str:
        details = ", ".join(f"{key} {value}" for key, value in self.variant.items())
        return f"{self.arm} ({details})" if details else self.arm

    @property
    def at_the_edge(self) -> bool:
        """Whether a better rate may lie beyond those tried."""
        return not self.chosen.isdisjoint({min(self.rates), max(self.rates)})


class StudyResults:
    """The results of a study, grouped by arm and condition."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.score = results.score
        self.lower_is_better = results.lower_is_better
        self.cells = [self._judged(cell) for cell in results.cells]
        self.arms = list(dict.fromkeys(cell.arm for cell in self.cells))
        self.failed = [cell for cell in self.cells if cell.state == "failed"]
        self.rankings = self._rankings()
        # Without arms that have no score, and conditions in which no arm has one.
        scored = {c: [g for g in ranking if g.complete] for c, ranking in self.rankings.items()}
        self.scored = {condition: ranking for condition, ranking in scored.items() if ranking}
        self.search = self._search()

    def count(self, state: str) -> int:
        return sum(cell.state == state for cell in self.cells)

    def better(self, value: float, other: float) -> bool:
        return value < other if self.lower_is_better else value > other

    def order(self, value: float) -> float:
        """A key that sorts the best score first."""
        return value if self.lower_is_better else -value

    def standing(self, group: Group, best: Group) -> str:
        """The scores of `group` relative to those of `best`: "best", "tied" if the means lie within
        one pooled standard deviation, "behind", or "unknown" with one seed each."""
        if group is best:
            return "best"
        spread = pooled_deviation(group.values(self.score), best.values(self.score))
        if spread is None:
            return "unknown"
        tied = abs(group.mean(self.score) - best.mean(self.score)) <= spread
        return "tied" if tied else "behind"

    def _judged(self, cell: CellResult) -> CellResult:
        """A complete run without a finite score counts as failed."""
        if cell.state == "complete" and not finite([cell.value(self.score)]):
            reason = f"its {self.score} is not a finite number"
            return replace(cell, state="failed", reason=reason)
        return cell

    def _rankings(self) -> dict[Condition, list[Group]]:
        """By condition, the longest training first; in each the best arm first, arms without a
        score last."""
        groups: dict[tuple[Condition, str], list[CellResult]] = defaultdict(list)
        for cell in self.cells:
            if cell.phase == "final":
                config = cell.config
                lengths = config["steps"], config["parameters"], config.get("lbfgs") or 0
                condition = Condition(*lengths)
                groups[condition, cell.arm].append(cell)
        rankings: dict[Condition, list[Group]] = defaultdict(list)
        for condition, arm in sorted(
            groups, key=lambda k: (-k[0].steps, -k[0].lbfgs, -k[0].budget)
        ):
            rankings[condition].append(Group(arm, condition, groups[condition, arm]))
        for ranking in rankings.values():
            ranking.sort(
                key=lambda g: self.order(g.mean(self.score)) if g.complete else math.inf,
            )
        return dict(rankings)

    def _search(self) -> list[SearchRow]:
        rows = []
        every = [cell for cell in self.cells if cell.tried]
        lengths = {cell.config["steps"] for cell in every}
        for arm in self.arms:
            tried = [cell for cell in every if cell.arm == arm]
            _, varied = shared([cell.config for cell in tried])
            varied = [key for key in varied if key not in ("lr", "seed", "steps")]
            varied += ["steps"] if len(lengths) > 1 else []
            variants: dict[str, list[CellResult]] = defaultdict(list)
            for cell in tried:
                variants[json.dumps([cell.config.get(key) for key in varied])].append(cell)
            for cells in variants.values():
                variant = {key: cells[0].config.get(key) for key in varied}
                rates: dict[float, list[CellResult]] = defaultdict(list)
                for cell in cells:
                    rates[cell.config["lr"]].append(cell)
                chosen = {cell.config["lr"] for cell in cells if cell.chosen}
                rows.append(SearchRow(arm, variant, dict(rates), chosen))
        return rows


def finite(values: Any) -> list[float]:
    """The finite numbers among `values`; JSON writes the others as null."""
    return [v for v in values if isinstance(v, int | float) and math.isfinite(v)]


def deviation(values: list[float]) -> float | None:
    """Sample standard deviation (n - 1), or None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pooled_deviation(a: list[float], b: list[float]) -> float | None:
    """Pooled standard deviation of two samples, or None if both are single values."""
    freedom = len(a) + len(b) - 2
    squares = sum(len(sample) * float(np.var(sample)) for sample in (a, b))
    return math.sqrt(squares / freedom) if freedom > 0 else None


def shared(tables: list[dict]) -> tuple[dict[str, Any], list[str]]:
    """The entries that all tables share, and the keys in which they differ."""
    keys = dict.fromkeys(key for table in tables for key in table)
    alike = {
        key: tables[0][key]
        for key in keys
        if all(key in table and table[key] == tables[0][key] for table in tables)
    }
    return alike, [key for key in keys if key not in alike]
