"""The command `tinykan solve-equation`, as a script."""

from tinykan.commands.solve_equation import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
