"""Networks that efficient-kan saved."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinykan.interop.assembly import network, spline_layer, take
from tinykan.interop.state_files import (
    State,
    as_float64_arrays,
    errors_about,
    read_content,
    read_safetensors,
    read_torch,
)
from tinykan.layers import KANLayer
from tinykan.networks import Network


def from_efficient_kan(
    source: str | Path | Mapping[str, Any], *, base: str | None = "silu"
) -> Network:
    """The network of an efficient-kan `KAN` (github.com/Blealtan/efficient-kan) from its
    state_dict. It has the same outputs and can be trained further.

    `source` maps names to arrays or tensors, or is the path of such a state_dict, saved by
    `torch.save` or in the safetensors format. Its arrays are `layers.N.base_weight` `[out, in]`,
    `spline_weight` `[out, in, n]`, `grid` `[in, knots]`, and optionally `spline_scaler`
    `[out, in]`. A state_dict does not record the base function: `base` names it, as in ACTIVATIONS,
    or is None for no base term. Weights have the type `dtypes.default_float`.

    Raises UserError, in one line, for missing, foreign and damaged files, which are never executed,
    for orders above 5, and for grids with repeated knots.
    """
    with errors_about("the state_dict" if isinstance(source, Mapping) else Path(source)):
        if isinstance(source, Mapping):
            state = as_float64_arrays(dict(source))
        else:
            content = read_content(Path(source))
            zipped = zipfile.is_zipfile(io.BytesIO(content))
            state = read_torch(content) if zipped else read_safetensors(content)
        return network(state, "layers.{}.", lambda index: [_layer(state, index, base)])


def _layer(state: State, index: int, base: str | None) -> KANLayer:
    prefix = f"layers.{index}."
    coefficients = take(state, f"{prefix}spline_weight", None, None, None)
    o, i, _ = coefficients.shape
    scaled = f"{prefix}spline_scaler" in state
    return spline_layer(
        take(state, f"{prefix}grid", i, None),
        coefficients.transpose(1, 2, 0),
        base=base,
        base_weight=take(state, f"{prefix}base_weight", o, i).T,
        spline_weight=take(state, f"{prefix}spline_scaler", o, i).T if scaled else None,
    )
