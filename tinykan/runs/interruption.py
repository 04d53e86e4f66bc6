"""Interruption of a run by signals, which it handles between steps, and the interval between
checkpoints."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from typing import Any

from tinykan.errors import UserError


class Stopped(UserError):
    """A signal ended the run, whose state is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """The signals received within the context, in a list that fills. A second one ends the process
    at once."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        for one in previous:
            signal.signal(one, previous[one])

    wanted = (signal.SIGINT, signal.SIGTERM)
    try:
        previous = {number: signal.signal(number, receive) for number in wanted}
    except ValueError:  # signals are the main thread's
        previous = {}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Pace:
    """When a checkpoint is due: every so many steps (`"500"`) or seconds (`"60s"`), in the second
    case less often for a large model, so that writing takes at most a hundredth of the time."""

    def __init__(self, every: str) -> None:
        self.steps, self.seconds = _interval(every)
        self._written, self._took = time.monotonic(), 0.0

    def due(self, step: int) -> bool:
        if self.steps:
            return step % self.steps == 0
        return time.monotonic() - self._written >= max(self.seconds, 100 * self._took)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of a checkpoint, which it times."""
        begun = time.monotonic()
        yield
        self._written = time.monotonic()
        self._took = self._written - begun


def _interval(text: str) -> tuple[int, float]:
    """Steps, or else seconds, from `500` or `60s`."""
    seconds = text.removesuffix("s")
    with contextlib.suppress(ValueError):
        if seconds == text and int(text) > 0:
            return int(text), 0.0
        if seconds != text and 0 < float(seconds) < math.inf:
            return 0, float(seconds)
    raise UserError(f"checkpoint interval {text!r} must be steps, as 500, or seconds, as 60s")
