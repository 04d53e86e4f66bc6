"""Saved networks: one safetensors file holds a network and, during training, the state from which
an interrupted run resumes. It is written completely or not at all.

It is packed here, since equal networks are to have equal bytes, and the safetensors library orders
metadata at random; and written here, since tinygrad's mapped files end the process on a full disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from tinykan.basis import BASES, Basis
from tinykan.errors import UserError, lookup
from tinykan.layers import LAYERS
from tinykan.networks import ENCODINGS, Encoding, Network

FORMAT = 2
TRAINING = "training."  # prefix of the arrays that are not the network's
RENAMED = {"centres": "centers"}  # options in files of earlier versions
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}


class CheckpointError(UserError):
    """A file that holds no network of tinykan's, or not a whole one."""


def save(
    model: Network, path: str | Path, *, training: dict[str, np.ndarray] | None = None,
    record: dict[str, Any] | None = None, previous: Path | None = None,
) -> None:  # fmt: skip
    """Writes `model` to `path` completely or not at all, with arrays and a JSON record of its
    training if given. An earlier file there becomes `previous`, if given. Raises OSError."""
    metadata = {
        "tinykan": json.dumps({"format": FORMAT, **_describe(model)}),
        "record": json.dumps(record or {}),
    }
    arrays = {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}
    arrays |= {TRAINING + name: array for name, array in (training or {}).items()}
    write_atomically(Path(path), pack(arrays, metadata), previous)


def load(path: str | Path) -> Network:
    """The network that `save` wrote, on the device in use. Nothing in the file is executed. Raises
    CheckpointError for any other file."""
    return load_training(path)[0]


def load_training(path: str | Path) -> tuple[Network, dict[str, np.ndarray], dict[str, Any]]:
    """The network, and the arrays and the record of its training."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content = path.read_bytes()
        found = json.loads(_header(content)[0]["__metadata__"]["tinykan"])["format"]
        if found != FORMAT:
            raise CheckpointError(f"{path}: of format {found}; this version reads {FORMAT}")
        arrays, metadata = unpack(content)
        state = {k: Tensor(v) for k, v in arrays.items() if not k.startswith(TRAINING)}
        model = _rebuild(json.loads(metadata["tinykan"]), state)
        _restore(model, state)
        record = json.loads(metadata["record"])
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail in any of the readers above
        reason = " ".join(str(error).split())[:120]
        message = f"{path}: not a model of tinykan's, or a damaged one ({reason})"
        raise CheckpointError(message) from None
    training = {k.removeprefix(TRAINING): v for k, v in arrays.items() if k.startswith(TRAINING)}
    return model, training, record


def write_atomically(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Writes a temporary file, which then takes the name; the file that had it becomes `previous`,
    if given. Raises OSError, with nothing changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the folder may have gone, and the file with it
            temporary.unlink(missing_ok=True)


def pack(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file, with a digest of all of it among the metadata."""
    header: dict[str, dict[str, Any]] = {"__metadata__": {**metadata, "sha256": ""}}
    parts, end = [], 0
    for name, array in arrays.items():
        parts.append(np.ascontiguousarray(array).tobytes())
        about = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = {**about, "data_offsets": [end, end := end + len(parts[-1])]}
    data = b"".join(parts)
    header["__metadata__"]["sha256"] = _digest(header, data)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the arrays are aligned
    return len(encoded).to_bytes(8, "little") + encoded + data


def unpack(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file that `pack` made. Raises ValueError, KeyError or TypeError for
    any other: not one byte may differ."""
    header, data = _header(content)
    metadata = header["__metadata__"]
    digest, metadata["sha256"] = metadata["sha256"], ""
    if digest != _digest(header, data):
        raise ValueError("its content does not match its digest")
    return unpack_arrays(content), metadata


def unpack_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file from any library, without a digest. Raises as `unpack`."""
    header, data = _header(content)
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            values = np.frombuffer(data[start:end], lookup("type", about["dtype"], DTYPES))
            found[name] = values.reshape(about["shape"]).copy()
    return found


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= len(content) - 8:
        raise ValueError("it is cut short")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _digest(header: dict[str, Any], data: bytes) -> str:
    return hashlib.sha256(json.dumps(header).encode() + data).hexdigest()


def _describe(model: Network) -> dict[str, Any]:
    return {
        "layers": [{"kind": type(la).__name__, **_plain(la.config)} for la in model.layers],
        "activation": model.activation,
        "encoding": None if model.encoding is None else _plain(model.encoding),
        "norm": model.norm,
    }


def _plain(value: Any) -> Any:
    """Options as JSON: bases and encodings become their kind and fields, without tensors. A field
    that is itself called kind, a wavelet's, is written as kind_."""
    if isinstance(value, Basis | Encoding):
        names = [f.name for f in dataclasses.fields(value) if f.init]  # type: ignore[arg-type]
        fields = {f"{n}_" if n == "kind" else n: _plain(getattr(value, n)) for n in names}
        kept = {k: v for k, v in fields.items() if not isinstance(v, Tensor)}
        return {"kind": type(value).__name__, **kept}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _rebuild(description: dict[str, Any], state: dict[str, Tensor]) -> Network:
    encoding = description["encoding"] and _object(description["encoding"], ENCODINGS)
    layers = []
    for index, options in enumerate(description["layers"]):
        prefix = f"layers.{index}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        layers.append(LAYERS[options["kind"]].from_config(_options(options), own))
    norm = description.get("norm")  # which the first files lack
    return Network(layers, description["activation"], encoding, norm)


def _options(fields: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer, its basis made again."""
    return {
        k: _object(v, BASES) if k == "basis" else _options(v) if isinstance(v, dict) else v
        for k, v in fields.items()
        if k != "kind"
    }


def _object(fields: dict[str, Any], kinds: dict[str, Any]) -> Any:
    options = {
        RENAMED.get(k, k.removesuffix("_")): tuple(v) if isinstance(v, list) else v
        for k, v in fields.items()
        if k not in ("kind", "knots")
    }
    return kinds[fields["kind"]](**options)


def _restore(model: Network, state: dict[str, Tensor]) -> None:
    own = get_state_dict(model)
    if unmatched := sorted(own.keys() ^ state.keys()):
        raise CheckpointError(f"the weights do not match the model: {unmatched}")
    for name, tensor in own.items():
        given = state[name].shape
        if tensor.shape != given:
            raise CheckpointError(f"{name} has shape {given}, the model needs {tensor.shape}")
        tensor.replace(state[name].realize())
