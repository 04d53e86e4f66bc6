"""Every public function that takes arrays, found by its signature, refuses in one line those that
do not fit. A new function fails the first test until it has a case here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from tinygrad import Tensor

import tinykan
from tinykan import (
    KAN,
    KANLayer,
    Predictor,
    Standardized,
    UserError,
    batches,
    fit,
    pixel_sampler,
    save_image,
    split,
)
from tinykan.export import lowered
from tinykan.export.page import page
from tinykan.fitting import update_grid
from tinykan.interpret import attribution, edge_curve, input_ranges, interaction, prune, remove
from tinykan.interpret.diagram import diagram, save_diagram
from tinykan.interpret.recovery import recover
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic, suggest_symbolic
from tinykan.tasks import Validation, metrics

MODEL = KAN([2, 3, 1])
X = np.random.default_rng(0).uniform(-1, 1, (40, 2))
Y = X[:, :1]
IMAGE = np.random.default_rng(1).uniform(-1, 1, (12, 14, 1)).astype(np.float32)

# By qualified name: a call for each argument that is an array.
ROWS = {
    "tasks.sampling.batches": [lambda x: batches(x, Y), lambda y: batches(X, y)],
    "tasks.sampling.split": [lambda x: split(x, Y), lambda y: split(X, y)],
    "tasks.fit.fit": [
        lambda x: fit(MODEL, batches(X, Y), validation=(x, Y)),
        lambda y: fit(MODEL, batches(X, Y), validation=(X, y)),
    ],
    "tasks.fit.Validation": [
        lambda x: Validation(MODEL, x, Y),
        lambda y: Validation(MODEL, X, y),
    ],
    "tasks.prediction.Predictor.__call__": [Predictor(MODEL)],
    "tasks.standardization.Standardized": [
        lambda x: Standardized(x, Y),
        lambda y: Standardized(X, y),
    ],
    "tasks.standardization.Standardized.standardized": [
        lambda x: Standardized(X, Y).standardized(x, Y),
        lambda y: Standardized(X, Y).standardized(X, y),
    ],
    "tasks.standardization.PredictorInUnits.__call__": [Standardized(X, Y).predictor(MODEL)],
    "fitting.grids.update_grid": [lambda x: update_grid(KANLayer(2, 1), x)],
    "interpret.attribution.attribution": [lambda x: attribution(MODEL, x)],
    "interpret.pruning.prune": [lambda x: prune(MODEL, x)],
    "interpret.pruning.remove": [lambda x: remove(MODEL, x, nodes=[(1, 0)])],
    "interpret.curves.edge_curve": [lambda x: edge_curve(MODEL, x, 0, 0, 0)],
    "interpret.curves.input_ranges": [lambda x: input_ranges(MODEL, x)],
    "interpret.interactions.interaction": [lambda x: interaction(MODEL, x)],
    "interpret.symbolification.auto_symbolic": [lambda x: auto_symbolic(MODEL, x)],
    "interpret.symbolification.suggest_symbolic": [lambda x: suggest_symbolic(MODEL, x, 0, 0, 0)],
    "interpret.symbolification.fix_symbolic": [lambda x: fix_symbolic(MODEL, 0, 0, 0, "sin", x=x)],
    "interpret.diagram.diagram": [lambda x: diagram(MODEL, x)],
    "interpret.diagram.save_diagram": [lambda x: save_diagram(MODEL, x, "never.png")],
    "interpret.recovery.recover": [lambda x: recover(x, Y), lambda y: recover(X, y)],
}
IMAGES = {
    "tasks.images.pixel_sampler": [lambda image: pixel_sampler(image, 4, 0)],
    "export.page.page": [lambda image: page(lowered(MODEL), "picture", [image])],
    "tasks.images.save_image": [lambda image: save_image(image, "never.png")],
    "tasks.metrics.mse": [lambda p: metrics.mse(p, IMAGE), lambda t: metrics.mse(IMAGE, t)],
    "tasks.metrics.psnr": [lambda p: metrics.psnr(p, IMAGE), lambda t: metrics.psnr(IMAGE, t)],
    "tasks.metrics.ssim": [lambda p: metrics.ssim(p, IMAGE), lambda t: metrics.ssim(IMAGE, t)],
}
# Modules and functions that are called with arrays which tinykan made, or checked before.
INTERNAL = {
    "export.form",  # computes infinities and NaN, too
    "export.layer_curves", "export.tables", "interpret.factors",
    "taylor.networks.derivatives",  # of tensors; its directions are checked in tests/taylor
    "checkpoint", "initializers", "kernels", "optim", "runs", "studies", "tensors", "training",
    "fitting.broyden", "fitting.full_batch", "fitting.least_squares", "fitting.lbfgs",
    "fitting.preconditioner",
    "fitting.grids.knot_vectors", "fitting.grids.knots_from_samples",
    "fitting.grids.extended_knots", "fitting.grids.refit",
    "fitting.grids.with_knots", "interpret.attribution.backpropagated",
    "interpret.attribution.checked_samples", "interpret.attribution.edge_statistics",
    "interpret.symbolification.straightened", "layers", "tasks.images.render",
    "tasks.images.render_rows", "interop", "interpret.candidates", "interpret.formulas",
    "interpret.library", "interpret.rounding", "interpret.symbolic", "interpret.affine_fit",
    "interpret.constants", "interpret.curves.layer_curves", "interpret.curves.samples_of",
    "interpret.own_functions",  # whose arrays are functions' arguments
    "interpret.pareto", "interpret.search", "interpret.simplification",
    "interpret.sparse_networks", "tasks.arrays", "tasks.boxes",
    "tasks.color_profiles", "tasks.deep_images", "tasks.delimited", "tasks.image_files",
    "tasks.reference_solutions",
    "tasks.image_samples", "tasks.sampling.as_tensor", "tasks.scores", "tasks.slices",
    "tasks.spectrum", "tasks.symbol_names", "tasks.tables",
    "tasks.images.as_image", "tasks.images.bicubic", "tasks.images.from_bytes",
    "tasks.images.interpolate", "tasks.images.to_bytes", "tasks.images.to_pillow",
    "tasks.target_functions", "sklearn",
}  # fmt: skip


def takes_arrays(function) -> bool:
    parameters = inspect.signature(function).parameters.values()
    of_any_kind = {"x", "y", "inputs", "targets", "image", "samples", "data"}
    return any(
        "ndarray" in str(p.annotation) or (p.annotation == "Any" and p.name in of_any_kind)
        for p in parameters
    )


def public_functions() -> set[str]:
    # Of classes and methods, these take arrays of any kind.
    found = {
        "tasks.fit.Validation",
        "tasks.prediction.Predictor.__call__",
        "tasks.standardization.PredictorInUnits.__call__",
        "tasks.standardization.Standardized",
        "tasks.standardization.Standardized.standardized",
    }
    for module in pkgutil.walk_packages(tinykan.__path__, "tinykan."):
        members = vars(importlib.import_module(module.name))
        found |= {
            f"{module.name}.{name}".removeprefix("tinykan.")
            for name, member in members.items()
            if not name.startswith("_")
            and inspect.isfunction(member)
            and member.__module__ == module.name
            and takes_arrays(member)
        }
    return found


def test_every_public_function_that_takes_arrays_has_a_case():
    parts = (name.split(".") for name in public_functions())
    uncovered = {
        ".".join(path)
        for path in parts
        if not {".".join(path[:end]) for end in range(1, len(path) + 1)} & INTERNAL
    }
    assert uncovered == ROWS.keys() | IMAGES.keys()


WRONG_ROWS = [
    np.zeros((39, 3)),
    np.zeros((40, 2, 2, 2)),
    np.zeros((0, 2)),
    np.zeros(7),
    np.full((40, 2), np.nan),
    np.full((40, 1), np.inf),
    np.full((40, 2), 1e300),
    np.full((40, 2), "a"),
    np.zeros((40, 2), dtype=complex),
    np.array([None] * 40),
    [[1.0], [1.0, 2.0]],
    None,
    "text",
    5.0,
    {"x": [1.0]},
]
WRONG_IMAGES = [
    np.zeros(12),
    np.zeros((12, 14, 2)),
    np.zeros((12, 14, 1, 1)),
    np.zeros((0, 14, 1)),
    np.zeros((12, 14, 1), dtype=np.uint8),
    np.full((12, 14, 1), "a"),
    None,
    "text",
]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        pytest.param(call, wrong, id=f"{name}-{argument}-{number}")
        for cases, arrays in ((ROWS, WRONG_ROWS), (IMAGES, WRONG_IMAGES))
        for name, calls in cases.items()
        for argument, call in enumerate(calls)
        for number, wrong in enumerate(arrays)
    ],
)
def test_arrays_that_do_not_fit_are_one_line(call, wrong):
    with pytest.raises(UserError) as error:
        call(wrong)
    assert "\n" not in str(error.value)


def test_a_layer_takes_tensors_alone():
    for wrong in (X, X.tolist(), None, Tensor(X, dtype="float")[:, :1]):
        with pytest.raises(UserError) as error:
            MODEL(wrong)
        assert "\n" not in str(error.value)
