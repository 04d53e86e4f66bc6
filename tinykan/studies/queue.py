"""The queue of a study's cells, in a database that workers share: SQLite on one machine, PostgreSQL
on several. It is an Optuna study, which Optuna's tools can read."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tinykan.errors import UserError, need
from tinykan.studies.cell import RESULTS_VERSION, Cell
from tinykan.studies.storage import FAILURES, GRACE, Storage, not_opened

if TYPE_CHECKING:
    import optuna
    import sqlalchemy
    from optuna.trial import FrozenTrial, Trial, TrialState
else:
    optuna = need("optuna", extra="study", purpose="a study")
    sqlalchemy = need("sqlalchemy", extra="study", purpose="a study")
    TrialState = optuna.trial.TrialState

DEATHS = 3  # of workers, after which the cell is taken to be the cause
ATTEMPTS = 5  # of what is done in the database, while connections are lost
CELL = ("arm", "phase", "config", "data", "version")
F = TypeVar("F", bound=Callable[..., Any])

optuna.logging.set_verbosity(optuna.logging.CRITICAL)
# Heartbeats are experimental in Optuna.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _repeated_if_disconnected(method: F) -> F:
    """Calls the method of a queue again if a connection was lost in the middle of a transaction,
    after which Optuna may raise anything. All methods may be repeated: a cell that was trained is
    found in its folder."""

    @functools.wraps(method)
    def call(self: Queue, *arguments: Any) -> Any:
        for attempt in range(ATTEMPTS):
            before = self._storage.disconnections
            try:
                return method(self, *arguments)
            except Exception as error:
                if self._storage.lost:
                    raise self._storage.lost from None
                connected = self._storage.disconnections == before
                if connected or attempt == ATTEMPTS - 1 or getattr(error, "status", 1) > 1:
                    raise
        return None

    return call  # type: ignore[return-value]


@dataclass(frozen=True)
class Record:
    """The state of a cell."""

    state: str  # waiting, running, complete or failed
    reason: str | None = None  # why it failed
    attempts: int = 0
    result: dict[str, Any] | None = None
    version: int = RESULTS_VERSION  # of the code that computes it


class Queue:
    """The cells of the study `name` in the database at `url`, and their records. Raises UserError
    for a URL that is none, a database that cannot be opened and a missing driver."""

    def __init__(self, url: str, name: str) -> None:
        self._silent_since: dict[int, float] = {}
        attempts = 5  # workers that start at once may collide when they create tables
        for attempt in range(attempts):
            try:
                self._storage = Storage(url)
                self._study = optuna.create_study(
                    storage=self._storage, study_name=name, load_if_exists=True
                )
                return
            except (*FAILURES, optuna.exceptions.StorageInternalError, RuntimeError) as error:
                # A RuntimeError is a database of another version of Optuna.
                if attempt == attempts - 1 or isinstance(error, RuntimeError):
                    raise not_opened(url, error) from None
                time.sleep(0.5)

    @_repeated_if_disconnected
    def records(self) -> dict[str, Record]:
        """Records of all cells that were ever queued, by key."""
        trials: dict[str, list[FrozenTrial]] = {}
        for trial in self._trials():
            trials.setdefault(trial.user_attrs["key"], []).append(trial)
        forgiven = self._study.user_attrs.get("forgiven", -1)
        return {key: _record(found, forgiven) for key, found in trials.items()}

    @_repeated_if_disconnected
    def work(self, cell: Cell, run: Callable[[Cell, bool], dict[str, Any]]) -> None:
        """Queues `cell` unless it waits already, and runs one waiting cell, this or another:
        `run(cell, whether it failed before)` returns its result, which includes "score".

        If `run` raises UserError, the cell has failed for that reason. Any other exception, and the
        error of a run that was stopped, leaves the cell to other workers and is raised again.
        """

        lost = False  # taken for dead, for instance after a suspension: another worker has the cell
        stopped: UserError | None = None

        def note(trial: Trial, name: str, value: Any) -> None:
            nonlocal lost
            try:
                trial.set_user_attr(name, value)
            except optuna.exceptions.UpdateFinishedTrialError:
                lost = True
                raise

        def objective(trial: Trial) -> float:
            nonlocal stopped
            attributes = trial.user_attrs
            # What waits for code of another version is dropped: its workers queue it again.
            mine = "key" in attributes and _version(trial) == cell.version
            if not mine or self._taken(attributes["key"], trial.number):
                raise optuna.TrialPruned
            queued = Cell(**{name: attributes[name] for name in CELL})
            try:
                result = run(queued, self._failed(queued.key))
            except UserError as error:
                # A run that was stopped has not failed.
                stopped = error if error.status > 1 else None
                note(trial, "interrupted" if stopped else "reason", str(error))
                raise
            except BaseException:
                note(trial, "interrupted", "")
                raise
            note(trial, "result", result)
            return result["score"]

        waiting = [t for t in self._trials() if t.state == TrialState.WAITING]
        if not any(t.user_attrs["key"] == cell.key for t in waiting):
            about = {name: getattr(cell, name) for name in CELL}
            self._study.enqueue_trial({}, user_attrs={"key": cell.key, **about})
        try:
            self._study.optimize(objective, n_trials=1)
        except Exception as error:
            if stopped:
                raise stopped from None
            if not lost and not isinstance(error, UserError):
                raise

    @_repeated_if_disconnected
    def revive(self) -> None:
        """Queues the cells of dead workers again."""
        self._storage.wait_for_heartbeats()
        optuna.storages.fail_stale_trials(self._study)
        # Optuna does not notice workers that died before their first heartbeat.
        with self._storage.engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT trial_id FROM trial_heartbeats"))
            heard = {row[0] for row in rows}
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and trial._trial_id not in heard:
                now = time.monotonic()
                if now - self._silent_since.setdefault(trial.number, now) > GRACE:
                    self._study.tell(trial.number, state=TrialState.FAIL)

    @_repeated_if_disconnected
    def forgive(self) -> None:
        """Queues all failed cells again."""
        last = max((trial.number for trial in self._trials()), default=-1)
        self._study.set_user_attr("forgiven", last)

    def _trials(self) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if "key" in trial.user_attrs and trial.state != TrialState.PRUNED
        ]

    def _taken(self, key: str, number: int) -> bool:
        """Whether the cell was queued before, in a trial that has not failed. A waiting trial
        counts, too: trials are not always started in their order, and both would run."""
        before = (TrialState.WAITING, TrialState.RUNNING)
        return any(
            trial.user_attrs["key"] == key
            and trial.number != number
            and (
                trial.state == TrialState.COMPLETE
                or (trial.state in before and trial.number < number)
            )
            for trial in self._trials()
        )

    def _failed(self, key: str) -> bool:
        return any(
            t.user_attrs["key"] == key and t.state == TrialState.FAIL for t in self._trials()
        )


def _version(trial: Trial | FrozenTrial) -> int:
    return trial.user_attrs.get("version", 1)


def _record(trials: list[FrozenTrial], forgiven: int) -> Record:
    failures = [
        t for t in trials if t.state == TrialState.FAIL and "interrupted" not in t.user_attrs
    ]
    attempts = len(trials)
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            result = trial.user_attrs["result"]
            return Record("complete", None, attempts, result, _version(trial))
    if any(trial.state == TrialState.RUNNING for trial in trials):
        return Record("running", None, attempts)
    counted = [t for t in failures if t.number > forgiven]
    reasons = [t.user_attrs["reason"] for t in counted if "reason" in t.user_attrs]
    if reasons:
        return Record("failed", reasons[-1], attempts)
    if len(counted) >= DEATHS:
        return Record("failed", f"its worker died {len(counted)} times", attempts)
    return Record("waiting", None, attempts)
