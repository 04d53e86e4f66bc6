"""Restricted readers of other libraries' state_dict files: NumPy arrays without PyTorch, and
without executing anything that a file contains."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.checkpoint import unpack_arrays
from tinykan.errors import UserError, lookup

STORAGES = {"HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8"}

State = dict[str, np.ndarray]


class _StateReader(pickle.Unpickler):
    """Reads the pickle of a state_dict as NumPy arrays. A pickle names functions to call; this
    reader permits only the three harmless ones that a state_dict needs. (torch_load of tinygrad
    0.13 permits all of NumPy, which suffices to run any program, and does not read float64.)"""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive, self._folder = archive, folder
        pickled = archive.read(f"{folder}data.pkl")
        # The unpickler allocates memory for as many objects as the highest index says.
        for opcode, number, _ in pickletools.genops(pickled):
            if opcode.name.endswith("PUT") and (number or 0) > len(pickled):
                raise UserError(f"it has an object of index {number}, in {len(pickled)} bytes")
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
        # as_strided checks nothing, and with strides of 0 a copy of its view can exceed all memory.
        if lowest < 0 or last >= storage.size or math.prod(size) > storage.size:
            raise UserError("a tensor that is not within its storage")
        strides = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def read_torch(content: bytes) -> State:
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
        return as_float64_arrays(_StateReader(archive, folder).load())


def read_safetensors(content: bytes) -> State:
    """The arrays of a safetensors file by any library."""
    return as_float64_arrays(unpack_arrays(content))


def as_float64_arrays(state: Any) -> State:
    """The arrays or tensors of a state_dict as float64 arrays; raises UserError for others."""
    if not isinstance(state, dict):
        raise UserError(f"it holds a {type(state).__name__}, not a state_dict")
    arrays = {}
    for name, value in state.items():
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        if not isinstance(name, str) or array.dtype.kind != "f":
            raise UserError(f"{short(name)} is not an array of floating-point numbers by its name")
        arrays[name] = array.astype(np.float64)
    return arrays


def short(value: object) -> str:
    """`value` as one line of at most 160 characters."""
    return " ".join(str(value).split())[:160]


def read_content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError("no such file")
    return path.read_bytes()


@contextmanager
def errors_about(what: str | Path) -> Iterator[None]:
    """A context in which every error becomes a UserError of one line that names the file."""
    try:
        yield
    except Exception as error:  # a damaged file can fail in any of the readers
        reason = short(error)
        if not isinstance(error, UserError):
            reason = f"not a state_dict, or a damaged one ({reason})"
        raise UserError(f"{what}: {reason}") from None
