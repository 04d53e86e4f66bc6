"""The command `tinykan fit-image`, as a script."""

from tinykan.commands.fit_image import Config, main
from tinykan.runs.command_line import run

if __name__ == "__main__":
    run(main, Config)
