"""Runs the programs of docs/guide.md and writes their output into it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError, lookup, need
from tinykan.runs.command_line import option, run

ROOT = Path(__file__).parents[1]
GUIDE, PICTURES, DRAWN = ROOT / "docs/guide.md", ROOT / "docs/guide", ROOT / "runs/guide"
NAME = f"{UserError.__module__}.{UserError.__qualname__}: "  # that a traceback has before a message


@dataclass(kw_only=True)
class Config:
    """Runs the stories of docs/guide.md, each in a process of its own, and shows what they print.
    Their pictures are in runs/guide."""

    story: str | None = option(None, "title of one story (default: all)", positional=True)
    write: bool = option(False, "replace the output and pictures in the guide by these")


@dataclass(frozen=True)
class Story:
    """A section of the guide: `text` up to the end of its last program; that `program`, preceded by
    the imports that all stories share; and its output as the guide has it."""

    text: str
    program: str
    printed: str | None


def stories() -> dict[str, Story]:
    """The guide's sections by title."""
    beginning, *sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
    imports = _parts(beginning)[1]
    found = {}
    for section in sections:
        text, program, printed = _parts(section)
        found[section.split("\n")[0]] = Story(text, imports + program, printed)
    return found


def _parts(section: str) -> tuple[str, str, str | None]:
    """The text up to the end of the last program, that program, and its output if there is any."""
    found = re.match(r"(.*```python\n(.*?)```\n)(?:\n```\n(.*?)```\n)?", section, re.DOTALL)
    assert found, f"no program in: {section[:40]}"
    return found[1], found[2], found[3]


def run_story(title: str) -> tuple[str, list[str]]:
    """The output of a story's program and the names of the pictures that it wrote. Raises UserError
    if there is no such story, or if its program fails."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in DRAWN.iterdir()}
    program = lookup("story", title, stories()).program
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{title}: {done.stderr.strip().splitlines()[-1].removeprefix(NAME)}")
    drawn = [path for path in DRAWN.iterdir() if before.get(path) != path.stat().st_mtime_ns]
    return done.stdout, sorted(path.name for path in drawn)


def main(config: Config) -> None:
    for module in ("matplotlib", "scipy", "sympy"):
        need(module, extra="interpret", purpose="the guide")
    for title in [config.story] if config.story else stories():
        print(f"## {title}", flush=True)
        printed, drawn = run_story(title)
        print(printed, flush=True)
        if config.write:
            _write(title, printed, drawn)


def _write(title: str, printed: str, drawn: list[str]) -> None:
    """Replaces everything after the story's program by its output and pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name in drawn:
        shutil.copy(DRAWN / name, PICTURES / name)
    pictures = "\n\n".join(f"![{title}](guide/{name})" for name in drawn)
    shown = f"\n```\n{printed.rstrip()}\n```\n" + (f"\n{pictures}\n" if pictures else "")
    section = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    fresh = f"## {stories()[title].text}{shown}\n"
    text = section.sub(lambda _: fresh, GUIDE.read_text()).rstrip() + "\n"
    write_atomically(GUIDE, text.encode())


if __name__ == "__main__":
    run(main, Config)
