"""The queue of a study's cells, in a database that workers share: SQLite on one machine, PostgreSQL
on several. It is an Optuna study, which Optuna's tools can read."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinykan.errors import UserError, need
from tinykan.studies.study import Cell

if TYPE_CHECKING:
    import optuna
    import sqlalchemy
    from optuna.trial import FrozenTrial, Trial, TrialState
else:
    optuna = need("optuna", extra="study", purpose="a study")
    sqlalchemy = need("sqlalchemy", extra="study", purpose="a study")
    TrialState = optuna.trial.TrialState

HEARTBEAT = 5  # seconds between heartbeats of a worker
GRACE = 20  # seconds without a heartbeat, after which its cell is queued again
DEATHS = 3  # of workers, after which the cell is taken to be the cause
PATIENCE = 5  # seconds, for a connection to PostgreSQL
EXAMPLES = (
    "databases are sqlite:///FILE and postgresql+psycopg://USER@HOST/NAME, which needs: "
    "pip install 'psycopg[binary]' (tinykan's extra 'postgres' has it)"
)
FAILURES = (sqlalchemy.exc.SQLAlchemyError, OSError)
CELL = ("arm", "phase", "config", "data")

optuna.logging.set_verbosity(optuna.logging.CRITICAL)
# Heartbeats are experimental in Optuna.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Record:
    """The state of a cell."""

    state: str  # waiting, running, complete or failed
    reason: str | None = None  # why it failed
    attempts: int = 0
    result: dict[str, Any] | None = None


class Queue:
    """The cells of the study `name` in the database at `url`, and their records. Raises UserError
    for a URL that is none, a database that cannot be opened and a missing driver."""

    def __init__(self, url: str, name: str) -> None:
        self._silent_since: dict[int, float] = {}
        where = _opened_once(url)
        attempts = 5  # workers that start at once may collide when they create tables
        for attempt in range(attempts):
            try:
                self._storage = _storage(where)
                self._study = optuna.create_study(
                    storage=self._storage, study_name=name, load_if_exists=True
                )
                return
            except (*FAILURES, optuna.exceptions.StorageInternalError, RuntimeError) as error:
                # A RuntimeError is a database of another version of Optuna.
                if attempt == attempts - 1 or isinstance(error, RuntimeError):
                    raise _not_opened(where, error) from None
                time.sleep(0.5)

    def records(self) -> dict[str, Record]:
        """Records of all cells that were ever queued, by key."""
        trials: dict[str, list[FrozenTrial]] = {}
        for trial in self._trials():
            trials.setdefault(trial.user_attrs["key"], []).append(trial)
        forgiven = self._study.user_attrs.get("forgiven", -1)
        return {key: _record(found, forgiven) for key, found in trials.items()}

    def work(self, cell: Cell, run: Callable[[Cell, bool], dict[str, Any]]) -> None:
        """Queues `cell` unless it waits already, and runs one waiting cell, this or another:
        `run(cell, whether it failed before)` returns its result, which includes "score".

        If `run` raises UserError, the cell has failed for that reason. Any other exception, and the
        error of a run that was stopped, leaves the cell to other workers and is raised again.
        """

        lost = False  # taken for dead, for instance after a suspension: another worker has the cell

        def note(trial: Trial, name: str, value: Any) -> None:
            nonlocal lost
            try:
                trial.set_user_attr(name, value)
            except optuna.exceptions.UpdateFinishedTrialError:
                lost = True
                raise

        def objective(trial: Trial) -> float:
            attributes = trial.user_attrs
            if "key" not in attributes or self._taken(attributes["key"], trial.number):
                raise optuna.TrialPruned
            queued = Cell(**{name: attributes[name] for name in CELL})
            try:
                result = run(queued, self._failed(queued.key))
            except UserError as error:
                # A run that was stopped has not failed.
                note(trial, "interrupted" if error.status > 1 else "reason", str(error))
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
        except UserError as error:
            if error.status > 1:
                raise
        except Exception:
            if not lost:
                raise

    def revive(self) -> None:
        """Queues the cells of dead workers again."""
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


def _opened_once(url: str) -> sqlalchemy.URL:
    """The URL of a database to which there was a connection; SQLite's folder is made."""
    try:
        where = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        hidden = re.sub(r":[^@]*@", ":***@", url)
        raise UserError(
            f"the storage {hidden!r} is not the URL of a database; {EXAMPLES}"
        ) from None
    if where.get_backend_name() == "sqlite" and where.database in (None, "", ":memory:"):
        raise UserError(f"the storage {url!r} names no file, as sqlite:///runs/study.db does")
    try:
        if where.get_backend_name() == "sqlite":
            Path(str(where.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(where, **_engine_options(where))
        engine.connect().close()
        engine.dispose()
    except ImportError as error:
        shown, package = _shown(where), error.name or error
        raise UserError(
            f"the storage {shown} needs the driver {package}, which is not installed; {EXAMPLES}"
        ) from None
    except sqlalchemy.exc.NoSuchModuleError:
        raise UserError(
            f"the storage {_shown(where)} is of an unknown kind, {where.drivername!r}; {EXAMPLES}"
        ) from None
    except FAILURES as error:
        raise _not_opened(where, error) from None
    return where


def _not_opened(where: sqlalchemy.URL, error: Exception) -> UserError:
    reason = str(getattr(error, "orig", None) or error.__cause__ or error).strip()
    return UserError(f"cannot open the storage {_shown(where)}: {' '.join(reason.split())}")


def _shown(where: sqlalchemy.URL) -> str:
    """Without passwords, which may be among the options, too."""
    query = {name: "***" if "password" in name else value for name, value in where.query.items()}
    return where.set(query=query).render_as_string(hide_password=True)


def _engine_options(where: sqlalchemy.URL) -> dict[str, Any]:
    kind = where.get_backend_name()
    if kind == "sqlite":
        return {"connect_args": {"timeout": 60}}
    patience = kind == "postgresql" and "connect_timeout" not in where.query
    arguments = {"connect_args": {"connect_timeout": PATIENCE}} if patience else {}
    return {"pool_pre_ping": True, **arguments}


def _storage(where: sqlalchemy.URL) -> optuna.storages.RDBStorage:
    storage = optuna.storages.RDBStorage(
        where.render_as_string(hide_password=False),
        engine_kwargs=_engine_options(where),
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
    )
    if where.get_backend_name() == "sqlite":
        _lock_from_the_start(storage.engine)
    return storage


def _lock_from_the_start(engine: sqlalchemy.Engine) -> None:
    """Makes SQLite's transactions lock at their beginning. Optuna reads that a trial waits, then
    writes that it runs; with Python's transactions, which lock at the first write, two workers
    could both read before either writes."""

    @sqlalchemy.event.listens_for(engine, "connect")
    def by_hand(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # of earlier connections


def _record(trials: list[FrozenTrial], forgiven: int) -> Record:
    failures = [
        t for t in trials if t.state == TrialState.FAIL and "interrupted" not in t.user_attrs
    ]
    attempts = len(trials)
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            return Record("complete", None, attempts, trial.user_attrs["result"])
    if any(trial.state == TrialState.RUNNING for trial in trials):
        return Record("running", None, attempts)
    counted = [t for t in failures if t.number > forgiven]
    reasons = [t.user_attrs["reason"] for t in counted if "reason" in t.user_attrs]
    if reasons:
        return Record("failed", reasons[-1], attempts)
    if len(counted) >= DEATHS:
        return Record("failed", f"its worker died {len(counted)} times", attempts)
    return Record("waiting", None, attempts)
