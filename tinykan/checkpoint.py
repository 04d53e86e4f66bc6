"""One safetensors file that holds a model whole: how it is built, and its weights; and, while it is
trained, what a resumed run needs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from tinykan import files
from tinykan.basis import Basis, BSpline
from tinykan.dense_basis import BASES
from tinykan.encoding import ENCODINGS, Encoding
from tinykan.errors import UserError
from tinykan.layers import LAYERS
from tinykan.networks import Network

FORMAT = 2
TRAINING = "training."  # what the names of arrays begin with that are not the model's


class CheckpointError(UserError):
    """A file that holds no model of tinykan's, or not a whole one."""


def save(
    model: Network,
    path: str | Path,
    *,
    training: dict[str, np.ndarray] | None = None,
    record: dict[str, Any] | None = None,
    previous: Path | None = None,
) -> None:
    """Writes `model` to `path` whole or not at all, with arrays and a JSON record of the training
    if given; the file that was there becomes `previous`, if given."""
    metadata = {
        "tinykan": json.dumps({"format": FORMAT, **_describe(model)}),
        "record": json.dumps(record or {}),
    }
    arrays = {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}
    arrays |= {TRAINING + name: array for name, array in (training or {}).items()}
    files.write(Path(path), files.pack(arrays, metadata), previous)


def load(path: str | Path) -> Network:
    """The model that `save` wrote, on the device in use. No other file is needed, and nothing in
    the file is executed. Raises CheckpointError, in one line, for any other file."""
    return load_training(path)[0]


def load_training(path: str | Path) -> tuple[Network, dict[str, np.ndarray], dict[str, Any]]:
    """The model, and the arrays and the record of its training."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content = path.read_bytes()
        found = json.loads(files.metadata(content)["tinykan"])["format"]
        if found != FORMAT:
            raise CheckpointError(f"{path}: of format {found}; this version reads {FORMAT}")
        arrays, metadata = files.unpack(content)
        description = json.loads(metadata["tinykan"])
        state = {k: Tensor(v) for k, v in arrays.items() if not k.startswith(TRAINING)}
        model = _rebuild(description, state)
        _restore(model, state)
        record = json.loads(metadata["record"])
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail in any of the readers above
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path}: not a model of tinykan's, or a damaged one ({reason})"
        ) from None
    training = {k.removeprefix(TRAINING): v for k, v in arrays.items() if k.startswith(TRAINING)}
    return model, training, record


def _describe(model: Network) -> dict[str, Any]:
    return {
        "layers": [
            {"kind": type(layer).__name__, **_plain(layer.config)} for layer in model.layers
        ],
        "activation": model.activation,
        "encoding": None if model.encoding is None else _plain(model.encoding),
        "norm": model.norm,
    }


def _plain(value):
    """Options as JSON: bases and encodings become their fields and kind; tensors are left out. A
    field that is called kind itself, a wavelet's, is written as kind_."""
    if isinstance(value, (Basis, Encoding)):
        names = [f.name for f in dataclasses.fields(value) if f.init]  # type: ignore[arg-type]
        fields = {
            "kind_" if name == "kind" else name: _plain(getattr(value, name)) for name in names
        }
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
    layers = [
        _layer(options, f"layers.{index}.", state)
        for index, options in enumerate(description["layers"])
    ]
    # Files from before there were norms have none.
    return Network(layers, description["activation"], encoding, description.get("norm"))


def _layer(options: dict, prefix: str, state: dict[str, Tensor]):
    options = dict(options)
    name = options.pop("kind")
    if name == "SymbolicLayer":
        from tinykan.interpret.symbolic import SymbolicLayer  # not needed for others

        inner = {"kind": "KANLayer", **options.pop("layer")}
        return SymbolicLayer(_layer(inner, f"{prefix}layer.", state), **options)
    if name == "KANLayer":
        options["mask"] = state.get(f"{prefix}mask")
        options["basis"] = _object(options["basis"], BASES, state.get(f"{prefix}basis.knots"))
    return LAYERS[name](**options)


def _object(fields: dict, kinds: dict, knots: Tensor | None = None):
    options: dict[str, Any] = {
        k.removesuffix("_"): tuple(v) if isinstance(v, list) else v
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
        tensor.replace(state[name].realize())
