"""The database of a study: opened by its URL, locked from the start of each transaction, as SQLite
needs it, and waited for when it goes away."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinykan.errors import UserError, need, warn

if TYPE_CHECKING:
    import optuna
    import sqlalchemy
else:
    optuna = need("optuna", extra="study", purpose="a study")
    sqlalchemy = need("sqlalchemy", extra="study", purpose="a study")

HEARTBEAT = 5  # seconds between heartbeats of a worker
GRACE = 20  # seconds without a heartbeat, after which its cell is queued again
OUTAGE = 300  # seconds for which a worker waits for a database that went away
RETRY = 1.0  # seconds between attempts to connect to it
PATIENCE = 5  # seconds, for a connection to PostgreSQL
EXAMPLES = (
    "databases are sqlite:///FILE and postgresql+psycopg://USER@HOST/NAME, which needs: "
    "pip install 'psycopg[binary]' (tinykan's extra 'postgres' has it)"
)
FAILURES = (sqlalchemy.exc.SQLAlchemyError, OSError)


class Storage(optuna.storages.RDBStorage):
    """Optuna's storage at `url`. While the database is away, whoever needs a connection waits for
    it; after `OUTAGE` seconds, `lost` is the UserError that says so. A connection that is lost in
    the middle of a transaction raises what Optuna makes of it, and counts in `disconnections`.

    Raises UserError for a URL that is none, a database that cannot be opened and a missing driver.
    """

    def __init__(self, url: str) -> None:
        self.where = _opened_once(url)
        self.lost: UserError | None = None
        self.disconnections = 0
        self._away_since: float | None = None
        self._back_since = -float(GRACE)
        self._connecting = threading.Lock()
        super().__init__(
            self.where.render_as_string(hide_password=False),
            engine_kwargs=_engine_options(self.where),
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
        )
        if self.where.get_backend_name() == "sqlite":
            _lock_from_the_start(self.engine)
        sqlalchemy.event.listen(self.engine, "do_connect", self._connect)
        sqlalchemy.event.listen(self.engine, "handle_error", self._count)

    def record_heartbeat(self, trial_id: int) -> None:
        # In a thread of its own, where nobody would see the error. The next one comes soon.
        with contextlib.suppress(UserError, optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)

    def wait_for_heartbeats(self) -> None:
        """After an outage, waits until every worker that lives has sent a heartbeat again."""
        time.sleep(max(0.0, self._back_since + 2 * HEARTBEAT - time.monotonic()))

    def _connect(self, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                self._wait(error)
            else:
                with self._connecting:
                    if self._away_since is not None:
                        self._away_since, self._back_since = None, time.monotonic()
                return connection

    def _wait(self, error: Exception) -> None:
        with self._connecting:
            now, reason = time.monotonic(), " ".join(str(error).split())
            if self._away_since is None:
                self._away_since = now
                shown = _shown(self.where)
                warn(f"the storage {shown} is away, waiting up to {OUTAGE} s for it: {reason}")
            if now - self._away_since >= OUTAGE:
                about = f"the storage {_shown(self.where)} was away for {OUTAGE} s: {reason}"
                self.lost = UserError(f"{about}; run the same command again to continue")
                raise self.lost from None
        time.sleep(RETRY)

    def _count(self, context: Any) -> None:
        self.disconnections += context.is_disconnect


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
        raise not_opened(where, error) from None
    return where


def not_opened(where: sqlalchemy.URL | str, error: Exception) -> UserError:
    reason = str(getattr(error, "orig", None) or error.__cause__ or error).strip()
    return UserError(f"cannot open the storage {_shown(where)}: {' '.join(reason.split())}")


def _shown(where: sqlalchemy.URL | str) -> str:
    """Without passwords, which may be among the options, too."""
    where = sqlalchemy.engine.make_url(where)
    query = {name: "***" if "password" in name else value for name, value in where.query.items()}
    return where.set(query=query).render_as_string(hide_password=True)


def _engine_options(where: sqlalchemy.URL) -> dict[str, Any]:
    kind = where.get_backend_name()
    if kind == "sqlite":
        return {"connect_args": {"timeout": 60}}
    patience = kind == "postgresql" and "connect_timeout" not in where.query
    arguments = {"connect_args": {"connect_timeout": PATIENCE}} if patience else {}
    return {"pool_pre_ping": True, **arguments}


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
