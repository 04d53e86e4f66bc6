"""The command `tinykan export`, as a script."""

from tinykan.commands.export import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
