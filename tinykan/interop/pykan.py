"""Networks that pykan saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tinykan.errors import UserError, lookup
from tinykan.interop.assembly import network, spline_layer, take
from tinykan.interop.state_files import State, errors_about, read_content, read_torch
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tensors import parameter

PYKAN_BASES = {"silu": "silu", "identity": "identity", "zero": None}


def from_pykan(path: str | Path) -> Network:
    """The network that pykan 0.2.8 (arXiv:2404.19756) saved with `model.saveckpt(path)`. It has the
    same outputs and can be trained further.

    Reads `PATH_config.yml` and `PATH_state`; `PATH_cache_data` is not needed. The scales and biases
    of pykan's nodes become part of the layers' weights and biases, and nodes that multiply become a
    MultiplicationLayer. After pykan's `prune_input`, the network takes the inputs that were kept,
    in their order. Weights have the type `dtypes.default_float`.

    Raises UserError, in one line, for missing, foreign and damaged files, which are never executed;
    for functions that are not in LIBRARY, orders above 5, and grids with repeated knots.
    """
    config, file = Path(f"{path}_config.yml"), Path(f"{path}_state")
    with errors_about(config):
        text = read_content(config).decode("utf-8", "replace")
        # After prune_input pykan writes the function itself, that is, the name of its class.
        name = _setting(text, "base_fun_name").rsplit(".", 1)[-1].lower()
        base = lookup("base function", name, PYKAN_BASES)
        flag = _setting(text, "symbolic_enabled")
        symbolic = lookup("symbolic_enabled", flag, {"true": True, "false": False})
        arity = _arity(text)
    with errors_about(file):
        state = read_torch(read_content(file))
        used = text if symbolic else ""
        return network(state, "act_fun.{}.", lambda index: _layers(state, index, base, used, arity))


def _layers(
    state: State, index: int, base: str | None, names: str, arity: int | list[list[int]]
) -> list[Layer]:
    """Layer `index`, and one of its products, if it has any. `names` is the text that names the
    functions of symbolic edges, empty if these are not used; `arity` is of `_arity`."""
    prefix = f"act_fun.{index}."
    coefficients = take(state, f"{prefix}coef", None, None, None)
    i, o, _ = coefficients.shape
    grid = take(state, f"{prefix}grid", i, None)
    mask = take(state, f"{prefix}mask", i, o)
    scale_base = take(state, f"{prefix}scale_base", i, o)
    scale_spline = take(state, f"{prefix}scale_sp", i, o)
    symbolic = take(state, f"symbolic_fun.{index}.mask", o, i)
    affine = take(state, f"symbolic_fun.{index}.affine", o, i, 4)
    subnode_scale = take(state, f"subnode_scale_{index}", o)
    subnode_bias = take(state, f"subnode_bias_{index}", o)
    scales = take(state, f"node_scale_{index}", None)
    biases = take(state, f"node_bias_{index}", len(scales))
    groups = _groups(index, o, len(scales), arity)
    first, is_sum = [group[0] for group in groups], np.array([len(g) == 1 for g in groups])
    node_scale, node_bias = np.ones(o), np.zeros(o)  # of a product, that of its first factor
    node_scale[first], node_bias[first] = scales, np.where(is_sum, biases, 0.0)
    products: list[Layer] = []
    if not is_sum.all():
        products = [multiplied := MultiplicationLayer(groups)]
        multiplied.bias = parameter(np.where(is_sum, 0.0, biases))
    # After pykan's perturb, masks have other values than 0 and 1.
    scale = node_scale * subnode_scale * mask
    layer = spline_layer(
        grid,
        coefficients.transpose(0, 2, 1),
        base=base,
        base_weight=scale_base * scale,
        spline_weight=scale_spline * scale,
        bias=node_scale * subnode_bias + node_bias,
        mask=None if mask.all() else mask != 0,
    )
    if not names or not symbolic.any():
        return [layer, *products]
    if np.logical_and(symbolic.T, mask).any():
        raise UserError(f"layer {index} has edges that are splines and symbolic at once")
    functions = _function_names(names, index, symbolic.shape)
    # A cosine is a sine with another phase.
    affine = affine + [0, np.pi / 2, 0, 0] * (functions == "cos")[..., None]
    functions = np.where(functions == "cos", "sin", functions)
    edges = [(int(i), int(o), str(functions[o, i])) for o, i in np.argwhere(symbolic)]
    factors = (node_scale * subnode_scale)[:, None] * symbolic
    rows = [affine[o, i] * [1, 1, factors[o, i], factors[o, i]] for i, o, _ in edges]
    return [SymbolicLayer(layer, edges, np.array(rows)), *products]


def _arity(text: str) -> int | list[list[int]]:
    """The number of factors of every product, or a list for each row of nodes, from the inputs on:
    with pykan's mult_arity a list, rows have products of different numbers of factors."""
    rows = _lines(text, "mult_arity")
    if not rows:
        setting = _setting(text, "mult_arity")
        if not setting.isdecimal():
            raise UserError(f"mult_arity {setting}: a whole number, or a list of lists, is needed")
        return int(setting)
    found: list[list[int]] = []
    for row in rows:
        if row.startswith("-"):
            found.append([])
        found[-1] += map(int, re.findall(r"\d+", row))
    return found


def _groups(index: int, subnodes: int, nodes: int, arity: int | list[list[int]]) -> list[list[int]]:
    """The subnodes that each node of layer `index` multiplies: sums come first, of one each."""
    if isinstance(arity, int):
        sizes = [arity] * ((subnodes - nodes) // max(arity - 1, 1))
    else:
        sizes = arity[index + 1]
    sizes = [1] * (nodes - len(sizes)) + sizes
    if len(sizes) != nodes or sum(sizes) != subnodes:
        raise UserError(f"layer {index} has {subnodes} sums for {nodes} nodes: of what products?")
    ends = np.cumsum(sizes).tolist()
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _function_names(text: str, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The names `[out, in]` of a layer's symbolic functions: a list of lists in the YAML file."""
    rows = _lines(text, f"symbolic.funs_name.{index}")
    found = [found[1] for row in rows if (found := re.search(r"- ([^-\s].*)$", row))]
    if len(found) != shape[0] * shape[1]:
        raise UserError(f"it names {len(found)} functions for {shape[0]} x {shape[1]} edges")
    return np.array([name.strip().strip("'\"") for name in found]).reshape(shape)


def _lines(text: str, name: str) -> list[str]:
    """The lines of the list under a name of the outermost mapping of such a file."""
    block = re.search(rf"^{re.escape(name)}:\n((?:[ -] .*\n)+)", text, re.MULTILINE)
    return block[1].splitlines() if block else []


def _setting(text: str, name: str) -> str:
    """The single word that a YAML file written by PyYAML has under a name of its outermost mapping,
    which needs no parser."""
    found = re.search(rf"^{name}:[ ]*(\S.*)$", text, re.MULTILINE)
    if found is None:
        raise UserError(f"it has no {name}: not a file of pykan 0.2.8's")
    return found[1].strip().strip("'\"")
