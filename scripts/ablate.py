"""Runs a study: many models trained on one task, compared at equal parameter counts."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path

from tinykan import device
from tinykan.checkpoint import write_atomically
from tinykan.runs.command_line import device_option, option, run
from tinykan.runs.interruption import Stopped
from tinykan.studies.queue import Queue
from tinykan.studies.report import write_report
from tinykan.studies.study import Study
from tinykan.studies.worker import describe, results, work


@dataclass(kw_only=True)
class Config:
    """Runs the cells of a study that are not done yet, and writes its report. Any number of these
    commands may work on one study: in several shells, or on several machines with one --storage.
    Interrupted, it goes on where it was."""

    study: str = option(MISSING, "the study, as docs/studies/seed.toml", positional=True)
    storage: str | None = option(
        None, "database URL, as postgresql+psycopg://... (default: SQLite in runs/STUDY)"
    )
    steps: int | None = option(None, "at most N steps in every run, to try a study", minimum=1)
    retry: bool = option(False, "try failed cells again")
    list: bool = option(False, "print the cells that are known, and end")
    out: str | None = option(
        None, "folder for the report (default: beside the study file; with --steps in runs)"
    )
    device: str | None = device_option()


def main(config: Config) -> None:
    device.select(config.device)
    study = Study(Path(config.study), config.steps)
    if config.list:
        for cell in study.cells(lambda cell: None):
            print(cell.key, describe(study, cell))
        print(f"{study.planned} cells with those that the search leads to")
        return
    runs = Path("runs") / study.name
    out = Path(config.out or (runs if config.steps else study.path.with_suffix("")))
    queue = Queue(config.storage or f"sqlite:///{runs / 'study.db'}", study.name)
    if config.retry:
        queue.forgive()
    print(device.summary())
    # What a reader would have to type to have the same.
    shown = [f"--steps {config.steps}"] if config.steps else []
    command = " ".join(["python scripts/ablate.py", shlex.quote(config.study), *shown])
    try:
        work(study, queue, runs / "cells", lambda line: print(line, flush=True))
    except Stopped as error:
        error.args = ("stopped; the same command goes on",)
        raise
    finally:
        found = results(study, queue, command)
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "results.json", (json.dumps(found, indent=1) + "\n").encode())
        write_report(found, out)
        print(f"report in {out / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    run(main, Config)
