"""The program `tinykan`: `tinykan COMMAND ...` is the `main` of the module of that name."""

from __future__ import annotations

import sys
from typing import NoReturn

import tinykan
from tinykan.commands import COMMANDS, module
from tinykan.runs.command_line import fail, run


def overview() -> str:
    lines = [f"  {name:17}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: tinykan COMMAND ... | --version", "", str(tinykan.__doc__), "", *lines, ""]
        + ["tinykan COMMAND --help has the options of each."]
    )


def main() -> NoReturn:
    """Runs the command that the first argument names."""
    command, *rest = sys.argv[1:] or ["--help"]
    sys.argv[:] = ["tinykan", *rest]  # for messages, and for argparse
    if command in ("-h", "--help"):
        print(overview())
    elif command == "--version":
        print(f"tinykan {tinykan.__version__}")
    elif command not in COMMANDS:
        fail(f"unknown command {command!r}; choose from {', '.join(COMMANDS)}", 2)
    else:
        sys.argv[0] += f" {command}"
        chosen = module(command)
        run(chosen.main, chosen.Config)
    sys.exit(0)


if __name__ == "__main__":
    main()
