"""Workers of a study: whole, interrupted, killed, and several at once."""

from __future__ import annotations

import json
import os
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
from tinykan.studies.worker import known_cells, run_cell


def ablate(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts" / "ablate.py"), "tiny.toml", *arguments]
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


def postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found += [Path(path).resolve() for path in [shutil.which("initdb")] if path]
    return found[0].parent if found else None


@pytest.fixture
def postgres():
    """The URL of a server on loopback, with an empty database."""
    binaries = postgres_binaries()
    pytest.importorskip("psycopg")
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be run by root
    home = Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's folders are closed to other users
    shutil.chown(home, user or os.geteuid())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def command(name: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / name, *arguments], user=user, cwd=home, check=True, capture_output=True
        )

    data = str(home / "data")
    command("initdb", "-D", data, "-U", "kan", "-A", "trust")
    options = f"-h 127.0.0.1 -p {port} -k {home}"
    command("pg_ctl", "-D", data, "-o", options, "-l", str(home / "log"), "-w", "start")
    try:
        command("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "kan", "study")
        yield f"postgresql+psycopg://kan@127.0.0.1:{port}/study"
    finally:
        command("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(home)


@pytest.mark.long
def test_four_workers_of_which_two_are_killed(study, tmp_path, postgres):
    """On one study in PostgreSQL, each in a folder of its own, as on four machines."""
    tiny = study(LONGER.replace("3000", "1500"))
    workers = []
    for number in range(4):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        shutil.copy(tiny.path, folder)
        workers.append(ablate(folder, "--storage", postgres))
    queue = Queue(postgres, "tiny")

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
    after = known_cells(tiny, queue)
    assert len(after) == 13 and {record.state for _, record in after} == {"complete"}
    # The killed ones' cells were run again, and no other more than once to its end.
    assert sum(record.attempts > 1 for _, record in after) >= 1
    trials = [t for t in queue._trials() if t.state.name == "COMPLETE"]
    assert len(trials) == len({t.user_attrs["key"] for t in trials}) == 13


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
