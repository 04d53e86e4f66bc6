"""Writes the page of a study from its results."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass
from pathlib import Path

from tinykan.errors import UserError
from tinykan.runs.command_line import option, run
from tinykan.studies.report import write_report


@dataclass(kw_only=True)
class Config:
    """Writes report.html, README.md and its pictures beside a study's results.json."""

    folder: str = option(MISSING, "the folder with results.json", positional=True)


def main(config: Config) -> None:
    path = Path(config.folder) / "results.json"
    try:
        results = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    try:
        write_report(results, path.parent)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    print(f"{path.with_name('report.html')} and {path.with_name('README.md')}")


if __name__ == "__main__":
    run(main, Config)
