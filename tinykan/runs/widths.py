"""Widths of networks for a number of parameters, so that networks compare at equal size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tinykan.basis import Basis
from tinykan.errors import UserError


def widths_for(
    parameters: int,
    depth: int,
    basis: Basis | Sequence[Basis],
    in_features: int,
    out_features: int,
    *,
    base: str | None = "silu",
    spline_weight: bool = True,
    bias: bool = True,
) -> list[int]:
    """Widths `[in, hidden * depth, out]` of a KAN with `parameters` parameters, to 2 %.

    `basis` is one for all layers or a list with one for each. All hidden layers are equally wide
    but the last, which takes up the difference. Raises UserError, naming the nearest size, if no
    such network comes within 2 %.
    """
    bases = [basis] * (depth + 1) if isinstance(basis, Basis) else basis
    per_edge = [b.n_functions + (base is not None) + spline_weight for b in bases]
    return edge_widths(parameters, per_edge, in_features, out_features, bias=bias)


def edge_widths(
    parameters: int, per_edge: Sequence[int], inputs: int, outputs: int, *, bias: bool = True,
    per_input: Sequence[int] | None = None,
) -> list[int]:  # fmt: skip
    """`widths_for` layers with `per_edge` parameters on each edge, layer by layer, and `per_input`
    for each of a layer's inputs."""
    depth = len(per_edge) - 1
    per_input = [0] * len(per_edge) if per_input is None else per_input
    if parameters < 1 or depth < 1:
        raise UserError(
            f"{parameters} parameters in {depth} hidden layers: both must be at least 1"
        )

    def count(widths: list[int]) -> int:
        layers = zip(pairwise(widths), per_edge, per_input, strict=True)
        return sum(o * (i * e + bias) + i * own for (i, o), e, own in layers)

    def filled(width: int) -> list[int]:
        start = [inputs, *[width] * (depth - 1)]
        before, after = per_edge[depth - 1], per_edge[depth]
        # What one more node costs.
        unit = start[-1] * before + bias + after * outputs + per_input[depth]
        rest = parameters - count([*start, 0, outputs])
        return [*start, max(1, round(rest / unit)), outputs]

    widest = 1 if depth == 1 else int(parameters**0.5) + 1
    candidates = [filled(width) for width in range(1, widest + 1)]
    fitting = [c for c in candidates if abs(count(c) - parameters) <= 0.02 * parameters]
    if not fitting:
        nearest = min(candidates, key=lambda c: abs(count(c) - parameters))
        raise UserError(
            f"no network of {depth} hidden layers from {inputs} to {outputs} features comes within "
            f"2 % of {parameters} parameters; the nearest, {widths_text(nearest)}, "
            f"has {count(nearest)}"
        )
    return min(fitting, key=lambda c: (abs(c[-2] - c[1]), abs(count(c) - parameters)))


def widths_text(widths: Sequence[int]) -> str:
    """Widths as the scripts print them: 16-28-22-1."""
    return "-".join(map(str, widths))
