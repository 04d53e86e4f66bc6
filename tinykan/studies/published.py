"""Published numbers in a study file, which its report has beside its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tinykan.errors import UserError
from tinykan.studies.statistics import finite


def checked_published(
    table: Mapping[str, Any], arms: Mapping[str, list[int]], scores: Collection[str], score: str
) -> dict[str, Any] | None:
    """The published numbers of a study: their `source`, which `score` they are (that of the study,
    unless they say otherwise), and the `values`, by arm and, if that is refined, by its numbers of
    intervals, which `arms` has. None for an empty table. Raises UserError for anything else."""
    if not table:
        return None
    known = {"score": score, **table}
    if other := known.keys() - {"source", "score", "values"}:
        raise UserError(f"unknown entry {min(other)!r}; it has source, score and values")
    if not isinstance(known.get("source"), str):
        raise UserError("source is missing: where the numbers stand, and how they were measured")
    if known["score"] not in scores:
        raise UserError(f"score {known['score']!r}: choose from {', '.join(scores)}")
    values = known.get("values")
    if not isinstance(values, dict) or not values:
        raise UserError("values are missing: a number for each arm, or one for each of its grids")
    for arm, value in values.items():
        if arm not in arms:
            raise UserError(f"no arm {arm!r}; choose from {', '.join(arms)}")
        by_grid = value if isinstance(value, dict) else {}
        if other := by_grid.keys() - {str(n) for n in arms[arm]}:
            raise UserError(f"{arm!r} is on no grid of {min(other)} intervals, but {arms[arm]}")
        for number in by_grid.values() if isinstance(value, dict) else [value]:
            if isinstance(number, bool) or not finite([number]):
                raise UserError(f"{arm!r}: {number!r} is not a number")
    return known
