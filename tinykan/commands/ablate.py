"""Runs a study: many models trained on one task, compared at equal parameter counts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path

from tinykan import device
from tinykan.runs import devices
from tinykan.runs.command_line import device_option, option
from tinykan.runs.interruption import Stopped
from tinykan.studies.results import read_results, write_results
from tinykan.studies.study import Study


@dataclass(kw_only=True)
class Config:
    """Runs the cells of a study that are not complete yet, and writes its report. Several workers
    can run one study concurrently: in several shells, or on several machines with one --storage.
    After an interruption, run the same command again to continue."""

    study: str = option(MISSING, "the study, as docs/studies/slices.toml", positional=True)
    storage: str | None = option(
        None, "database URL, as postgresql+psycopg://... (default: SQLite in runs/STUDY)"
    )
    steps: int | None = option(None, "at most N steps in every run, to try out a study", minimum=1)
    retry: bool = option(False, "try failed cells again")
    list: bool = option(False, "print the known cells and exit")
    out: str | None = option(
        None, "folder for the report (default: beside the study file; with --steps in runs)"
    )
    device: str | None = device_option()


def main(config: Config) -> None:
    # Here, where a missing extra is one line.
    from tinykan.studies.queue import Queue
    from tinykan.studies.report import write_report
    from tinykan.studies.worker import describe, results, work

    device.select(config.device)
    study = Study(Path(config.study), config.steps)
    if config.list:
        for cell in study.cells(lambda cell: None):
            print(cell.key, describe(study, cell))
        print(f"{study.planned} cells, including those that depend on the search")
        return
    runs = Path("runs") / study.name
    out = Path(config.out or (runs if config.steps else study.path.with_suffix("")))
    queue = Queue(config.storage or f"sqlite:///{runs / 'study.db'}", study.name)
    if config.retry:
        queue.forgive()
    devices.announce()
    # The command that reproduces the study.
    shown = [f"--steps {config.steps}"] if config.steps else []
    command = " ".join(["tinykan ablate", shlex.quote(config.study), *shown])
    try:
        work(study, queue, runs / "cells", lambda line: print(line, flush=True))
    except Stopped as error:
        error.args = ("stopped; run the same command again to continue",)
        raise
    finally:
        write_results(results(study, queue, command), out)
        write_report(read_results(out), out)
        print(f"report in {out / 'report.html'}", file=sys.stderr)
