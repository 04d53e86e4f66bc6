"""The trainings of a run: one, and another on each of its finer grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tinygrad import Tensor

from tinykan.errors import UserError
from tinykan.fitting import refine
from tinykan.fitting.grids import spline_layers
from tinykan.networks import Network
from tinykan.training import History, Sampler, State, Training


class Stages:
    """Iterates over the trainings of `model`, which `train(sampler, state)` makes. The splines are
    refined to each of `grids`, numbers of intervals, between one training and the next; the steps
    of the sampler go on.

    `score()` is called at the end of each training but the last: `scores` are its results. A
    `state` that `state()` gave makes it begin with that training, if the model is that of then.
    """

    def __init__(
        self,
        model: Network,
        grids: Sequence[int],
        sample: Sampler,
        train: Callable[[Sampler, State | None], Training],
        score: Callable[[], dict[str, Any]],
        state: State | None = None,
    ) -> None:
        self.model, self.grids, self.sample = model, grids, sample
        self._train, self._score, self._resume = train, score, state
        kept = state[1].get("stages", {}) if state else {}
        self.number, self.before = kept.get("number", 0), kept.get("before", 0)
        self.past, self.scores = History(**kept.get("past", {})), kept.get("scores", [])

    def __iter__(self) -> Iterator[Training]:
        while True:
            self.training = self._train(_later(self.sample, self.before), self._resume)
            yield self.training
            if self.number == len(self.grids):
                return
            self.scores = [*self.scores, self._score()]
            self.past, self._resume = self.history, None
            self.before += self.training.done
            refine(self.model, self.grids[self.number])
            self.number += 1

    @property
    def history(self) -> History:
        """That of all trainings so far."""
        past, last = self.past, self.training.history
        begun = past.compile_seconds + past.train_seconds
        return History(
            steps=past.steps + [self.before + step for step in last.steps],
            losses=past.losses + last.losses,
            seconds=past.seconds + [begun + seconds for seconds in last.seconds],
            outside=last.outside,
            ended_by=last.ended_by,
            compile_seconds=past.compile_seconds + last.compile_seconds,
            train_seconds=past.train_seconds + last.train_seconds,
            first_step_seconds=past.first_step_seconds or last.first_step_seconds,
        )

    def state(self) -> State:
        """As `Training.state`, with the trainings before."""
        arrays, record = self.training.state()
        kept = {"number": self.number, "before": self.before, "past": asdict(self.past)}
        return arrays, {**record, "stages": {**kept, "scores": self.scores}}


def grids_from(text: str | None, model: Network) -> list[int]:
    """The numbers of intervals that `--refine` names. Raises UserError unless they rise from those
    of the splines of `model`."""
    if text is None:
        return []
    try:
        grids = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"refine {text!r}: numbers of intervals, as in 10,20, are needed") from None
    start = intervals_of(model)
    if not start:
        raise UserError(f"refine {text!r}: the network has no splines")
    rising = [start, *grids]
    if any(after <= before for before, after in zip(rising, grids, strict=False)):
        raise UserError(f"refine {text!r}: numbers that rise from {start} are needed")
    return grids


def intervals_of(model: Network) -> int:
    """The intervals of the splines of `model`, the most that any of them has; 0 without splines."""
    bases = [layer.basis for _, layer in spline_layers(model)]
    return max((basis.intervals for basis in bases), default=0)  # type: ignore[attr-defined]


def scores_before(
    grids: Sequence[int], found: Sequence[dict[str, Any]], names: tuple[str, ...]
) -> str:
    """A line for the scores before each refinement, those in `names`."""
    lines = []
    for intervals, scores in zip(grids, found, strict=False):
        shown = [f"{name} {scores[name]:.4g}" for name in (*names, "parameters")]
        lines.append(f"before {intervals} intervals: {'  '.join(shown)}")
    return "\n".join(lines)


def _later(sample: Sampler, steps: int) -> Sampler:
    def later(step: Tensor) -> tuple[Tensor, Tensor]:
        return sample(step + steps)

    return later if steps else sample
