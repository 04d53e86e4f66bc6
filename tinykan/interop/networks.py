"""Networks of other libraries: what pykan and efficient-kan saved, read without PyTorch."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinykan.basis import BSpline
from tinykan.errors import UserError, lookup
from tinykan.interop.state_files import State, checked, read_safetensors, read_torch, short
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network
from tinykan.tensors import parameter

PYKAN_BASES = {"silu": "silu", "identity": "identity", "zero": None}


def from_pykan(path: str | Path) -> Network:
    """The network that pykan 0.2.8 (arXiv:2404.19756) saved with `model.saveckpt(path)`: it gives
    the same outputs, and can be trained on.

    Reads `PATH_config.yml` and `PATH_state`; `PATH_cache_data` is not needed. What pykan multiplies
    and adds on the nodes becomes part of the layers' weights and biases. After pykan's
    `prune_input` the network takes the inputs that were kept, in their order. Weights are of type
    `dtypes.default_float`.

    Raises UserError, in one line, for missing, foreign and damaged files, which are never executed;
    for multiplication nodes, functions that are not in tinykan's LIBRARY, orders above 5, and grids
    whose knots repeat.
    """
    config, file = Path(f"{path}_config.yml"), Path(f"{path}_state")
    with _about(config):
        text = _content(config).decode("utf-8", "replace")
        # From prune_input pykan writes the function itself, by the name of its class, for its name.
        name = _setting(text, "base_fun_name").rsplit(".", 1)[-1].lower()
        base = lookup("base function", name, PYKAN_BASES)
        flag = _setting(text, "symbolic_enabled")
        symbolic = lookup("symbolic_enabled", flag, {"true": True, "false": False})
    with _about(file):
        state = read_torch(_content(file))
        used = text if symbolic else ""
        return _network(state, "act_fun.{}.", lambda index: _pykan_layer(state, index, base, used))


def from_efficient_kan(
    source: str | Path | Mapping[str, Any], *, base: str | None = "silu"
) -> Network:
    """The network of an efficient-kan `KAN` (github.com/Blealtan/efficient-kan) from its
    state_dict: it gives the same outputs, and can be trained on.

    `source` maps names to arrays or tensors, or is a file of such, by `torch.save` or in the
    safetensors format. Arrays are `layers.N.base_weight` `[out, in]`, `spline_weight`
    `[out, in, n]`, `grid` `[in, knots]`, and `spline_scaler` `[out, in]` if there is one. A
    state_dict does not say which function the base is: `base` does, a name of ACTIVATIONS. Weights
    are of type `dtypes.default_float`.

    Raises UserError as `from_pykan` does.
    """
    with _about("the state_dict" if isinstance(source, Mapping) else Path(source)):
        if isinstance(source, Mapping):
            state = checked(dict(source))
        else:
            content = _content(Path(source))
            zipped = zipfile.is_zipfile(io.BytesIO(content))
            state = read_torch(content) if zipped else read_safetensors(content)
        return _network(state, "layers.{}.", lambda index: _efficient_layer(state, index, base))


def _network(state: State, prefix: str, layer: Callable[[int], Layer]) -> Network:
    """The layers that `layer` makes from 0 on, for as long as `state` has arrays of that prefix."""
    layers: list[Layer] = []
    while not layers or any(name.startswith(prefix.format(len(layers))) for name in state):
        layers.append(layer(len(layers)))
    if state:
        raise UserError(f"unknown {short(min(state))}: of another version, or another model")
    return Network(layers)


def _pykan_layer(state: State, index: int, base: str | None, names: str) -> Layer:
    """`names` is the text that names the symbolic edges' functions, empty if they are not used."""
    prefix = f"act_fun.{index}."
    coefficients = _take(state, f"{prefix}coef", None, None, None)
    i, o, _ = coefficients.shape
    grid = _take(state, f"{prefix}grid", i, None)
    mask = _take(state, f"{prefix}mask", i, o)
    scale_base = _take(state, f"{prefix}scale_base", i, o)
    scale_spline = _take(state, f"{prefix}scale_sp", i, o)
    symbolic = _take(state, f"symbolic_fun.{index}.mask", o, i)
    affine = _take(state, f"symbolic_fun.{index}.affine", o, i, 4)
    subnode_scale = _take(state, f"subnode_scale_{index}", o)
    subnode_bias = _take(state, f"subnode_bias_{index}", o)
    nodes = state.get(f"node_scale_{index}")
    if nodes is not None and nodes.size < o:  # the rest are products of several sums
        raise UserError(f"layer {index} has multiplication nodes, which are not supported")
    node_scale = _take(state, f"node_scale_{index}", o)
    node_bias = _take(state, f"node_bias_{index}", o)
    # perturb leaves other numbers than 0 and 1 in a mask.
    scale = node_scale * subnode_scale * mask
    layer = _layer(
        grid,
        coefficients.transpose(0, 2, 1),
        base=base,
        base_weight=scale_base * scale,
        spline_weight=scale_spline * scale,
        bias=node_scale * subnode_bias + node_bias,
        mask=None if mask.all() else mask != 0,
    )
    if not names or not symbolic.any():
        return layer
    if np.logical_and(symbolic.T, mask).any():
        raise UserError(f"layer {index} has edges that are splines and symbolic at once")
    functions = _functions(names, index, symbolic.shape)
    affine = affine + [0, np.pi / 2, 0, 0] * (functions == "cos")[..., None]  # a sine
    functions = np.where(functions == "cos", "sin", functions)
    edges = [(int(i), int(o), str(functions[o, i])) for o, i in np.argwhere(symbolic)]
    factors = (node_scale * subnode_scale)[:, None] * symbolic
    numbers = [affine[o, i] * [1, 1, factors[o, i], factors[o, i]] for i, o, _ in edges]
    return SymbolicLayer(layer, edges, np.array(numbers))


def _functions(text: str, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The names `[out, in]` of a layer's symbolic functions, a list of lists in the YAML file."""
    block = re.search(rf"^symbolic\.funs_name\.{index}:\n((?:[ -] .*\n)+)", text, re.MULTILINE)
    found = re.findall(r"- ([^-\s].*)$", block[1], re.MULTILINE) if block else []
    if len(found) != shape[0] * shape[1]:
        raise UserError(f"it names {len(found)} functions for {shape[0]} x {shape[1]} edges")
    return np.array([name.strip().strip("'\"") for name in found]).reshape(shape)


def _efficient_layer(state: State, index: int, base: str | None) -> KANLayer:
    prefix = f"layers.{index}."
    coefficients = _take(state, f"{prefix}spline_weight", None, None, None)
    o, i, _ = coefficients.shape
    scaled = f"{prefix}spline_scaler" in state
    return _layer(
        _take(state, f"{prefix}grid", i, None),
        coefficients.transpose(1, 2, 0),
        base=base,
        base_weight=_take(state, f"{prefix}base_weight", o, i).T,
        spline_weight=_take(state, f"{prefix}spline_scaler", o, i).T if scaled else None,
    )


def _layer(
    grid: np.ndarray,
    coefficients: np.ndarray,
    *,
    base: str | None,
    base_weight: np.ndarray,
    spline_weight: np.ndarray | None,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> KANLayer:
    """A layer of `[in, knots]`, `[in, n, out]`, and weights `[in, out]`."""
    i, functions, o = coefficients.shape
    order = grid.shape[1] - 1 - functions
    intervals = functions - order
    if not (1 <= order <= 5 and intervals >= 1):
        raise UserError(
            f"{grid.shape[1]} knots for {functions} functions make splines of order {order} on "
            f"{intervals} intervals; orders 1 to 5 are supported"
        )
    if not (np.diff(grid) > 0).all():
        raise UserError("knots that do not increase, on which neither library has B-splines")
    domain = (float(grid[:, order].min()), float(grid[:, order + intervals].max()))
    basis = BSpline(intervals, order, domain, knots=parameter(grid))
    layer = KANLayer(i, o, basis, base=base, spline_weight=False, bias=False, mask=mask)
    layer.coefficients = parameter(coefficients)
    layer.spline_weight = None if spline_weight is None else parameter(spline_weight)
    layer.base_weight = None if base is None else parameter(base_weight)
    layer.bias = None if bias is None else parameter(bias)
    return layer


def _take(state: State, name: str, *shape: int | None) -> np.ndarray:
    """Removes an array from `state`. None in its shape stands for any size."""
    if name not in state:
        raise UserError(f"it has no {name}: of another version, or another model")
    array = state.pop(name)
    fits = len(shape) == array.ndim
    if not (fits and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise UserError(f"{name} has shape {array.shape}; it should have ({expected})")
    return array


def _setting(text: str, name: str) -> str:
    """What a YAML file, as PyYAML writes it, has under a name of its outermost mapping, where that
    is a single word. A parser is not needed for that."""
    found = re.search(rf"^{name}:[ ]*(\S.*)$", text, re.MULTILINE)
    if found is None:
        raise UserError(f"it has no {name}: not a file of pykan 0.2.8's")
    return found[1].strip().strip("'\"")


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError("no such file")
    return path.read_bytes()


@contextmanager
def _about(what: str | Path) -> Iterator[None]:
    """Whatever fails in here becomes one line on this file."""
    try:
        yield
    except Exception as error:  # a damaged file can fail in any of the readers above
        reason = short(error)
        if not isinstance(error, UserError):
            reason = f"not a state_dict, or a damaged one ({reason})"
        raise UserError(f"{what}: {reason}") from None
