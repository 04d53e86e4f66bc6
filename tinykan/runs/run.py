"""A training run on disk: configuration, metrics, model, summary, and the checkpoints from which it
continues after an interruption."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad.nn.state import get_parameters

from tinykan import checkpoint, device
from tinykan.errors import UserError, need, warn
from tinykan.networks import Network, parameter_count
from tinykan.runs.devices import spread_across
from tinykan.runs.folder import RunFolder, Taken, numbered, read_json
from tinykan.runs.interruption import Pace, Stopped, signals
from tinykan.runs.options import Options
from tinykan.runs.records import comparable, difference, machine, resolved, versions
from tinykan.runs.stages import Stages
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.task import Task
from tinykan.training import DivergenceError, History, Sampler, State, Step, Training

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "summary.json"
MODEL = "model.safetensors"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
FRAME = "frame."  # prefix of a frame's name among a checkpoint's arrays


class Run:
    """A folder with `config.json`, `metrics.jsonl`, `model.safetensors` and `summary.json`; until
    the run is finished, with checkpoints too.

    Made before the training of `model`, so that a folder that cannot be written, is in use, or
    holds what should not be lost, is found first. A resumed run must have the same `task`, and the
    same options but for VOLATILE. The files of a finished run are replaced if it was of the same
    options and data, or if they may be overwritten; if it is resumed, `finished` is its summary.
    `config` are the options as they were resolved. Raises UserError.
    """

    def __init__(self, folder: str | Path, options: Options, task: Task, model: Network) -> None:
        self.folder, self.options, self.task, self.model = Path(folder), options, task, model
        self.data = task.digest
        self.config = {
            **resolved(options, task, model),
            "task": repr(task),
            "data": self.data,
            "device": device.describe()["device"],
            "out": str(folder),
        }
        self.finished: dict[str, Any] | None = None
        self.metrics: list[dict[str, Any]] = []
        self.grid_scores: list[dict[str, Any]] = []
        self._pace = Pace(options.checkpoint_every)
        # Both are imported when they are asked for, which may be after hours of training.
        for purpose, wanted in (("L-BFGS", options.lbfgs), ("moving grids", options.grid_updates)):
            if wanted:
                need("scipy", extra="lbfgs", purpose=purpose)
        if options.resume and options.overwrite:
            raise UserError("--resume continues a run and --overwrite starts anew: choose one")
        self._resumed: tuple[Network, dict[str, np.ndarray], dict[str, Any]] | None = None
        try:
            try:
                self._files = RunFolder(self.folder)
            except Taken as error:
                with contextlib.suppress(Taken):
                    config = read_json(self.folder / CONFIG)
                    self._check_same(config, config.get("data"))
                    raise UserError(str(error)) from None  # by the same run
                raise
            try:
                self._look_for_earlier()
                if not self.finished:
                    self._files.write_json(CONFIG, self.config)
                    self._files.write_lines(METRICS, self.metrics)
            except BaseException:
                self._files.release()
                raise
            if self.finished:
                self._files.release()
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror or error}") from None

    @classmethod
    def open(cls, default: str | Path, options: Options, task: Task, model: Network) -> Run:
        """The run in the folder that the options name, or else in `default`; in `default-2`,
        `default-3` and so on if that is taken by other options or data. A run to be resumed is
        looked for in all of these. Raises UserError."""
        if options.out:
            return cls(options.out, options, task, model)
        taken: Taken | None = None
        for folder in numbered(Path(default)):
            if taken and options.resume and not folder.exists():
                raise taken  # which says in what the first one differs
            try:
                return cls(folder, options, task, model)
            except Taken as error:
                taken = taken or error
        raise AssertionError("there is no last number")

    def train(
        self,
        *,
        look: Callable[[Step], None] = lambda step: None,
        frames: list[np.ndarray] | None = None,
        log_every: int | None = None,
        grids: Sequence[int] = (),
    ) -> tuple[History, UserError | None]:
        """Trains the model on the task. Returns the history, and what ended the training early, if
        something did: it diverged, in which case the model has its last good weights, or a signal
        came.

        `look` is called after each logged step, when `metrics` has it. `frames` are arrays that the
        caller collects there: they are kept in checkpoints and restored. After the training, the
        splines are refined to each of `grids`, numbers of intervals, and trained as long again: the
        layers then have other tensors, and `grid_scores` the scores before each refinement.
        """
        options, model, frames = self.options, self.model, [] if frames is None else frames
        resume = self._restore(frames)
        names = options.devices.split(",") if options.devices else None
        spread = spread_across(get_parameters(model), names) if names else contextlib.nullcontext()
        problem: UserError | None = None

        def train(sample: Sampler, state: State | None) -> Training:
            return Training(
                model,
                sample,
                steps=options.steps,
                learning_rate=options.rate,
                schedule=options.schedule,
                warmup=options.warmup,
                optimizer=options.trained_by,
                lbfgs=options.lbfgs,
                grid_updates=options.grid_updates,
                loss=self.task.loss,
                halvings=options.halvings,
                log_every=log_every,
                progress=not options.quiet,
                resume=state,
            )

        sample = self.task.sampler(options.batch, options.seed)
        stages = Stages(model, grids, sample, train, self._scores, resume)
        with signals() as received, spread:

            def after(step: Step) -> bool:
                """Records a step and saves a checkpoint if one is due; whether to end here."""
                if step.loss is not None:
                    numbered = Step(stages.before + step.number, step.loss)
                    self._record(numbered, stages.history)
                    look(numbered)
                due = self._pace.due(step.number) or received or step.number == options.steps
                if due and step.number <= options.steps:  # L-BFGS is repeated from its beginning
                    with self._pace.writing():
                        save()
                return bool(received)

            def save() -> None:
                self._files.attempt(CHECKPOINT, lambda: self._save(stages.state(), frames))

            try:
                for training in stages:
                    if stages.number and not training.done:
                        save()  # its first steps may be L-BFGS's, from whose beginning it resumes
                    for step in training:
                        if after(step):
                            break
                    else:
                        training.refine(after)
                    if received:
                        break
            except DivergenceError as error:
                problem = DivergenceError(f"{error}; what was reached is in {self.folder}")
        if received:
            name = signal.Signals(received[0]).name
            message = f"stopped by {name}; --resume continues the run in {self.folder}"
            problem = Stopped(message, received[0])
        self.grid_scores = stages.scores
        return stages.history, problem

    def finish(
        self,
        history: History,
        scores: dict[str, Any],
        problem: UserError | None = None,
    ) -> dict[str, Any]:
        """Writes the model and `summary.json`, removes the checkpoints if there is nothing left to
        resume, and leaves the folder to other runs. Raises the `problem`, or returns the summary.
        """
        finished = not isinstance(problem, Stopped)
        summary = {
            **scores,
            **({"grids": self.grid_scores} if self.grid_scores else {}),
            "parameters": parameter_count(self.model),
            "steps": history.steps[-1] if history.steps else 0,
            "finished": finished,
            "problem": problem and str(problem),
            "compile_seconds": round(history.compile_seconds, 3),
            "train_seconds": round(history.train_seconds, 3),
            "first_step_seconds": round(history.first_step_seconds, 3),
            **machine(),
            "versions": versions(),
            "seed": self.config.get("seed"),
            "config": self.config,
            "data": self.data,
        }
        checkpoint.save(self.model, self.folder / MODEL)
        self._files.write_lines(METRICS, self.metrics)
        self._files.write_json(SUMMARY, summary)
        if finished:
            for name in (CHECKPOINT, PREVIOUS):
                (self.folder / name).unlink(missing_ok=True)
        self._files.release()
        if problem:
            raise problem
        return summary

    def _scores(self) -> dict[str, Any]:
        """The scores of the model as it is, and its number of parameters."""
        size = {"parameters": parameter_count(self.model)}
        return {**self.task.scores(self.task.fitted(Predictor(self.model))), **size}

    def _record(self, step: Step, history: History) -> None:
        entry = {
            "step": step.number,
            "loss": step.loss,
            "seconds": round(history.train_seconds, 4),
            "outside": history.outside,
        }
        self.metrics.append(entry)
        self._files.attempt(METRICS, lambda: self._files.append_line(METRICS, entry))

    def _look_for_earlier(self) -> None:
        """Finds the checkpoint to resume, or the summary of a finished run; refuses to go over an
        unfinished run, or one of other options or data, unasked."""
        existing = [p for name in (CHECKPOINT, PREVIOUS) if (p := self.folder / name).exists()]
        summary, config = read_json(self.folder / SUMMARY), read_json(self.folder / CONFIG)
        if self.options.overwrite:
            for path in (*existing, self.folder / SUMMARY, self.folder / MODEL):
                path.unlink(missing_ok=True)
            return
        if not self.options.resume:
            if existing:
                if config:
                    self._check_same(config, config.get("data"))
                raise UserError(
                    f"{self.folder} holds an unfinished run: --resume continues it; to start anew, "
                    "choose another --out, or --overwrite it"
                )
            if summary:
                self._check_same(summary.get("config"), summary.get("data"))
            return
        for path in existing:
            try:
                self._resumed = checkpoint.load_training(path)
                break
            except checkpoint.CheckpointError as error:
                warn(str(error))
        if self._resumed:
            record = self._resumed[2]
            self._check_same(record["config"], record["data"])
            self.metrics = record["metrics"]
            if record.get("clock") is None:  # of an earlier version, with the compilation
                compilation = record["history"]["compile_seconds"]
                for entry in self.metrics:
                    entry["seconds"] = max(0.0, round(entry["seconds"] - compilation, 4))
            here = {**machine(), **versions()}
            if record["made_with"] != here:
                changed = difference(record["made_with"], here)
                warn(f"{changed}: the bits may differ from an uninterrupted run's")
            return
        if existing:
            raise UserError(f"no checkpoint in {self.folder} can be read: remove it to start anew")
        if summary.get("finished"):
            self._check_same(summary.get("config"), summary.get("data"))
            self.finished = summary
        else:
            print(f"nothing to resume in {self.folder}: starting", file=sys.stderr)

    def _check_same(self, config: Any, data: Any) -> None:
        """Raises Taken unless a run of that configuration and data (None if unknown) is the same
        as this one."""
        problem = None
        earlier, ours = (comparable(c, self.options, self.task) for c in (config, self.config))
        if not earlier:
            problem = "has a summary without a configuration"
        elif earlier != ours:
            problem = f"is of another configuration: {difference(earlier, ours)}"
        elif data not in (None, self.data):
            problem = "is about other data: what it fits has changed"
        if problem:
            remedy = "" if self.options.resume else "; choose another --out, or --overwrite it"
            raise Taken(f"the run in {self.folder} {problem}{remedy}")

    def _restore(self, frames: list[np.ndarray]) -> State | None:
        if self._resumed is None:
            return None
        earlier, arrays, record = self._resumed
        self.model.layers[:] = earlier.layers  # whose grids may have moved, or be finer
        count = sum(name.startswith(FRAME) for name in arrays)
        frames[:] = [arrays.pop(f"{FRAME}{i}") for i in range(count)]
        print(f"resuming after step {record['step']} of {self.options.steps}", file=sys.stderr)
        return arrays, record

    def _save(self, state: State, frames: list[np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays, record = state
        record = {
            **record,
            "config": self.config,
            "data": self.data,
            "metrics": self.metrics,
            "clock": "training",
            "made_with": {**machine(), **versions()},
        }
        checkpoint.save(
            self.model,
            self.folder / CHECKPOINT,
            training=arrays | {f"{FRAME}{i}": f for i, f in enumerate(frames)},
            record=record,
            previous=self.folder / PREVIOUS,
        )


def summary_line(summary: dict[str, Any], names: tuple[str, ...], folder: Path) -> str:
    """The last line of a script: the scores, the size, the time, and where the files are."""
    scores = "  ".join(
        f"{name} inf" if summary[name] is None else f"{name} {summary[name]:.4g}" for name in names
    )
    return (
        f"{scores}  parameters {summary['parameters']}  steps {summary['steps']}  "
        f"compile {summary['compile_seconds']:.1f} s  train {summary['train_seconds']:.1f} s  "
        f"in {folder}"
    )
