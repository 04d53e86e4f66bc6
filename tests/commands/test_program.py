"""The program `tinykan`: its commands are the scripts of the same names."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

import tinykan
from tests.helpers import ROOT
from tinykan.commands import COMMANDS, module
from tinykan.commands.__main__ import main


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs the program in this process; gives its status and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/tinykan", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def test_the_version_has_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tinykan.__version__"}
    assert f"\nversion: {tinykan.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_command_is_in_the_overview_and_every_module_is_a_command(program):
    modules = {path.stem for path in (ROOT / "tinykan" / "commands").glob("*.py")}
    names = {name.replace("-", "_") for name in COMMANDS}
    assert names == modules - {"__init__", "__main__"}
    status, shown, _ = program()
    assert status == 0 and program("--help") == (0, shown, "")
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "completion"])
def test_a_script_is_its_command(command):
    text = (ROOT / "scripts" / f"{command.replace('-', '_')}.py").read_text()
    assert f"from {module(command).__name__} import Config, main\n" in text


def test_a_command_runs_in_any_folder(tmp_path):
    (tmp_path / "camera.png").write_bytes((ROOT / "images" / "camera.png").read_bytes())
    options = ["--size", 16, "--model", "tanh", "--parameters", 200, "--depth", 1, "--steps", 2]
    command = [sys.executable, "-m", "tinykan.commands", "fit-image", "camera.png"]
    result = subprocess.run(
        [*command, *map(str, options)], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith("in runs/camera-tanh")
    assert (tmp_path / "runs" / "camera-tanh" / "comparison.png").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fit"], "tinykan: unknown command 'fit'; choose from fit-image, "),
        (["--nonsense"], "tinykan: unknown command '--nonsense'; choose from fit-image, "),
        (["fit-image"], "tinykan fit-image: the following arguments are required: image"),
        (["render", "none", "--width", "1"], "tinykan render: argument --width: 1 is below"),
    ],
)
def test_wrong_arguments_end_in_one_line(program, arguments, line):
    status, printed, error = program(*arguments)
    assert status == 2 and not printed
    assert error.startswith(line) and error.count("\n") == 1


def test_the_version_is_printed(program):
    assert program("--version") == (0, f"tinykan {tinykan.__version__}\n", "")
