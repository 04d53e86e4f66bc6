"""Writes the report of a study from its results."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from tinykan.runs.command_line import option
from tinykan.studies.results import read_results


@dataclass(kw_only=True)
class Config:
    """Writes report.html, README.md and its images beside a study's results.json."""

    folder: str = option(MISSING, "the folder with results.json", positional=True)


def main(config: Config) -> None:
    from tinykan.studies.report import write_report  # here, where a missing extra is one line

    folder = Path(config.folder)
    write_report(read_results(folder), folder)
    print(f"{folder / 'report.html'} and {folder / 'README.md'}")
