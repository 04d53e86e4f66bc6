"""Networks of other libraries: what pykan and efficient-kan saved, read without PyTorch."""

from __future__ import annotations

import io
import json
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan import files
from tinykan.basis import BSpline
from tinykan.errors import UserError, lookup
from tinykan.layers import KANLayer, parameter
from tinykan.networks import Network

PYKAN_BASES = {"silu": "silu", "identity": "identity", "zero": None}
STORAGES = {"HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8"}

State = dict[str, np.ndarray]


def from_pykan(path: str | Path) -> Network:
    """The network that pykan 0.2.8 (arXiv:2404.19756) saved with `model.saveckpt(path)`: it gives
    the same outputs, and can be trained on.

    Reads `PATH_config.yml` and `PATH_state`; `PATH_cache_data` is not needed. What pykan multiplies
    and adds on the nodes becomes part of the layers' weights and biases. After pykan's
    `prune_input` the network takes the inputs that were kept, in their order. Weights are of type
    `dtypes.default_float`.

    Raises UserError, in one line, for missing, foreign and damaged files, which are never executed;
    for multiplication nodes, symbolic edges, orders above 5, and grids whose knots repeat.
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
        state = _torch_state(_content(file))
        fixed = sum(
            np.count_nonzero(mask)
            for name, mask in state.items()
            if re.fullmatch(r"symbolic_fun\.\d+\.mask", name)
        )
        if symbolic and fixed:
            raise UserError(f"{fixed} symbolic edges, which are not supported")
        return _network(state, "act_fun.{}.", lambda index: _pykan_layer(state, index, base))


def from_efficient_kan(
    source: str | Path | Mapping[str, Any], *, base: str | None = "silu"
) -> Network:
    """The network of an efficient-kan `KAN` (github.com/Blealtan/efficient-kan) from its
    state_dict: it gives the same outputs, and can be trained on.

    `source` maps names to arrays or tensors, or is a file of such, by `torch.save` or in the
    safetensors format. Arrays are `layers.N.base_weight` `[out, in]`, `spline_weight`
    `[out, in, n]`, `grid` `[in, knots]`, and `spline_scaler` `[out, in]` if there is one. A
    state_dict does not say which function the base is: `base` does, a name of FUNCTIONS. Weights
    are of type `dtypes.default_float`.

    Raises UserError as `from_pykan` does.
    """
    with _about("the state_dict" if isinstance(source, Mapping) else Path(source)):
        if isinstance(source, Mapping):
            state = _checked_state(dict(source))
        else:
            content = _content(Path(source))
            zipped = zipfile.is_zipfile(io.BytesIO(content))
            state = _torch_state(content) if zipped else _safetensors_state(content)
        return _network(state, "layers.{}.", lambda index: _efficient_layer(state, index, base))


def _network(state: State, prefix: str, layer: Callable[[int], KANLayer]) -> Network:
    """The layers that `layer` makes from 0 on, for as long as `state` has arrays of that prefix."""
    layers: list[KANLayer] = []
    while not layers or any(name.startswith(prefix.format(len(layers))) for name in state):
        layers.append(layer(len(layers)))
    if state:
        raise UserError(f"unknown {_short(min(state))}: of another version, or another model")
    return Network(layers)


def _pykan_layer(state: State, index: int, base: str | None) -> KANLayer:
    prefix = f"act_fun.{index}."
    coefficients = _take(state, f"{prefix}coef", None, None, None)
    i, o, _ = coefficients.shape
    grid = _take(state, f"{prefix}grid", i, None)
    mask = _take(state, f"{prefix}mask", i, o)
    scale_base = _take(state, f"{prefix}scale_base", i, o)
    scale_spline = _take(state, f"{prefix}scale_sp", i, o)
    # These serve symbolic edges alone; where there are none, they are zero or not in use.
    _take(state, f"symbolic_fun.{index}.mask", o, i)
    _take(state, f"symbolic_fun.{index}.affine", o, i, 4)
    subnode_scale = _take(state, f"subnode_scale_{index}", o)
    subnode_bias = _take(state, f"subnode_bias_{index}", o)
    nodes = state.get(f"node_scale_{index}")
    if nodes is not None and nodes.size < o:  # the rest are products of several sums
        raise UserError(f"layer {index} has multiplication nodes, which are not supported")
    node_scale = _take(state, f"node_scale_{index}", o)
    node_bias = _take(state, f"node_bias_{index}", o)
    # perturb leaves other numbers than 0 and 1 in a mask.
    scale = node_scale * subnode_scale * mask
    return _layer(
        grid,
        coefficients.transpose(0, 2, 1),
        base=base,
        base_weight=scale_base * scale,
        spline_weight=scale_spline * scale,
        bias=node_scale * subnode_bias + node_bias,
        mask=None if mask.all() else mask != 0,
    )


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


class _StateReader(pickle.Unpickler):
    """Reads the pickle of a state_dict as NumPy arrays. A pickle names what is to be called with
    what; this one can call nothing but the three harmless functions that a state_dict needs. (That
    of tinygrad 0.13's torch_load can call all of NumPy, which is enough to run any program; and it
    reads no float64.)"""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive, self._folder = archive, folder
        pickled = archive.read(f"{folder}data.pkl")
        # The unpickler makes room for as many objects as the highest number of one says.
        for opcode, number, _ in pickletools.genops(pickled):
            if opcode.name.endswith("PUT") and (number or 0) > len(pickled):
                raise UserError(f"it numbers an object {number}, and is of {len(pickled)} bytes")
        super().__init__(io.BytesIO(pickled))

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        allowed = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_tensor_v2": self._tensor,
        }
        if f"{module}.{name}" not in allowed:
            raise UserError(f"it holds {module}.{name}; a state_dict holds tensors only")
        return allowed[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, kind, key, *_ = pid
        if kind not in STORAGES.values():
            raise UserError("tensors without a type")
        return np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), kind)

    def _parameter(self, tensor: np.ndarray, *_: Any) -> np.ndarray:
        return tensor

    def _tensor(
        self, storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any
    ) -> np.ndarray:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        lowest = min((offset, *size, *stride))
        # A view checks nothing, and one of stride 0 can be larger than all memory.
        if lowest < 0 or last >= storage.size or math.prod(size) > storage.size:
            raise UserError("a tensor that is not within its numbers")
        strides = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def _torch_state(content: bytes) -> State:
    """The arrays of a state_dict that PyTorch 1.6 or newer wrote."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise UserError("not a file of torch.save (of PyTorch 1.6 or newer)")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise UserError("it is compressed, which torch.save never does")
        folder = archive.namelist()[0].split("/")[0] + "/"
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder").decode()
            lookup("order of bytes", order, {"little": "<"})
        return _checked_state(_StateReader(archive, folder).load())


def _safetensors_state(content: bytes) -> State:
    """The arrays of a safetensors file, from any library."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    state = {}
    for name, about in header.items():
        start, end = about["data_offsets"]
        kind = lookup("type of numbers", about["dtype"], files.TYPES)
        state[name] = np.frombuffer(data[start:end], kind).reshape(about["shape"])
    return _checked_state(state)


def _checked_state(state: Any) -> State:
    """Arrays in float64 by their names."""
    if not isinstance(state, dict):
        raise UserError(f"it holds a {type(state).__name__}, not a state_dict")
    arrays = {}
    for name, value in state.items():
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        if not isinstance(name, str) or array.dtype.kind != "f":
            raise UserError(f"{_short(name)} is not an array of floating-point numbers by its name")
        arrays[name] = array.astype(np.float64)
    return arrays


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
        reason = _short(error)
        if not isinstance(error, UserError):
            reason = f"not a state_dict, or a damaged one ({reason})"
        raise UserError(f"{what}: {reason}") from None


def _short(value: object) -> str:
    """In one line of no more than 160 characters."""
    return " ".join(str(value).split())[:160]
