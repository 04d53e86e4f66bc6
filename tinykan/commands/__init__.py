"""The commands of `tinykan`: each module has the options of one, and its `main`."""

import importlib
from types import ModuleType

COMMANDS = {
    "fit-image": "fits an image, and writes the model, pictures and scores",
    "fit-function": "fits a function of one or two variables",
    "solve-equation": "solves a differential equation, such as Poisson's",
    "render": "draws a fitted image at any size",
    "export": "writes a network as C, a page to zoom into, GLSL or WGSL",
    "recover-formula": "searches for the formula behind a table or a function",
    "ablate": "runs a study: many models compared at equal parameter counts",
    "report": "writes a study's report again, from its results",
    "completion": "prints the completion of this command for bash, zsh or fish",
}


def module(command: str) -> ModuleType:
    """The module with a command's `Config` and `main`."""
    return importlib.import_module(f"tinykan.commands.{command.replace('-', '_')}")
