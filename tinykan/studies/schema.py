"""The format of a study's results.json."""

from __future__ import annotations

from typing import Any

from tinykan.errors import UserError

Number = int | float
STUDY_FIELDS: dict[str, Any] = {
    "title": str,
    "question": str,
    "notes": str,
    "protocol": str,
    "command": str,
    "study_file": str,
    "score": str,
    "lower_is_better": bool,
    "scores_shown": list,
    "baseline": dict | None,
    "target_picture": str | None,
    "cells": list,
    "planned": int,
    "seconds": Number,
}
CELL_FIELDS: dict[str, Any] = {
    "key": str,
    "arm": str,
    "phase": str,
    "tried": bool,
    "chosen": bool,
    "state": str,
    "reason": str | None,
    "attempts": int | None,
    "config": dict,
    "shape": str | None,
    "parameters": int | None,
    "scores": dict | None,
    "compile_seconds": Number | None,
    "train_seconds": Number | None,
    "curve": list | None,
    "device": str | None,
    "renderer": str | None,
    "versions": dict | None,
    "host_cores": int | None,
    "picture": str | None,
}
CONFIG_FIELDS: dict[str, Any] = {
    "lr": Number | None,  # of a final cell, until the search has ended
    "schedule": str,
    "steps": int,
    "parameters": int,
    "seed": int,
}
BASELINE_FIELDS: dict[str, Any] = {"label": str, "scores": dict}
COMPLETE_FIELDS: dict[str, Any] = {
    "shape": str,
    "parameters": int,
    "scores": dict,
    "compile_seconds": Number,
    "train_seconds": Number,
}
PHASES = ("search", "final")
STATES = ("complete", "failed", "running", "waiting")


def check(results: Any) -> None:
    """Raises UserError for anything but a study's results of format 1."""
    if not isinstance(results, dict) or results.get("format") != 1:
        found = results.get("format") if isinstance(results, dict) else type(results).__name__
        raise UserError(f"these are no study results of format 1, but {found!r}")
    _check("the study", results, STUDY_FIELDS)
    if results["baseline"]:
        _check("the baseline", results["baseline"], BASELINE_FIELDS)
    for number, cell in enumerate(results["cells"]):
        where = f"cell {number}"
        _check(where, cell, CELL_FIELDS)
        _check(f"the configuration of {where}", cell["config"], CONFIG_FIELDS)
        if cell["phase"] not in PHASES or cell["state"] not in STATES:
            raise UserError(
                f"{where} is {cell['phase']!r} and {cell['state']!r}; allowed are "
                f"{' or '.join(PHASES)}, and {', '.join(STATES)}"
            )
        if cell["state"] == "complete":
            _check(f"{where}, which is complete,", cell, COMPLETE_FIELDS)
        for point in cell.get("curve") or []:
            if not isinstance(point, list) or len(point) != 3:
                raise UserError(f"{where}: {point!r} on its curve is not [step, loss, seconds]")


def _check(where: str, table: Any, fields: dict[str, Any]) -> None:
    if not isinstance(table, dict):
        raise UserError(f"{where} is {table!r:.60}, not a table of names and values")
    for name, kind in fields.items():
        value = table.get(name)
        if not isinstance(value, kind):
            expected = getattr(kind, "__name__", str(kind))
            raise UserError(f"{where} has {name} {value!r:.60}; it must be {expected}")
