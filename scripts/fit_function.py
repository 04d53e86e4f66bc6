"""The command `tinykan fit-function`, as a script."""

from tinykan.commands.fit_function import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
