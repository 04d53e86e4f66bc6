"""The table of a report that has the scores on each grid, beside published numbers."""

from __future__ import annotations

from statistics import median
from typing import Any

from tinykan.studies.rendering import Table
from tinykan.studies.statistics import Group, StudyResults, deviation, finite

NONE = "–"


def published_table(study: StudyResults) -> Table | None:
    """The score of every arm on each of its grids, with the published number where there is one.
    None for a study without published numbers and without refined grids."""
    published = study.results.published or {"values": {}, "score": study.score}
    score, rows = published["score"], []
    for condition, ranking in study.scored.items():
        for group in sorted(ranking, key=lambda group: study.arms.index(group.arm)):
            values = published["values"].get(group.arm)
            for on_grid in stages(group):
                intervals = on_grid[0].get("intervals")
                known = values.get(str(intervals)) if isinstance(values, dict) else values
                if known is None and intervals is None:
                    continue
                found = finite(each.get(score) for each in on_grid)
                row = [group.arm, str(condition) if len(study.scored) > 1 else ""]
                row += [NONE if intervals is None else str(intervals)]
                row += [f"{on_grid[0]['parameters']:,}", str(len(found)), scientific(found)]
                row += [f"{median(found):.2e}" if found else NONE]
                row += [NONE, NONE] if known is None else [f"{known:.2e}", _ratio(found, known)]
                rows.append(row)
    if not rows:
        return None
    columns = ["arm", "condition", "intervals", "parameters", "seeds", score]
    columns += ["median", "published", "median / published"]
    unused = {at for at in range(1, len(columns)) if {row[at] for row in rows} <= {"", NONE}}
    kept = [at for at in range(len(columns)) if at not in unused]
    return Table(
        f"{score}{' on each grid' if 2 in kept else ''}, mean and median over the seeds",
        [columns[at] for at in kept],
        [[row[at] for at in kept] for row in rows],
        frozenset({"condition"}),
    )


def stages(group: Group) -> list[list[dict[str, Any]]]:
    """The scores of a group's cells, with their numbers of `parameters` and, where the splines were
    refined, of `intervals`: one list for each grid, else a single one."""
    cells = [
        cell.grids or [{**(cell.scores or {}), "parameters": cell.parameters}]
        for cell in group.complete
    ]
    return [list(each) for each in zip(*cells, strict=False)]


def scientific(values: list[float]) -> str:
    """Mean and standard deviation: 1.23e-04 ± 4e-06."""
    if not values:
        return NONE
    spread = deviation(values)
    mean = f"{sum(values) / len(values):.2e}"
    return mean if spread is None else f"{mean} ± {spread:.0e}"


def _ratio(found: list[float], known: float) -> str:
    return f"{median(found) / known:.2g} ×" if found and known else NONE
