"""The folder of a run: one run at a time writes there; what cannot be written now may be later."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinykan import files
from tinykan.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where a folder can't be locked
    fcntl = None  # type: ignore[assignment]


class RunFolder:
    """Made and locked at once; what a killed process left behind is removed. The lock goes with the
    process, however that ends, if it is not released before. Raises UserError if another run has
    it, OSError if it can't be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned: set[str] = set()
        self._descriptor: int | None = None
        path.mkdir(parents=True, exist_ok=True)
        self._lock()
        for left in path.glob(".*.tmp"):
            left.unlink()

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({k: _finite(v) for k, v in content.items()}, indent=2)
        files.write(self.path / name, (text + "\n").encode())

    def write_lines(self, name: str, entries: list[dict[str, Any]]) -> None:
        files.write(self.path / name, "".join(map(_line, entries)).encode())

    def append_line(self, name: str, entry: dict[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def attempt(self, name: str, action: Callable[[], None]) -> None:
        """What fails to be written now may succeed later: training is not given up for it."""
        try:
            action()
        except OSError as error:
            if name not in self._warned:
                self._warned.add(name)
                reason = error.strerror or error
                warn(f"cannot write {self.path / name}: {reason}; going on")

    def release(self) -> None:
        """Lets other runs have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self) -> None:
        if fcntl is None:
            return
        self._descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UserError(f"{self.path} is in use by another run; choose another --out") from None


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity: a perfect PSNR becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
