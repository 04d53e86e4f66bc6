"""Runs the notebooks of notebooks/ and writes their output into them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError, lookup, need
from tinykan.runs.command_line import option, run

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
SECONDS = 600  # after which a cell is given up


@dataclass(kw_only=True)
class Config:
    """Runs the notebooks of notebooks/, each in a fresh kernel and a temporary folder, and shows
    what they print."""

    name: str | None = option(None, "of one notebook (default: all)", positional=True)
    write: bool = option(False, "replace the output in the notebooks by this")


def read(name: str) -> Any:
    nbformat = need("nbformat", extra="notebooks", purpose="reading notebooks")
    return nbformat.read(lookup("notebook", name, NOTEBOOKS), as_version=4)


def execute(name: str) -> Any:
    """The notebook with the output of a fresh kernel. Raises UserError if a cell fails."""
    nbclient = need("nbclient", extra="notebooks", purpose="running notebooks")
    need("ipykernel", extra="notebooks", purpose="running notebooks")
    notebook = read(name)
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}
        )
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError as error:
            raise UserError(f"{name}: {error.ename}: {error.evalue}") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times
    return notebook


def printed(notebook: Any) -> str:
    """What its cells print and the text of what they show, without warnings and pictures."""
    texts = []
    for output in (out for cell in notebook.cells for out in cell.get("outputs", [])):
        if output.output_type == "stream":
            texts.append(output.text if output.name == "stdout" else "")
        elif "image/png" not in output.data:
            texts.append(output.data["text/plain"] + "\n")
    return "".join(texts)


def main(config: Config) -> None:
    nbformat = need("nbformat", extra="notebooks", purpose="reading notebooks")
    for name in [config.name] if config.name else NOTEBOOKS:
        print(f"## {name}", flush=True)
        notebook = execute(name)
        print(printed(notebook), flush=True)
        if config.write:
            write_atomically(NOTEBOOKS[name], (nbformat.writes(notebook) + "\n").encode())


if __name__ == "__main__":
    run(main, Config)
