"""Runs the stories of docs/guide.md, and writes down what came out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tinykan import files
from tinykan.cli import option, run
from tinykan.errors import UserError, lookup

ROOT = Path(__file__).parents[1]
GUIDE, PICTURES, DRAWN = ROOT / "docs/guide.md", ROOT / "docs/guide", ROOT / "runs/guide"


@dataclass(kw_only=True)
class Config:
    """Runs the stories of docs/guide.md, each in a process of its own. What they print is shown;
    what they draw is in runs/guide."""

    story: str | None = option(None, "the title of one of them (default: all)", positional=True)
    write: bool = option(False, "put what they print and draw into the guide")


def stories() -> dict[str, str]:
    """The program of each story, with what all begin with, by its title."""
    beginning, *sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
    return {
        section.split("\n")[0]: "\n".join([*_programs(beginning), *_programs(section)])
        for section in sections
    }


def _programs(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def told(title: str) -> tuple[str, list[str]]:
    """What the story prints, and the names of the pictures it drew."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in DRAWN.iterdir()}
    program = lookup("story", title, stories())
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{title}: {done.stderr.strip().splitlines()[-1]}")
    drawn = [path for path in DRAWN.iterdir() if before.get(path) != path.stat().st_mtime_ns]
    return done.stdout, sorted(path.name for path in drawn)


def main(config: Config) -> None:
    for title in [config.story] if config.story else stories():
        print(f"## {title}", flush=True)
        printed, drawn = told(title)
        print(printed, flush=True)
        if config.write:
            _write(title, printed, drawn)


def _write(title: str, printed: str, drawn: list[str]) -> None:
    """Puts it after the story's program, in the place of what was there."""
    PICTURES.mkdir(exist_ok=True)
    for name in drawn:
        shutil.copy(DRAWN / name, PICTURES / name)
    text = GUIDE.read_text()
    start = text.index(f"## {title}\n")
    end = text.find("\n## ", start)
    end = len(text) if end < 0 else end
    section = text[start:end]
    section = section[: section.rindex("```python")] + _programs_end(section)
    pictures = "\n\n".join(f"![{title}](guide/{name})" for name in drawn)
    section += f"\n```\n{printed.rstrip()}\n```\n" + (f"\n{pictures}\n" if pictures else "")
    files.write(GUIDE, (text[:start] + section + text[end:]).encode())


def _programs_end(section: str) -> str:
    """The last program of a section, with its fences."""
    return f"```python\n{_programs(section)[-1]}```\n"


if __name__ == "__main__":
    run(main, Config)
