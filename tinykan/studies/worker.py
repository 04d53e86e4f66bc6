"""A worker, which runs the cells of a study until none is left, and the results of all workers."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinykan.errors import UserError
from tinykan.networks import parameter_count
from tinykan.runs.command_line import checked
from tinykan.runs.presets import network_for
from tinykan.runs.run import SUMMARY, Run
from tinykan.runs.stages import grids_from, intervals_of
from tinykan.runs.widths import widths_text
from tinykan.studies.cell import RESULTS_VERSION, Cell, CellOptions
from tinykan.studies.queue import Queue, Record
from tinykan.studies.results import Baseline, CellResult, Results, cell_from, lossless
from tinykan.studies.study import Study
from tinykan.tasks.images import to_pillow
from tinykan.tasks.prediction import Predictor
from tinykan.training import Step

POLL = 1.0  # seconds between queries while other workers run what is left
UNKNOWN = Record("waiting")
# Entries of a run's summary that its cell's result repeats.
SUMMARIZED = (
    "parameters",
    "compile_seconds",
    "train_seconds",
    "device",
    "renderer",
    "machine",
    "threads",
    "versions",
)


def work(study: Study, queue: Queue, folder: Path, say: Callable[[str], None]) -> None:
    """Runs the cells of `study` concurrently with other workers, each in a subfolder of `folder`.
    Returns when all cells are complete or failed. `say` receives the progress in lines."""
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
                say("waiting for cells of other workers")
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
            steps_done += cell.steps
            steps_left = sum(c.steps for c in left if c.key != cell.key)  # noqa: B023
            minutes = (time.perf_counter() - started) / steps_done * steps_left / 60
            coming = f"  about {minutes:.0f} min left for the known cells" if steps_left else ""
            say(f"{about}  {study.score} {result['score']:.5g}  {result['seconds']:.0f} s{coming}")
            return result

        queue.work(left[0], run)


def run_cell(study: Study, cell: Cell, folder: Path, *, again: bool = False) -> dict[str, Any]:
    """Trains a cell, resumes it from the checkpoint in `folder`, or returns the result found there.
    `again` discards an earlier failure. Raises UserError if the run fails."""
    begun = time.perf_counter()
    if again:
        _forget_failure(folder)
    chosen = {k: v for k, v in cell.config.items() if k != "task" and v is not None}
    options = checked(CellOptions, {**chosen, "quiet": True, "resume": folder.exists()})
    task = study.task.part(options.seed)
    model = network_for(task, options, options.seed)
    intervals, grids = intervals_of(model), grids_from(options.refine, model)
    out = Run(folder, options, task, model)
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

    history, problem = out.train(look=look, grids=grids)
    fitted = task.fitted(predict)
    scores = {**task.scores(fitted), **reached}
    on_grids = [*out.grid_scores, {**scores, "parameters": parameter_count(model)}]
    cell_only = {
        "score": scores[study.score],
        "scores": scores,
        "grids": [
            {"intervals": count, **found}
            for count, found in zip([intervals, *grids], on_grids, strict=False)
        ]
        if grids
        else None,
        "shape": widths_text(model.widths),
        "clock": "training",
        "curve": [[m["step"], m["loss"], m["seconds"]] for m in out.metrics],
        "picture": encoded(task.picture(fitted)),
        "seconds": round(time.perf_counter() - begun, 2),
        "host_cores": os.cpu_count(),
    }
    return _result(out.finish(history, {**scores, "cell": cell_only}, problem))


def results(study: Study, queue: Queue, command: str) -> Results:
    """All that is known of the study; `command` reproduces it."""
    found, shown = [], set()
    for cell, record in known_cells(study, queue):
        # One seed's reconstruction is enough for an arm and condition.
        kind = (cell.arm, cell.config["steps"], cell.config["parameters"])
        result = _cell_result(cell, record, cell.phase == "final" and kind not in shown)
        if result.picture:
            shown.add(kind)
        found.append(result)
    left_out = Counter(str(r.version) for r in queue.records().values() if r.state == "complete")
    left_out.pop(str(RESULTS_VERSION), None)
    scores, target = study.task.baseline, study.task.picture(study.task.target)
    return Results(
        name=study.name,
        title=study.title,
        question=study.question,
        notes=study.notes,
        protocol=study.task_text,
        command=command,
        study_file=study.text,
        score=study.score,
        lower_is_better=study.lower_is_better,
        scores_shown=list(dict.fromkeys(k for result in found for k in result.scores or ())),
        baseline=Baseline(study.task.baseline_name, scores) if scores else None,
        target_picture=None if target is None else lossless(_pixels(target)),
        cells=found,
        planned=study.planned,
        seconds=round(sum(result.seconds or 0 for result in found), 1),
        published=study.published,
        version=RESULTS_VERSION,
        left_out=dict(sorted(left_out.items())) or None,
    )


def known_cells(study: Study, queue: Queue) -> list[tuple[Cell, Record]]:
    """The cells of the study that are known so far, with their records."""
    records = queue.records()
    cells = study.cells(lambda cell: _score(records.get(cell.key, UNKNOWN)))
    return [(cell, records.get(cell.key, UNKNOWN)) for cell in cells]


def describe(study: Study, cell: Cell) -> str:
    """A cell in one line: its phase, its arm and the settings that differ between cells."""
    config = cell.config
    names = dict.fromkeys(("parameters", "steps", "seed", *study.searched))
    return f"{cell.phase} {cell.arm}: " + " ".join(f"{name}={config[name]}" for name in names)


def encoded(picture: np.ndarray | None) -> str | None:
    """An image in [-1, 1] as PNG in base64."""
    if picture is None:
        return None
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _result(summary: dict[str, Any]) -> dict[str, Any]:
    """The result of a finished run, from its summary."""
    return {name: summary.get(name) for name in SUMMARIZED} | summary["cell"]


def _score(record: Record) -> float | None:
    """NaN for a failure, None while it is unknown."""
    if record.state == "failed":
        return math.nan
    return record.result["score"] if record.result else None


def _cell_result(cell: Cell, record: Record, with_picture: bool) -> CellResult:
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
    outcome = record.result or {}
    picture = outcome.get("picture") if with_picture else None
    return cell_from({**known, **outcome, "picture": picture}, f"cell {cell.key}")


def _pixels(picture: np.ndarray) -> np.ndarray:
    return np.asarray(to_pillow(picture).convert("RGB"))


def _forget_failure(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if json.loads((folder / SUMMARY).read_text())["problem"]:
            shutil.rmtree(folder)
