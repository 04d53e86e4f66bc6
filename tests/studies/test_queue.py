"""The queue that workers share."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from tests.studies.helpers import wait_for
from tinykan import UserError
from tinykan.studies.queue import DEATHS, Queue
from tinykan.studies.report import build_report
from tinykan.studies.worker import UNKNOWN, results


def test_cells_in_the_queue(study, tmp_path):
    first, second, *_ = study().cells(lambda cell: None)
    queue = Queue(f"sqlite:///{tmp_path / 'deep' / 'study.db'}", "tiny")
    ran = []

    def succeed(cell, again):
        ran.append((cell, again))
        return {"score": 3.5, "shape": "1-1"}

    def fail(cell, again):
        raise UserError("it diverged")

    def die(cell, again):
        raise OSError("no space left")

    queue.work(first, succeed)
    assert ran == [(first, False)]
    record = queue.records()[first.key]
    assert record.state == "complete" and record.result == {"score": 3.5, "shape": "1-1"}
    queue.work(first, succeed)  # what is done is never run again
    assert len(ran) == 1

    queue.work(second, fail)
    assert queue.records()[second.key].state == "failed"
    assert queue.records()[second.key].reason == "it diverged"
    queue.forgive()
    assert queue.records()[second.key].state == "waiting"
    with pytest.raises(OSError, match="no space left"):
        queue.work(second, die)
    assert queue.records()[second.key].state == "waiting"
    # Another worker, in a connection of its own, sees the same and goes on.
    Queue(f"sqlite:///{tmp_path / 'deep' / 'study.db'}", "tiny").work(second, succeed)
    assert ran[1] == (second, True)
    assert queue.records()[second.key].state == "complete"


def test_cells_of_other_code_are_left_alone(study, tmp_path):
    """A former one waits, another is complete: neither is run, nor taken for this code's."""
    tiny = study()
    now, *_ = tiny.cells(lambda cell: None)
    former = replace(now, version=now.version - 1)
    queue = Queue(f"sqlite:///{tmp_path / 'study.db'}", "tiny")
    queue.work(former, lambda *_: {"score": 1.0})
    waits = replace(former, data="other")
    queue._study.enqueue_trial({}, user_attrs={"key": waits.key, **asdict(waits)})
    result = {"shape": "", "parameters": 0, "compile_seconds": 0, "train_seconds": 0, "scores": {}}
    ran = []
    while queue.records().get(now.key, UNKNOWN).state == "waiting":
        queue.work(now, lambda cell, again: ran.append(cell) or {"score": 2.0, **result})
    assert [cell.key for cell in ran] == [now.key]
    assert queue.records()[former.key].version == now.version - 1
    found = results(tiny, queue, "")
    assert found.version == now.version and found.left_out == {str(former.version): 1}
    assert [c.key for c in found.cells if c.state == "complete"] == [now.key]
    expected = "Runs of other code are left out: 1 complete of version 1, where this is 2 of"
    assert expected in build_report(found).progress


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "the storage 'foo' is not the URL of a database; databases are sqlite:///FILE"),
        ("postgresql//me:secret@host/x", "'postgresql//me:***@host/x' is not the URL"),
        ("postgresql://me:secret@host:port/x", "is not the URL of a database"),
        ("foo://me:secret@host/x", "of an unknown kind, 'foo'"),
        ("mysql+nothing://me:secret@localhost/x", "of an unknown kind, 'mysql+nothing'"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "psycopg://me:***@127.0.0.1:1/none:"),
        ("postgresql+psycopg://me@no.such.host.invalid/x?password=secret", "cannot open the stor"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////proc/tinykan/study.db", "cannot open the storage sqlite:////proc/tinykan"),
        ("sqlite:///{here}/file/study.db", "cannot open the storage"),
        ("sqlite:///{here}", "unable to open database file"),
        ("sqlite:///{here}/file", "file is not a database"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path, url, message):
    (tmp_path / "file").write_text("not a database, whatever it is")
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        Queue(url.replace("{here}", str(tmp_path)), "tiny")
    text = str(error.value)
    assert message in text and "secret" not in text and "\n" not in text
    assert time.monotonic() - start < 20  # seconds, on a machine that is busy


def test_a_missing_driver_is_one_line(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"needs the driver psycopg, .* pip install 'psycopg"):
        Queue("postgresql+psycopg://me:secret@127.0.0.1:1/none", "tiny")


def test_the_script_says_it_in_one_line(script, study):
    path = study().path
    for url in ("foo", "foo://me:secret@host/x"):
        result = script("ablate.py", path, "--storage", url, cwd=path.parent)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
        assert "secret" not in result.stderr


@pytest.mark.long
def test_a_cell_that_kills_its_workers_is_given_up(study, tmp_path, monkeypatch):
    """At once, before a first heartbeat, or later."""
    for name, seconds in {"HEARTBEAT": 1, "GRACE": 2}.items():
        monkeypatch.setattr(f"tinykan.studies.storage.{name}", seconds)
    cell = study().cells(lambda cell: None)[0]
    url = f"sqlite:///{tmp_path / 'study.db'}"
    queue = Queue(url, "tiny")
    for death in range(DEATHS):
        if (worker := os.fork()) == 0:
            Queue(url, "tiny").work(cell, lambda *_, d=death: time.sleep(d) or os._exit(9))
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 9
        wait_for(lambda: queue.revive() or queue.records()[cell.key].state != "running", 20)
    record = queue.records()[cell.key]
    assert record.state == "failed" and record.reason == f"its worker died {DEATHS} times"


def test_a_database_that_goes_away_is_waited_for(study, tmp_path, capsys):
    cell, file = study().cells(lambda cell: None)[0], tmp_path / "study.db"
    queue = Queue(f"sqlite:///{file}", "tiny")
    queue.work(cell, lambda *_: {"score": 1.5})
    queue._storage.engine.dispose()
    file.rename(tmp_path / "away")
    file.mkdir()  # cannot be opened as a database
    back = threading.Timer(1.5, lambda: (file.rmdir(), (tmp_path / "away").rename(file)))
    back.start()
    assert queue.records()[cell.key].result == {"score": 1.5}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "study.db is away, waiting up to 300 s for it: " in said


def test_a_database_that_stays_away_is_one_line(study, tmp_path, monkeypatch):
    """Whatever Optuna makes of it in the middle of a cell."""
    monkeypatch.setattr("tinykan.studies.storage.OUTAGE", 1)
    cell, file = study().cells(lambda cell: None)[0], tmp_path / "study.db"
    queue = Queue(f"sqlite:///{file}", "tiny")

    def lose(*_):
        queue._storage.engine.dispose()
        file.unlink()
        file.mkdir()
        return {"score": 1.5}

    with pytest.raises(UserError, match=r"was away for 1 s: .*; run the same command again"):
        queue.work(cell, lose)
        queue.records()
