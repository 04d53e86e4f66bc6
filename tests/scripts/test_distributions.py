"""The wheel has every file of the package, and the source distribution what the tests need."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tinykan
from tests.helpers import ROOT

PROGRAM = """
from setuptools import build_meta
print(build_meta.build_{kind}({folder!r}))
"""


def built(kind: str, folder: Path) -> Path:
    """A distribution, built in a copy of the repository's files."""
    copy = folder / "copy"
    if not copy.exists():
        tracked = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
        )
        if tracked.returncode:
            pytest.skip("not a checkout")
        for name in tracked.stdout.split("\0"):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes((ROOT / name).read_bytes())
    program = PROGRAM.format(kind=kind, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=copy)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.mark.long
def test_the_wheel_and_the_source_distribution(tmp_path):
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("setuptools is older than pyproject.toml asks for")
    wheel = zipfile.ZipFile(built("wheel", tmp_path))
    files = {name for name in wheel.namelist() if name.startswith("tinykan/")}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tinykan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == package
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert b"tinykan = tinykan.commands.__main__:main" in wheel.read(entry)
    assert f"tinykan-{tinykan.__version__}.dist-info" in entry

    with tarfile.open(built("sdist", tmp_path)) as source:
        names = {name.split("/", 1)[1] for name in source.getnames() if "/" in name}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    needed = {"docs/guide.md", "docs/studies/grid.toml", "images/camera.png", "Makefile"}
    assert package | tests | needed <= names
    large = (".webp", "results.json", "astronaut.png", ".pyc")
    assert not [name for name in names if name.endswith(large)]
