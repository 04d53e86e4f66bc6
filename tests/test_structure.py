"""The package is a core and wings: what may import what, and how large the core may be."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGE = ROOT / "tinykan"
# What the modules of each wing may import beside one another. The core's modules do without wings,
# but for the kernels below; `tinykan/__init__.py` re-exports public names.
ALLOWED = {
    "core": set(),
    "__init__": {"core", "taylor", "variants", "interpret", "tasks", "runs"},
    "kernels": {"core"},
    "taylor": {"core"},
    "variants": {"core"},
    "fitting": {"core"},
    "interpret": {"core", "fitting", "tasks"},
    "interop": {"core", "interpret"},
    "export": {"core", "variants", "interpret", "tasks"},
    "tasks": {"core", "taylor"},
    "runs": {"core", "variants", "fitting", "tasks"},
    "studies": {"core", "tasks", "runs"},
    "sklearn": {"core", "interpret", "tasks", "runs"},
    "commands": {"__init__", "core", "interpret", "export", "tasks", "runs", "studies"},
}
WITH_KERNELS = {f"tinykan{m}" for m in ("", ".layers", ".networks", ".optim", ".device")}
WITH_KERNELS |= {"tinykan.taylor.networks", "tinykan.variants.node_layer", "tinykan.fitting.muon"}
WITH_KERNELS |= {"tinykan.fitting.optimizers"}  # which differ between versions of tinygrad
# Grids and L-BFGS refine what `fit` trains, and are imported when it is asked for them.
INSIDE_FUNCTIONS = {("tinykan.training", "fitting")}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
WINGS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def wing(module: str) -> str:
    _, *rest = module.split(".")
    return rest[0] if rest and rest[0] in WINGS else "core" if rest else "__init__"


def imports(module: str) -> dict[str, bool]:
    """The package's modules that `module` imports, and whether only inside functions."""
    tree = ast.parse(MODULES[module].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in names]
        for name in MODULES.keys() & set(names):
            found[name] = found.get(name, True) and id(node) in inside
    return found


def points_up(module: str, target: str, inside: bool) -> bool:
    here, there = wing(module), wing(target)
    if there == "kernels":
        return here != "kernels" and module not in WITH_KERNELS
    if inside and (module, there) in INSIDE_FUNCTIONS:
        return False
    if here == "fitting" and target == "tinykan.training":
        return True
    return here != there and there not in ALLOWED[here]


def test_no_import_points_up():
    arrows = [(m, target, inside) for m in MODULES for target, inside in imports(m).items()]
    upward = [f"{arrow[0]} imports {arrow[1]}" for arrow in arrows if points_up(*arrow)]
    assert not upward, "\n".join(upward)


def test_no_imports_go_in_circles():
    TopologicalSorter({module: imports(module) for module in MODULES}).prepare()


def test_the_core_is_small():
    files = list(PACKAGE.glob("*.py"))
    assert len(files) <= 14
    assert sum(len(path.read_text().splitlines()) for path in files) <= 1700


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_says_what_it_is(name):
    assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text()))


@pytest.mark.parametrize(
    ("module", "target", "inside"),
    [
        ("tinykan.basis", "tinykan.kernels.spline", False),
        ("tinykan.fitting.grids", "tinykan.kernels", False),
        ("tinykan.training", "tinykan.fitting.grids", False),
        ("tinykan.fitting.lbfgs", "tinykan.training", True),
        ("tinykan.checkpoint", "tinykan.interpret.symbolic", True),
        ("tinykan.tasks.task", "tinykan.runs.presets", False),
        ("tinykan.basis", "tinykan", False),
    ],
)
def test_what_points_up(module, target, inside):
    assert points_up(module, target, inside)
