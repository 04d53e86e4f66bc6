"""Workers of a study: whole, interrupted, killed, and several at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.studies.helpers import TINY, wait_for
from tinykan.runs.run import CHECKPOINT, PREVIOUS
from tinykan.studies.queue import Queue
from tinykan.studies.study import Study
from tinykan.studies.worker import known_cells, run_cell


def ablate(folder: Path, *arguments: str, study: str = "tiny.toml") -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts" / "ablate.py"), study, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def test_a_study_from_start_to_report(study, tmp_path):
    study(TINY + '[arms.edge]\nmodel = "edge-tanh"\nparameters = 3\n')
    worker = ablate(tmp_path)
    out, err = worker.communicate(timeout=300)
    assert worker.returncode == 0, err
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    cells = results["cells"]
    states = [cell["state"] for cell in cells]
    # The arm that meets no budget fails in its search, with the reason, and the others go on.
    assert states.count("complete") == 13 and states.count("failed") == 2
    assert all("within 2 % of 3 parameters" in c["reason"] for c in cells if c["arm"] == "edge")
    done = [cell for cell in cells if cell["state"] == "complete"]
    assert all(abs(c["parameters"] - 300) <= 6 for c in done)
    for cell in done:
        assert cell["curve"][-1][0] == cell["config"]["steps"]
        assert cell["score"] == cell["scores"]["psnr"] and cell["versions"]["tinygrad"]
    best = {
        cell["arm"]: max(
            (c["score"], c["config"]["lr"])
            for c in done
            if c["phase"] == "search" and c["arm"] == cell["arm"]
        )[1]
        for cell in done
    }
    finals = [cell for cell in done if cell["phase"] == "final"]
    assert all(cell["config"]["lr"] == best[cell["arm"]] for cell in finals)
    assert sum(cell["picture"] is not None for cell in finals) == 4  # an arm's at some steps, once
    assert (tmp_path / "tiny" / "report.html").exists()

    again = ablate(tmp_path)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0 and "search" not in out and "final" not in out
    assert json.loads((tmp_path / "tiny" / "results.json").read_text()) == results
    # Without its database, the study takes the results from the folders of its runs.
    (tmp_path / "runs" / "tiny" / "study.db").unlink()
    third = ablate(tmp_path, "--retry")
    third.communicate(timeout=300)
    found = json.loads((tmp_path / "tiny" / "results.json").read_text())["cells"]
    assert [c.get("curve") for c in found] == [c.get("curve") for c in cells]


LONGER = TINY.replace("steps = 8", "steps = 3000").replace("steps = 4", "steps = 40")


@pytest.mark.long
def test_ctrl_c_loses_at_most_the_running_cell(study, tmp_path):
    study(LONGER)
    worker = ablate(tmp_path)
    lines = []
    for line in worker.stdout:
        lines.append(line)
        if line.startswith("[6/"):  # the last cell of the search has ended
            break
    time.sleep(1)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    assert worker.returncode == 130
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    states = [cell["state"] for cell in results["cells"]]
    assert states.count("complete") >= 6 and "running" not in states and "failed" not in states
    done = states.count("complete")
    study(LONGER.replace("steps = 3000", "steps = 60"))  # what is done counts in a changed study
    out, err = (again := ablate(tmp_path)).communicate(timeout=300)
    assert again.returncode == 0, err
    assert "search" not in out and sum(line.startswith("[") for line in out.splitlines()) == 7
    assert done >= 6


@pytest.mark.long
def test_a_cell_goes_on_from_whichever_checkpoint_is_left(study, tmp_path):
    """Its worker was killed between the two renames that put a new checkpoint in its place."""
    tiny = study()
    cell, folder = tiny.cells(lambda cell: None)[0], tmp_path / "cell"
    program = (
        "import os\nfrom pathlib import Path\n"
        "from tinykan.studies.study import Study\nfrom tinykan.studies.worker import run_cell\n"
        f"tiny = Study(Path({str(tiny.path)!r}))\n"
        "type(tiny.task).fitted = lambda *_: os._exit(9)\n"  # trained, and not finished
        f"run_cell(tiny, tiny.cells(lambda cell: None)[0], Path({str(folder)!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 9
    (folder / CHECKPOINT).rename(folder / PREVIOUS)
    found, whole = (run_cell(tiny, cell, place) for place in (folder, tmp_path / "whole"))
    assert found["scores"] == whole["scores"]


class Postgres:
    """A server on loopback with an empty database, which can be stopped and started."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to be run by root
        self.home = Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's are closed to other users
        shutil.chown(self.home, self._user or os.geteuid())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.url = f"postgresql+psycopg://kan@127.0.0.1:{self._port}/study"
        self._command("initdb", "-D", "data", "-U", "kan", "-A", "trust")
        self.start()
        self._command("createdb", "-h", "127.0.0.1", "-p", self._port, "-U", "kan", "study")

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self._port} -k {self.home}"
        self._command("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")

    def stop(self) -> None:
        """At once, as in a crash: transactions are cut off."""
        self._command("pg_ctl", "-D", "data", "-m", "immediate", "stop")

    def _command(self, name: str, *arguments: str) -> None:
        command = [self._binaries / name, *arguments]
        subprocess.run(command, user=self._user, cwd=self.home, check=True, capture_output=True)


@pytest.fixture
def postgres():
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found += [Path(path).resolve() for path in [shutil.which("initdb")] if path]
    if not found:
        pytest.skip("PostgreSQL is not installed")
    server = Postgres(found[0].parent)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.home)


@pytest.mark.long
def test_four_workers_of_which_two_are_killed(study, tmp_path, postgres):
    """On one study in PostgreSQL, each in a folder of its own, as on four machines."""
    tiny = study(LONGER.replace("3000", "1500"))
    workers = []
    for number in range(4):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        shutil.copy(tiny.path, folder)
        workers.append(ablate(folder, "--storage", postgres.url))
    queue = Queue(postgres.url, "tiny")

    def finals() -> list:
        return [
            r for c, r in known_cells(tiny, queue) if c.phase == "final" and r.state == "running"
        ]

    wait_for(lambda: len(finals()) >= 3 or not all(w.poll() is None for w in workers))
    for worker in workers[:2]:
        worker.kill()
    for worker in workers:
        worker.communicate(timeout=300)
    assert [w.returncode for w in workers] == [-9, -9, 0, 0]
    # The killed ones' cells were run again, and no other more than once to its end.
    assert sum(record.attempts > 1 for _, record in known_cells(tiny, queue)) >= 1
    assert_complete_once(tiny, queue, 13)


def assert_complete_once(tiny, queue: Queue, count: int) -> None:
    after = known_cells(tiny, queue)
    assert len(after) == count and {record.state for _, record in after} == {"complete"}
    trials = [t for t in queue._trials() if t.state.name == "COMPLETE"]
    assert len(trials) == len({t.user_attrs["key"] for t in trials}) == count


@pytest.mark.long
def test_a_database_that_goes_away_for_a_minute(study, tmp_path, postgres):
    """Two workers on two machines wait for it, and go on without a traceback."""
    tiny = study(LONGER.replace("3000", "1500"))
    workers = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        shutil.copy(tiny.path, folder)
        workers.append(ablate(folder, "--storage", postgres.url))
    queue = Queue(postgres.url, "tiny")
    running = lambda: sum(r.state == "running" for r in queue.records().values())  # noqa: E731
    wait_for(lambda: running() == 2)
    queue._storage.engine.dispose()
    postgres.stop()
    time.sleep(60)
    assert all(worker.poll() is None for worker in workers)
    postgres.start()
    for worker in workers:
        err = worker.communicate(timeout=300)[1]
        assert worker.returncode == 0 and "Traceback" not in err, err
        assert "is away, waiting up to 300 s for it" in err
    assert_complete_once(tiny, queue, 13)


MANY = f"""
task = "ImageTask(size=12)"
[fixed]
parameters = 300
depth = 2
batch = 64
lr = 1e-3
[[final]]
steps = 300
seed = {list(range(40))}
[arms.tanh]
model = "tanh"
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_workers_killed_at_random_moments(tmp_path, kind, request):
    """Of three workers on one study one is killed again and again, at its start, while it trains or
    while it writes. Where its forty cells are done before 200 kills, there is another study."""
    chance, kills = random.Random(kind), 0
    server = request.getfixturevalue("postgres") if kind == "postgres" else None
    while kills < 200:
        place = Path(tempfile.mkdtemp(prefix="study", dir=tmp_path))
        (place / f"{place.name}.toml").write_text(MANY)
        many = Study(place / f"{place.name}.toml")
        url = server.url if server else f"sqlite:///{place / 'study.db'}"

        def start() -> subprocess.Popen:
            return ablate(place, "--storage", url, "--retry", study=many.path.name)  # noqa: B023

        workers = [start() for _ in range(3)]
        while kills < 200 and all(worker.poll() is None for worker in workers):
            time.sleep(chance.uniform(0, 5))
            workers.pop(0).kill()
            workers.append(start())
            kills += 1
        for worker in workers:
            err = worker.communicate(timeout=3000)[1]
            assert worker.returncode == 0 and "Traceback" not in err, err
        queue = Queue(url, many.name)
        assert_complete_once(many, queue, 40)
        # What was interrupted has the result of a cell that is trained without.
        cells = known_cells(many, queue)
        cell, record = max(cells, key=lambda pair: pair[1].attempts)
        assert record.attempts > 1
        whole = run_cell(many, cell, place / "whole")
        assert whole["scores"] == record.result["scores"]


def test_workers_that_start_at_once_run_every_cell_once(study, tmp_path):
    tiny = study(
        'task = "ImageTask(size=12)"\n[[final]]\nsteps = 8\n'
        f"seed = {list(range(20))}\n[arms.tanh]\nmodel = 'tanh'\n"
    )
    url, log, start = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "log", time.time() + 1

    def run(cell, again):
        with log.open("a") as file:
            file.write(f"{cell.key}\n")
        time.sleep(0.02)
        return {"score": 1.0}

    def work() -> None:
        queue = Queue(url, "tiny")
        time.sleep(max(0.0, start - time.time()))
        while left := [c for c, r in known_cells(tiny, queue) if r.state == "waiting"]:
            queue.work(left[0], run)

    workers = []
    for _ in range(6):
        if (worker := os.fork()) == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        workers.append(worker)
    assert [os.waitstatus_to_exitcode(os.waitpid(w, 0)[1]) for w in workers] == [0] * 6
    ran = log.read_text().split()
    assert len(ran) == len(set(ran)) == 20
