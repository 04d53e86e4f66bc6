"""One safetensors file that holds a model whole: how it is built, and its weights."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tinygrad import Device, Tensor
from tinygrad.nn.state import get_state_dict, safe_load, safe_load_metadata, safe_save

from tinykan.basis import BASES, Basis, BSpline
from tinykan.encoding import ENCODINGS, Encoding
from tinykan.errors import UserError
from tinykan.layers import LAYERS
from tinykan.networks import Network

FORMAT = 1


class CheckpointError(UserError):
    """A file that holds no model of tinykan's, or not a whole one."""


def save(model: Network, path: str | Path) -> None:
    """Writes `model` to `path` whole or not at all: to a temporary file beside it, then renamed."""
    path = Path(path)
    description = {
        "format": FORMAT,
        "layers": [
            {"kind": type(layer).__name__, **_plain(layer.config)} for layer in model.layers
        ],
        "activation": model.activation,
        "encoding": None if model.encoding is None else _plain(model.encoding),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        safe_save(get_state_dict(model), str(temporary), {"tinykan": json.dumps(description)})
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> Network:
    """The model that `save` wrote, on the device in use. No other file is needed, and nothing in
    the file is executed. Raises CheckpointError, in one line, for any other file."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        header = safe_load_metadata(path)[2]
        description = json.loads(header["__metadata__"]["tinykan"])
        if description["format"] > FORMAT:
            found = description["format"]
            raise CheckpointError(f"{path}: of format {found}; this version reads {FORMAT}")
        state = {
            name: tensor.to(Device.DEFAULT).realize() for name, tensor in safe_load(path).items()
        }
        model = _rebuild(description, state)
        _restore(model, state)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail in any of the readers above
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path}: not a model of tinykan's, or a damaged one ({reason})"
        ) from None
    return model


def _plain(value):
    """Options as JSON: bases and encodings become their fields and kind; tensors are left out."""
    if isinstance(value, (Basis, Encoding)):
        names = [f.name for f in dataclasses.fields(value) if f.init]  # type: ignore[arg-type]
        fields = {name: _plain(getattr(value, name)) for name in names}
        return {
            "kind": type(value).__name__,
            **{k: v for k, v in fields.items() if not isinstance(v, Tensor)},
        }
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _rebuild(description: dict, state: dict[str, Tensor]) -> Network:
    encodings = {kind.__name__: kind for kind in ENCODINGS.values()}
    encoding = description["encoding"] and _object(description["encoding"], encodings)
    layers = []
    for index, options in enumerate(description["layers"]):
        options = dict(options)
        kind = LAYERS[options.pop("kind")]
        if "basis" in options:
            options["basis"] = _object(
                options["basis"], BASES, state.get(f"layers.{index}.basis.knots")
            )
        layers.append(kind(**options))
    return Network(layers, description["activation"], encoding)


def _object(fields: dict, kinds: dict, knots: Tensor | None = None):
    options: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in fields.items()
        if k not in ("kind", "knots")
    }
    kind = kinds[fields["kind"]]
    return kind(**options, knots=knots) if kind is BSpline else kind(**options)


def _restore(model: Network, state: dict[str, Tensor]) -> None:
    own = get_state_dict(model)
    if own.keys() != state.keys():
        raise CheckpointError(
            f"the weights do not match the model: {sorted(own.keys() ^ state.keys())}"
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise CheckpointError(
                f"{name} has shape {state[name].shape}, the model needs {tensor.shape}"
            )
        tensor.replace(state[name])
