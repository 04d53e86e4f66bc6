"""The command `tinykan render`, as a script."""

from tinykan.commands.render import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
