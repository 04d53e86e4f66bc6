"""The tables of a report, and the format of their numbers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from tinykan.studies.rendering import Code, Strong, Table
from tinykan.studies.results import CellResult
from tinykan.studies.statistics import (
    Condition,
    Group,
    SearchRow,
    StudyResults,
    deviation,
    finite,
    shared,
)

NONE = "–"


@dataclass(frozen=True)
class Unit:
    """The format of a score's values: scaled by a power of ten that gives the best value one digit
    before the point, unless that is between 0.1 and 1000."""

    score: str
    best: float

    @property
    def exponent(self) -> int:
        usual = self.best == 0 or 0.1 <= abs(self.best) < 1000
        return 0 if usual else math.floor(math.log10(abs(self.best)))

    @property
    def power(self) -> str:
        digits = str(self.exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"×10{digits}" if self.exponent else ""

    @property
    def name(self) -> str:
        """What a reader is shown: "seconds to 30 dB" for seconds_to_30_db."""
        return self.score.replace("_", " ").replace(" db", " dB")

    @property
    def label(self) -> str:
        return f"{self.name}, {self.power}" if self.exponent else self.name

    def show(self, value: float) -> str:
        decimals = 2 if self.exponent or abs(self.best) >= 10 else 3 if abs(self.best) >= 1 else 4
        return f"{value * 10**-self.exponent:.{decimals}f}"

    def spread(self, values: list[float], single: bool = True) -> str:
        """Mean and standard deviation; of two values the values themselves, if `single`."""
        if not values:
            return NONE
        mean = self.show(sum(values) / len(values))
        if len(values) == 1:
            return mean
        if len(values) == 2 and single:
            return f"{mean} ({', '.join(map(self.show, values))})"
        return f"{mean} ± {self.show(deviation(values) or 0.0)}"

    def full(self, values: list[float]) -> str:
        """The spread with its power of ten, for a sentence."""
        spread = self.spread(values)
        if not self.exponent:
            return spread
        return f"{spread} {self.power}" if len(values) < 2 else f"({spread}) {self.power}"


def units(study: StudyResults, ranking: list[Group]) -> list[Unit]:
    """Units of the deciding score, then of the other scores that the best arm has."""
    scores = dict.fromkeys([study.score, *study.results.scores_shown])
    return [Unit(s, ranking[0].mean(s)) for s in scores if ranking[0].values(s)]


def distance(study: StudyResults, group: Group, best: Group) -> str:
    """Distance to the best arm: a ratio of errors, or a difference where higher is better."""
    mean, least = group.mean(study.score), best.mean(study.score)
    if study.lower_is_better and least > 0:
        return f"{mean / least:.2f} ×"
    return Unit(study.score, least).show(mean - least).replace("-", "−")


def ranking_table(study: StudyResults, condition: Condition) -> Table:
    """Every arm with a final cell, the best first, with the baseline among them."""
    ranking = study.rankings[condition]
    first, *others = units(study, ranking)
    columns = ["arm", first.label, "to the best", "seeds", "network", "parameters"]
    columns += [unit.label for unit in others]
    columns += ["learning rate, schedule", "learning rates tried", "seconds"]
    rows: list[tuple[float, list[str]]] = []
    for group in ranking:
        if not group.complete:
            row: list[str] = [group.arm, NONE, NONE, _seeds(group), *[NONE] * (len(columns) - 4)]
            rows.append((math.inf, row))
            continue
        row = [
            Strong(group.arm) if group is ranking[0] else group.arm,
            first.spread(group.values(study.score)),
            _to_the_best(study, group, ranking[0]),
            _seeds(group),
            _plain(group.complete[0].shape),
            _size(group),
            *(unit.spread(group.values(unit.score), single=False) for unit in others),
            _rates(group),
            str(_tried(study, group) or NONE),
            seconds(group.seconds),
        ]
        rows.append((study.order(group.mean(study.score)), row))
    if baseline := study.results.baseline:
        scores = {u.label: finite([baseline.scores.get(u.score)]) for u in (first, *others)}
        shown = {u.label: u.spread(scores[u.label]) for u in (first, *others)}
        row = [f"{baseline.label} (baseline)", *(shown.get(c, "") for c in columns[1:])]
        place = scores[first.label]
        rows.append((study.order(place[0]) if place else math.inf, row))
    rows.sort(key=lambda item: item[0])
    order = "lowest" if study.lower_is_better else "highest"
    return Table(
        f"{condition}: {study.score}, the {order} first",
        columns,
        [row for _, row in rows],
        frozenset({"network", "learning rate, schedule"}),
    )


def search_table(study: StudyResults) -> Table:
    """The score of every learning rate tried, by arm; those chosen are bold."""
    every = [cell for row in study.search for cells in row.rates.values() for cell in cells]
    found = finite(cell.value(study.score) for cell in every)
    unit = Unit(study.score, min(found, key=study.order, default=0.0))
    rates = sorted({rate for row in study.search for rate in row.rates})
    rows: list[list[str]] = []
    for row in study.search:
        rows.append([row.name, *(_tried_score(row, rate, unit) for rate in rates)])
    steps = sorted({cell.config["steps"] for cell in every})
    seeds = sorted({cell.config["seed"] for cell in every})
    caption = (
        f"{unit.label}, after {' or '.join(f'{n:,}' for n in steps)} steps, "
        f"seed {', '.join(map(str, seeds))}; columns are learning rates, the chosen ones are bold"
    )
    return Table(caption, ["arm", *(f"{rate:g}" for rate in rates)], rows)


def failure_table(study: StudyResults) -> Table:
    rows: list[list[str]] = [
        [
            cell.arm,
            cell.phase,
            cell.reason or "unknown",
            NONE if cell.config["lr"] is None else f"{cell.config['lr']:g}",
            f"{cell.config['steps']:,}",
            str(cell.config["seed"]),
            Code(cell.key),
        ]
        for cell in study.failed
    ]
    columns = ["arm", "phase", "reason", "learning rate", "steps", "seed", "key"]
    return Table("Runs without a score", columns, rows, frozenset({"phase", "reason", "key"}))


def provenance(study: StudyResults) -> list[Table]:
    """Configuration, machine and versions of all cells: first what they share, then a row each."""
    machines = [_machine(cell) for cell in study.cells]
    common, varied = shared([cell.config for cell in study.cells])
    # Cells that have not run have no machine yet.
    common_machine, varied_machine = shared([machine for machine in machines if machine])
    facts = {**common, **common_machine}
    table = Table(
        "The same in all runs",
        ["name", "value"],
        [[name, _plain(value)] for name, value in facts.items()],
        frozenset({"value"}),
    )
    columns = ["key", "arm", "phase", "state", "attempts", "network", "actual parameters", *varied]
    columns += [study.score, "seconds", "compilation", *varied_machine]
    rows: list[list[str]] = []
    for cell, machine in zip(study.cells, machines, strict=True):
        row: list[str] = [cell.arm, cell.phase, cell.state]
        row += map(_plain, (cell.attempts, cell.shape, cell.parameters))
        row += [_plain(cell.config.get(name)) for name in varied]
        score = cell.value(study.score)
        row += [f"{score:.4g}" if finite([score]) else NONE]
        row += [
            NONE if value is None else seconds(value)
            for value in (cell.train_seconds, cell.compile_seconds)
        ]
        row += [_plain(machine.get(name)) for name in varied_machine]
        rows.append([Code(cell.key), *row])
    words = frozenset({"arm", "phase", "state", "network"})
    return [table, Table("Every run", columns, rows, words)]


def seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def search_notes(study: StudyResults) -> list[str]:
    """Limits of the search."""
    edges = [row.name for row in study.search if row.at_the_edge]
    efforts = {
        arm: sum(len(row.rates) for row in study.search if row.arm == arm) for arm in study.arms
    }
    least, most = min(efforts.values()), max(efforts.values())
    texts = []
    if edges:
        texts.append(
            f"Chosen at the edge of the learning rates tried, beyond which a better one may lie: "
            f"{'; '.join(edges)}."
        )
    if least != most:
        texts.append(f"The effort differs: an arm's search took from {least} to {most} runs.")
    return texts


def _to_the_best(study: StudyResults, group: Group, best: Group) -> str:
    standing = study.standing(group, best)
    if standing == "best":
        return Strong("best")
    mark = {"tied": " ≈", "unknown": " ?", "behind": ""}[standing]
    return distance(study, group, best) + mark


def _seeds(group: Group) -> str:
    """The number of seeds with a score, and of all seeds if some have none."""
    count, planned = len(group.complete), len(group.cells)
    return str(count) if count == planned else f"{count} of {planned}"


def _size(group: Group) -> str:
    parameters, budget, grids = group.parameters, group.condition.budget, group.complete[0].grids
    if grids:
        return f"{grids[0]['parameters']:,} to {parameters:,}"
    return f"{parameters:,} ({100 * (parameters - budget) / budget:+.1f} %)".replace("-", "−")


def _rates(group: Group) -> str:
    if not group.condition.steps:
        return NONE
    pairs = ((cell.config["lr"], cell.config["schedule"]) for cell in group.complete)
    return "; ".join(
        f"{'default' if rate is None else f'{rate:g}'}, {schedule}"
        for rate, schedule in dict.fromkeys(pairs)
    )


def _tried(study: StudyResults, group: Group) -> int:
    budget = group.condition.budget
    return sum(
        len(row.rates)
        for row in study.search
        if row.arm == group.arm and row.variant.get("parameters", budget) == budget
    )


def _tried_score(row: SearchRow, rate: float, unit: Unit) -> str:
    cells = row.rates.get(rate, [])
    scores = finite(cell.value(unit.score) for cell in cells)
    shown = unit.show(sum(scores) / len(scores)) if scores else ""
    if cells and not scores:
        shown = cells[0].state
    return Strong(shown) if rate in row.chosen else shown


def _machine(cell: CellResult) -> dict[str, Any]:
    if cell.device is None:
        return {}
    versions = {f"{name} version": version for name, version in (cell.versions or {}).items()}
    named = {"device": cell.device, "renderer": cell.renderer, "cores": cell.host_cores}
    return named | versions


def _plain(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
