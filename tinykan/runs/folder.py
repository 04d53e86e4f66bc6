"""The folder of a run, which is locked, and in which a write that fails is tried again later."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError, warn
from tinykan.runs.lock import FileLock

LOCK = ".lock"


class Taken(UserError):
    """A folder is in use, or has the results of another configuration."""


def numbered(path: Path) -> Iterator[Path]:
    """`path` itself, then with -2, -3 and so on at its end."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


@dataclass(frozen=True)
class Wanted:
    """Where a script writes: the folder `out`, if it is named, or else `default`, with a number if
    that has other results, unless these may be overwritten."""

    out: str | None
    default: str
    overwrite: bool

    def folder(self, file: str, is_same: Callable[[dict[str, Any]], bool]) -> Path:
        """The folder; results are those of other options if the JSON `file` there is not the same.
        Raises Taken if a folder that is named has such."""
        for folder in [Path(self.out)] if self.out else numbered(Path(self.default)):
            found = read_json(folder / file)
            if self.overwrite or not found or is_same(found):
                return folder
        raise Taken(
            f"{self.out} has the results of other options or data; choose another --out, or "
            "--overwrite it"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file; empty if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


class RunFolder:
    """Created and locked; temporary files of a killed process are removed. The lock ends with the
    process, however that ends, if it is not released before. Raises UserError if another run holds
    it, OSError if the folder can't be created."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned: set[str] = set()
        path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = FileLock(path / LOCK)
        except BlockingIOError:
            raise Taken(f"{path} is in use by another run; choose another --out") from None
        for left in path.glob(".*.tmp"):
            left.unlink()

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({k: _finite(v) for k, v in content.items()}, indent=2)
        write_atomically(self.path / name, (text + "\n").encode())

    def write_lines(self, name: str, entries: list[dict[str, Any]]) -> None:
        write_atomically(self.path / name, "".join(map(_line, entries)).encode())

    def append_line(self, name: str, entry: dict[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def attempt(self, name: str, action: Callable[[], None]) -> None:
        """Writes a file by `action`; a failure is a warning, since the next write may succeed."""
        try:
            action()
        except OSError as error:
            if name not in self._warned:
                self._warned.add(name)
                reason = error.strerror or error
                warn(f"cannot write {self.path / name}: {reason}; training continues")

    def release(self) -> None:
        """Lets other runs have the folder."""
        self._lock.release()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity: a perfect PSNR becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
