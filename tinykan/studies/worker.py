"""Runs the cells of a study, one after another, until none is left."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinykan.errors import UserError
from tinykan.networks import widths_text
from tinykan.runs.command_line import checked
from tinykan.runs.options import Options
from tinykan.runs.presets import network_for
from tinykan.runs.run import SUMMARY, Run
from tinykan.studies.queue import Queue, Record
from tinykan.studies.study import Cell, Study
from tinykan.tasks.images import to_pillow
from tinykan.tasks.prediction import Predictor
from tinykan.training import Step

POLL = 1.0  # seconds between looks at the queue while others hold what is left
UNKNOWN = Record("waiting")
# What a run's summary says that its cell's result says too.
SUMMARISED = (
    "parameters",
    "compile_seconds",
    "train_seconds",
    "device",
    "renderer",
    "machine",
    "versions",
)


def work(study: Study, queue: Queue, folder: Path, say: Callable[[str], None]) -> None:
    """Runs what is left of `study`, beside other workers; runs are kept in `folder`. Ends when no
    cell is left that is not done or failed."""
    started, steps_done, waiting = time.perf_counter(), 0, False
    while True:
        queue.revive()
        cells = known_cells(study, queue)
        states = [record.state for _, record in cells]
        left = [cell for cell, record in cells if record.state == "waiting"]
        if not left and "running" not in states:
            return
        if not left:
            if not waiting:
                say("waiting for the cells that other workers run")
            waiting = True
            time.sleep(POLL)
            continue
        waiting = False
        place = f"[{1 + sum(s in ('complete', 'failed') for s in states)}/{study.planned}]"

        def run(cell: Cell, again: bool) -> dict[str, Any]:
            nonlocal steps_done
            about = f"{place} {describe(study, cell)}"  # noqa: B023  (called in this pass)
            try:
                result = run_cell(study, cell, folder / cell.key, again=again)
            except UserError as error:
                if error.status == 1:  # not stopped by a signal
                    say(f"{about}  failed: {error}")
                raise
            steps_done += cell.config["steps"]
            steps_left = sum(c.config["steps"] for c in left if c.key != cell.key)  # noqa: B023
            minutes = (time.perf_counter() - started) / steps_done * steps_left / 60
            coming = f"  about {minutes:.0f} min left of what is known" if steps_left else ""
            say(f"{about}  {study.score} {result['score']:.5g}  {result['seconds']:.0f} s{coming}")
            return result

        queue.work(left[0], run)


def run_cell(study: Study, cell: Cell, folder: Path, *, again: bool = False) -> dict[str, Any]:
    """Trains a cell, or goes on from its checkpoint in `folder`, or takes its result from there.
    `again` forgets an earlier failure. Raises UserError if it fails."""
    begun = time.perf_counter()
    if again:
        _forget_failure(folder)
    chosen = {k: v for k, v in cell.config.items() if k != "task" and v is not None}
    options = checked(Options, {**chosen, "quiet": True, "resume": folder.exists()})
    task = study.task
    model = network_for(task, options, options.seed)
    out = Run(folder, options, task)
    if out.finished:
        if out.finished["problem"]:
            raise UserError(out.finished["problem"])
        return _result(out.finished)
    predict = Predictor(model, chunk=options.batch)  # the shapes of training: kernels are shared
    reached: dict[str, float] = {}

    def look(step: Step) -> None:
        entry = out.metrics[-1]
        if task.milestone and not reached and task.passed(predict, entry["loss"]):
            reached[task.milestone] = entry["seconds"]

    history, problem = out.train(model, look=look)
    fitted = task.fitted(predict)
    scores = {**task.scores(fitted), **reached}
    cell_only = {
        "score": scores[study.score],
        "scores": scores,
        "shape": widths_text(model.widths),
        "curve": [[m["step"], m["loss"], m["seconds"]] for m in out.metrics],
        "picture": encoded(task.picture(fitted)),
        "seconds": round(time.perf_counter() - begun, 2),
        "host_cores": os.cpu_count(),
    }
    return _result(out.finish(model, history, {**scores, "cell": cell_only}, problem))


def results(study: Study, queue: Queue, command: str) -> dict[str, Any]:
    """All that is known of the study, as the report reads it."""
    found = [_entry(cell, record) for cell, record in known_cells(study, queue)]
    # Reconstructions of one seed tell enough.
    shown = set()
    for entry in found:
        kind = (entry["arm"], entry["config"]["steps"], entry["config"]["parameters"])
        if kind in shown or entry["phase"] == "search":
            entry["picture"] = None
        elif entry.get("picture"):
            shown.add(kind)
    baseline = study.task.baseline
    return {
        "format": 1,
        "name": study.name,
        "title": study.title,
        "question": study.question,
        "notes": study.notes,
        "protocol": study.task_text,
        "command": command,
        "study_file": study.text,
        "score": study.score,
        "lower_is_better": study.lower_is_better,
        "scores_shown": list(dict.fromkeys(k for e in found for k in e.get("scores", ()))),
        "baseline": baseline and {"label": study.task.baseline_name, "scores": baseline},
        "target_picture": encoded(study.task.picture(study.task.target)),
        "cells": found,
        "planned": study.planned,
        "seconds": round(sum(entry.get("seconds", 0) for entry in found), 1),
    }


def known_cells(study: Study, queue: Queue) -> list[tuple[Cell, Record]]:
    """The cells of the study that are known by now, with what is known of them."""
    records = queue.records()
    cells = study.cells(lambda cell: _score(records.get(cell.key, UNKNOWN)))
    return [(cell, records.get(cell.key, UNKNOWN)) for cell in cells]


def describe(study: Study, cell: Cell) -> str:
    """A cell in one line: its arm and what else differs between cells."""
    config = cell.config
    told = {k: config[k] for k in ("parameters", "steps", "seed", *study.searched)}
    return f"{cell.phase} {cell.arm}: " + " ".join(f"{k}={v}" for k, v in told.items())


def encoded(picture: np.ndarray | None) -> str | None:
    """An image in [-1, 1], if there is one, as PNG in base64."""
    if picture is None:
        return None
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _result(summary: dict[str, Any]) -> dict[str, Any]:
    """What the study keeps of a finished run."""
    return {name: summary[name] for name in SUMMARISED} | summary["cell"]


def _score(record: Record) -> float | None:
    """NaN for a failure, None while it is not known."""
    if record.state == "failed":
        return math.nan
    return record.result["score"] if record.result else None


def _entry(cell: Cell, record: Record) -> dict[str, Any]:
    known = {
        "key": cell.key,
        "arm": cell.arm,
        "phase": cell.phase,
        "tried": cell.tried,
        "chosen": cell.chosen,
        "state": record.state,
        "reason": record.reason,
        "attempts": record.attempts,
        "config": cell.config,
    }
    return known | (record.result or {})


def _forget_failure(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if json.loads((folder / SUMMARY).read_text())["problem"]:
            shutil.rmtree(folder)
