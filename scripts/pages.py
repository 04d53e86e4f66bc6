"""Runs the programs of the tutorial, the how-to pages and the pages about other libraries, and
writes what they print and draw into them."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError, lookup, need
from tinykan.runs.command_line import option, run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path
    for path in (DOCS / "tutorial.md", *sorted(DOCS.glob("how-to/*.md")), *DOCS.glob("from/*.md"))
}
# A program or a file with its title, and what it prints.
BLOCK = re.compile(
    r'^```(?P<language>python|sh|toml)(?: title="(?P<file>.*?)")?\n(?P<text>.*?)^```\n'
    r"(?P<shown>\n```\n(?P<printed>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
COMMAND = 'tinykan() { "$PYTHON" -m tinykan.commands "$@"; }\n'  # installed or not


@dataclass(kw_only=True)
class Config:
    """Runs the programs of one page, or of all, each in an empty folder, and shows their output."""

    page: str | None = option(None, "the page, as how-to/image.md (default: all)", positional=True)
    write: bool = option(False, "replace the output and pictures in the page by these")


@dataclass(frozen=True)
class Block:
    """A program of a page in its language, or the content of a `file`, and its output as the page
    has it."""

    language: str
    file: str | None
    text: str
    printed: str | None


def blocks(page: str) -> list[Block]:
    text = lookup("page", page, PAGES).read_text(encoding="utf-8")
    names = ("language", "file", "text", "printed")
    return [Block(*(found[name] for name in names)) for found in BLOCK.finditer(text)]


def run_page(page: str, folder: Path) -> list[str]:
    """What each block of a page prints, run in order in `folder`, in one process, as by a reader.
    Raises what a program raises, and UserError if a command fails."""
    shutil.copy(ROOT / "images" / "camera.png", folder)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_outputs, (blocks(page), folder))


def _outputs(found: list[Block], folder: Path) -> list[str]:
    os.chdir(folder)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": path}
    names: dict[str, object] = {"__name__": "__main__"}
    printed = []
    for block in found:
        output = io.StringIO()
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with contextlib.redirect_stdout(output):
                exec(compile(block.text, "the page", "exec"), names)
        else:
            done = subprocess.run(
                ["sh", "-ec", COMMAND + block.text], capture_output=True, text=True, env=environment
            )
            if done.returncode:
                raise UserError(f"{block.text.strip()}: {done.stderr.strip()}")
            output.write(done.stdout)
        printed.append(output.getvalue())
    return printed


def main(config: Config) -> None:
    for module in ("matplotlib", "scipy", "sympy"):
        need(module, extra="interpret", purpose="the pages")
    for page in [config.page] if config.page else PAGES:
        with tempfile.TemporaryDirectory() as folder:
            printed = run_page(page, Path(folder))
            print(f"# {page}", *printed, sep="\n", flush=True)
            if config.write:
                _write(page, printed, Path(folder))


def _write(page: str, printed: list[str], folder: Path) -> None:
    """Replaces outputs, those of commands only where the page shows some, and pictures."""
    path, outputs = PAGES[page], iter(printed)

    def fresh(block: re.Match[str]) -> str:
        program = block[0].removesuffix(block["shown"] or "")
        output = next(outputs).rstrip()
        wanted = block["shown"] if block["language"] == "sh" else output
        return program + (f"\n```\n{output}\n```\n" if wanted else "")

    text = BLOCK.sub(fresh, path.read_text(encoding="utf-8"))
    write_atomically(path, text.encode())
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        if (drawn := folder / Path(name).name).exists():
            (path.parent / name).parent.mkdir(exist_ok=True)
            shutil.copy(drawn, path.parent / name)


if __name__ == "__main__":
    run(main, Config)
