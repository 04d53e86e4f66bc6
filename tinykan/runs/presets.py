"""Models, encodings and tasks by name, as command lines and study files have them, and the networks
built from such options with a given number of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from tinykan.activations import ACTIVATIONS
from tinykan.basis import BASES, Basis, Linear
from tinykan.errors import UserError, lookup
from tinykan.layers import KANLayer, Layer
from tinykan.networks import NORMS, Encoding, Network
from tinykan.runs.command_line import option
from tinykan.runs.expressions import construct
from tinykan.runs.models import MODELS, Model
from tinykan.runs.widths import edge_widths
from tinykan.tasks.benchmarks import BENCHMARKS, FORMER_NAMES, KINDS
from tinykan.tasks.spectrum import highest_frequency
from tinykan.tasks.task import Task
from tinykan.variants import EdgeTanh, Gaussian, NeRF, NodeLayer, Polynomial, Raw, Scaled, Sines

ENCODINGS: dict[str, Callable[..., Encoding]] = {
    "none": Raw,
    "scaled": Scaled,
    "octaves": Sines,
    "nerf": NeRF,
    "gaussian": Gaussian,
}
# Of the encoding auto, from SIREN's best factors on eight images (docs/results.md).
SHARE, REACH = 0.98, 0.18


@dataclass(kw_only=True)
class ModelOptions:
    """The options of a network that every training script has."""

    model: str = option("spline", "kind of network", choices=MODELS)
    parameters: int = option(10_000, "number of parameters, met within 2 %%", minimum=1)
    depth: int = option(3, "hidden layers", minimum=1)
    basis: str | None = option(
        None,
        "of the layers, as in 'BSpline(8, order=3)'; first and others, or first, hidden and last, "
        "separated by commas, or in order, with ... after the one of all further layers (default: "
        "the model's)",
    )
    base: str | None = option(
        None,
        "function beside the basis on every edge (default: the model's)",
        choices=("none", *ACTIVATIONS),
    )
    spline_weight: bool = option(False, "scale every edge's splines, as PyKAN does")
    no_bias: bool = option(False, "leave out the biases")
    activation: str | None = option(
        None,
        "function on the nodes; for sine30 and its like any number will do (default: the model's)",
        choices=ACTIVATIONS,
    )
    omega: float | None = option(
        None, "frequency or scale of the model's activations (default: its own)", minimum=1e-3
    )
    first_bias: float | None = option(
        None, "largest bias of finer's first layer, its k (default: 1)", minimum=1e-3
    )
    rank: int | None = option(
        None, "functions on every node of staf, shared-spline and node-... (default: 1)", minimum=1
    )
    norm: str | None = option(
        None,
        "of what enters each layer but the first (default: the model's)",
        choices=("none", *NORMS),
    )
    encoding: str | None = option(
        None,
        f"of the inputs: {', '.join(ENCODINGS)}; with options as in 'gaussian(64, scale=10)'; or "
        "auto, by an image's spectrum, for SIREN and its like (default: what suits the model)",
    )


def task_from(text: str) -> Task:
    """The task that a study names: a benchmark, or as in 'ImageTask("cat.png", size=256)'."""
    name = FORMER_NAMES.get(text, text)
    if name in BENCHMARKS:
        return BENCHMARKS[name]()
    found = construct("task", text, {**BENCHMARKS, **KINDS})
    if len(found) != 1:
        raise UserError(f"task {text!r}: a study has one")
    return found[0]


def network_for(task: Task, options: ModelOptions, seed: int) -> Network:
    """The network that `options` describe, for the inputs and outputs of `task`."""
    model = lookup("model", options.model, MODELS)
    text = options.encoding or task.encoding or model.encoding
    encoding = encoding_for(task, text, model.first_frequency and (options.omega or model.omega))
    return build(options, task.in_features, task.out_features, encoding=encoding, seed=seed)


def encoding_for(task: Task, text: str, omega: float | None = None) -> Encoding:
    """The encoding of the task's coordinates that an option names: 'nerf', 'gaussian(64)'. `omega`
    is the first frequency of the network behind it, if that starts as a SIREN's."""
    kinds: dict[str, Callable[..., Encoding]] = {
        name: partial(kind, task.in_features) for name, kind in ENCODINGS.items()
    }
    kinds["octaves"] = partial(octaves, task.in_features, task.channels)
    kinds["auto"] = partial(automatic, task, omega)
    former = {"seed": kinds["octaves"]}  # in files of earlier versions
    found = construct("encoding", text, kinds, former)
    if len(found) != 1:
        raise UserError(f"encoding {text!r}: there is one for all coordinates")
    return found[0]


def octaves(
    in_features: int, suits: int | tuple[int, ...], channels: int | tuple[int, ...] | None = None
) -> Encoding:
    """Sines in octaves, with as many channels as suit the task unless an option says otherwise."""
    return Sines(in_features, suits if channels is None else channels)


def automatic(task: Task, omega: float | None, share: float = SHARE) -> Encoding:
    """Coordinates scaled so that the first layer's frequencies suit an image. A SIREN's first
    layer starts with angular frequencies up to omega `factor` / in_features in each coordinate
    (Sitzmann et al. 2020, sec. 3.2); `factor` makes that `REACH` of the frequency below which lies
    that `share` of the image's energy. (That a start should depend on the target's spectrum is from
    arXiv:2509.09719, where noise on the first weights does.)"""
    if omega is None:
        having = ", ".join(name for name, model in MODELS.items() if model.first_frequency)
        raise UserError(f"encoding auto is for the models {having}")
    if task.trained_image is None:
        raise UserError("encoding auto is for images; for others name a factor: 'scaled(2)'")
    factor = REACH * highest_frequency(task.trained_image, share) * task.in_features / omega
    return Scaled(task.in_features, float(f"{factor:.3g}") or 1.0)  # of one color: any


def build(
    options: ModelOptions,
    in_features: int,
    out_features: int,
    *,
    encoding: Encoding | None = None,
    seed: int = 0,
) -> Network:
    """The network that `options` describe, for `in_features` numbers, encoded if there is an
    `encoding`, with its number of parameters met within 2 %."""
    model = lookup("model", options.model, MODELS).written(options.omega, options.first_bias)
    bases = layer_bases(options.basis or model.basis, options.depth)
    inputs = encoding.out_features if encoding else in_features
    rng, bias = np.random.default_rng(seed), not options.no_bias
    if options.model == "edge-tanh":
        return _edge_tanh(options, bases, inputs, out_features, encoding, seed)
    if options.rank is not None and model.nodes is None:
        having = ", ".join(name for name, found in MODELS.items() if found.nodes is not None)
        raise UserError(f"--rank {options.rank} is for the models {having}")
    names = [model.initializers[0]] + [model.initializers[1]] * options.depth
    parts = [
        _part(basis, model, options, {"bias": bias, "initializer": name, "rng": rng})
        for basis, name in zip(bases, names, strict=True)
    ]
    widths = edge_widths(
        options.parameters - sum(part.shared for part in parts),
        [part.per_edge for part in parts],
        inputs,
        out_features,
        bias=bias,
        per_input=[part.per_input for part in parts],
    )
    layers = [part.make(i, o) for (i, o), part in zip(pairwise(widths), parts, strict=True)]
    activation, norm = options.activation or model.activation, _chosen(options.norm, model.norm)
    return Network(layers, activation, encoding, norm)


@dataclass(frozen=True)
class Part:
    """A layer to be: its number of parameters for each edge and each input, and those that all
    share, without biases; and what makes it of its numbers of inputs and outputs."""

    per_edge: int
    make: Callable[[int, int], Layer]
    per_input: int = 0
    shared: int = 0


def _part(basis: Basis, model: Model, options: ModelOptions, common: dict[str, Any]) -> Part:
    if isinstance(basis, Linear):
        # Linear on its edges: a base function and a factor beside it say nothing new.
        plain = {"base": None, "spline_weight": False, **common}
        return Part(1, lambda i, o: KANLayer(i, o, basis, **plain))
    copies = (model.nodes or {}).get("copies", 0)
    if model.nodes is not None and (copies or basis.n_functions > 1):
        nodes, rank = {**model.nodes, **common}, options.rank or 1
        own = (copies or basis.n_functions) * rank + 2 * copies
        sizes = {"shared" if nodes.get("shared") else "per_input": own}
        return Part(rank, lambda i, o: NodeLayer(i, o, basis, rank=rank, **nodes), **sizes)
    base, factor = _chosen(options.base, model.base), options.spline_weight
    count = basis.n_functions + (base is not None) + factor
    return Part(
        count, lambda i, o: KANLayer(i, o, basis, base=base, spline_weight=factor, **common)
    )


def layer_bases(text: str, depth: int) -> Sequence[Basis]:
    """One basis for each of `depth` hidden layers and the last, from the text of an option."""
    listed = text.rstrip().removesuffix("...")
    named = construct("basis", listed.rstrip(" ,"), BASES)
    if listed != text.rstrip():
        if len(named) > depth + 1:
            raise UserError(f"basis {text!r} names {len(named)} bases for {depth + 1} layers")
        return named + [named[-1]] * (depth + 1 - len(named))
    match named:
        case [every]:
            return [every] * (depth + 1)
        case [first, others]:
            return [first] + [others] * depth
        case [first, hidden, last]:
            return [first] + [hidden] * (depth - 1) + [last]
    raise UserError(f"basis {text!r} names {len(named)} bases; at most three: first, hidden, last")


def _chosen(option: str | None, default: str | None) -> str | None:
    return default if option is None else None if option == "none" else option


def _edge_tanh(
    options: ModelOptions,
    bases: Sequence[Basis],
    inputs: int,
    outputs: int,
    encoding: Encoding | None,
    seed: int,
) -> Network:
    degrees = {basis.degree if isinstance(basis, Polynomial) else 0 for basis in bases}
    if len(degrees) > 1 or 0 in degrees:
        raise UserError(f"edge-tanh takes one Polynomial(degree), not {options.basis!r}")
    chosen = {options.base, options.activation, options.norm} - {None, "none", "identity"}
    if chosen or options.spline_weight or options.no_bias:
        raise UserError("edge-tanh has no base function, spline weight, activation, norm to choose")
    (degree,) = degrees
    widths = edge_widths(options.parameters, [degree + 1] * len(bases), inputs, outputs)
    rng = np.random.default_rng(seed)
    layers = [EdgeTanh(i, o, degree, rng=rng) for i, o in pairwise(widths)]
    return Network(layers, encoding=encoding)
