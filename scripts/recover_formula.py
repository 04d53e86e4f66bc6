"""The command `tinykan recover-formula`, as a script."""

from tinykan.commands.recover_formula import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
