"""The learned functions of a network's layers, as a page draws them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tinykan.export.expressions import X
from tinykan.export.form import (
    Combination,
    Edges,
    Program,
    Splines,
    Sum,
    computed,
    evaluate,
    spline_values,
)

MAX_FUNCTIONS = 400  # more are too small to be seen
SAMPLES = 48
SIDE = 24  # of the grid of points at which the ranges of inputs are found


def layer_curves(program: Program) -> list[dict[str, Any]]:
    """A layer's functions over the ranges that its inputs have on the picture, for each layer that
    has learned functions; nothing if there are more than 400 of them.

    Each is `{inputs, outputs, samples, stage, edges, ranges, heights}`: `stage` counts from 0,
    `edges` are pairs of input and output, `ranges` the lowest and highest value of every input, and
    `heights` bytes in Base64, `samples` for each edge, on one scale, each curve around its middle.
    """
    points, found, total = _points(program.in_features), [], 0
    for n, (stage, width) in enumerate(zip(program.stages, program.widths, strict=False)):
        if not isinstance(stage, Sum) or not _is_learned(stage):
            continue
        edges = edges_of(stage, width)
        total += len(edges)
        if total > MAX_FUNCTIONS:
            return []
        if edges:
            before = Program(program.in_features, program.stages[:n])
            found.append({"stage": n, **_layer(stage, edges, evaluate(before, points))})
    return found


def _is_learned(stage: Sum) -> bool:
    """Dense layers have no learned functions, and neither do encodings and activations, which have
    one edge for each feature."""
    edges = [term for term in stage.terms if isinstance(term, Edges)]
    bases = [term for term in stage.terms if not isinstance(term, Edges)]
    if any(isinstance(term, Splines) or term.functions != (X,) for term in bases):
        return True
    targets = [target for term in edges for target in term.targets.tolist()]
    return len(set(targets)) < len(targets)


def edges_of(stage: Sum, width: int) -> list[tuple[int, int]]:
    """The edges (input, output) of a layer whose functions are not 0."""
    there = np.zeros((width, stage.out_features), bool)
    for term in stage.terms:
        if isinstance(term, Edges):
            there[term.sources, term.targets] = True
        else:
            there |= term.weights.any(axis=1)
    return [(int(i), int(o)) for i, o in np.argwhere(there)]


def edge_values(stage: Sum, x: np.ndarray) -> np.ndarray:
    """What every edge adds to its output, without the bias, at inputs `[n, in]`:
    `[n, in, out]`."""
    y = np.zeros((*x.shape, stage.out_features))
    for term in stage.terms:
        if isinstance(term, Edges):
            (values,) = computed([term.function], x[:, term.sources], term.parameters.T)
            for k, (source, target) in enumerate(zip(term.sources, term.targets, strict=True)):
                y[:, source, target] += values[:, k]
        else:
            y += np.einsum("bin,ino->bio", _functions(term, x), term.weights)
    return y


def _functions(term: Combination | Splines, x: np.ndarray) -> np.ndarray:
    if isinstance(term, Splines):
        return spline_values(term, x)
    return np.stack(computed(term.functions, x, ()), axis=-1)


def _points(in_features: int) -> np.ndarray:
    """All over the picture, and of all slices."""
    axis = np.linspace(-1, 1, SIDE)
    slices = [np.linspace(-1, 1, 9)] * (in_features - 2)
    return np.stack(np.meshgrid(*slices, axis, axis), axis=-1).reshape(-1, in_features)


def _layer(stage: Sum, edges: list[tuple[int, int]], inputs: np.ndarray) -> dict[str, Any]:
    ranges = np.stack([inputs.min(axis=0), inputs.max(axis=0)], axis=-1)
    values = edge_values(stage, np.linspace(ranges[:, 0], ranges[:, 1], SAMPLES))
    curves = np.array([values[:, i, o] for i, o in edges])
    middle = (curves.min(axis=1, keepdims=True) + curves.max(axis=1, keepdims=True)) / 2
    span = np.abs(curves - middle).max() or 1.0
    heights = np.rint(127.5 + 127.5 * (curves - middle) / span).astype(np.uint8)
    return {
        "inputs": inputs.shape[1],
        "outputs": stage.out_features,
        "samples": SAMPLES,
        "edges": edges,
        "ranges": np.round(ranges, 6).tolist(),
        "heights": base64.b64encode(heights.tobytes()).decode(),
    }
