"""The kinds of networks that scripts and studies know by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tinykan.errors import UserError


@dataclass(frozen=True)
class Model:
    """A kind of network that the scripts know by name. In its texts, `{omega}` is the frequency or
    scale of its activations, `{third}` and `{two_thirds}` are parts of it, `{period}` is 2 pi /
    omega, `{low}` and `{high}` are where its angles are -9 and 9, and `{k}` is the largest first
    bias."""

    formula: str
    learning_rate: float  # under its optimizer; a good start on images
    encoding: str = "octaves"  # that suits it on images
    optimizer: str = "adam"  # that suits it
    basis: str = "Linear"
    activation: str = "identity"
    base: str | None = None
    initializers: tuple[str | None, str | None] = (None, None)  # of the first layer, of the others
    norm: str | None = None
    omega: float | None = None
    k: float | None = None
    nodes: dict[str, Any] | None = None  # options of NodeLayer, for bases of several functions

    @property
    def first_frequency(self) -> float | None:
        """Of the first layer, if that starts as a SIREN's."""
        return self.omega if self.initializers[0] in FIRST else None

    def written(self, omega: float | None = None, k: float | None = None) -> Model:
        """The model with numbers in its texts, its own where none are given. Raises UserError for
        those that it does not have."""
        for name, given, own in (("omega", omega, self.omega), ("first-bias", k, self.k)):
            if given is not None and own is None:
                having = [n for n, m in MODELS.items() if (m.omega if name == "omega" else m.k)]
                raise UserError(f"--{name} {given:g} is for the models {', '.join(having)}")
        omega, k = omega or self.omega or 1.0, k or self.k or 1.0
        numbers = {"omega": f"{omega:g}", "k": f"{k:g}", "period": f"{2 * math.pi / omega:.6f}"}
        numbers |= {"third": f"{omega / 3:g}", "two_thirds": f"{2 * omega / 3:g}"}
        numbers |= {"low": f"{-9 / omega:g}", "high": f"{9 / omega:g}"}
        first, others = (name and name.format(**numbers) for name in self.initializers)
        texts = {name: getattr(self, name).format(**numbers) for name in ("basis", "activation")}
        nodes = self.nodes and {
            name: option.format(**numbers) if isinstance(option, str) else option
            for name, option in {"omega": omega, **self.nodes}.items()
        }
        return replace(self, **texts, initializers=(first, others), nodes=nodes)


SIREN = "siren-first", "siren-hidden{omega}"
FIRST = "siren-first", "finer-first{k}"
MODELS = {
    "tanh": Model("tanh(sum_i w x_i + b)", 5e-3, activation="tanh"),
    "relu": Model(
        "max(0, sum_i w x_i + b)", 2e-3, activation="relu", initializers=("uniform", "uniform")
    ),
    "siren": Model(
        "sin(30 (sum_i w x_i + b))",
        1e-3,
        encoding="none",
        activation="sine{omega}",
        initializers=SIREN,
        omega=30.0,
    ),
    "h-siren": Model(
        "sin(30 sinh(2 (sum_i w x_i + b))) in the first layer, else siren",
        1e-3,
        encoding="none",
        basis="Linear, Functions('hsine{omega}'), Functions('sine{omega}'), ...",
        initializers=SIREN,
        omega=30.0,
    ),
    "finer": Model(
        "sin(30 (|z| + 1) z), z = sum_i w x_i + b, the first layer's b from -k to k",
        1e-3,
        encoding="none",
        activation="finer{omega}",
        initializers=("finer-first{k}", "siren-hidden{omega}"),
        omega=30.0,
        k=1.0,
    ),
    "gauss": Model(
        "exp(-(10 z)^2 / 2), z = sum_i w x_i + b",
        8e-3,
        encoding="none",
        activation="gauss{omega}",
        initializers=("uniform", "uniform"),
        omega=10.0,
    ),
    "wire": Model(
        "cos(20 z) exp(-(10 z)^2), z = sum_i w x_i + b",
        4e-3,
        encoding="none",
        activation="wire{omega}",
        initializers=("uniform", "uniform"),
        omega=20.0,
    ),
    "quadratic": Model(
        "tanh(sum_i (a x_i^2 + b x_i) + c)", 5e-3, basis="Polynomial(2)", activation="tanh"
    ),
    "cubic": Model(
        "tanh(sum_i (a x_i^3 + b x_i^2 + c x_i) + d)",
        5e-3,
        basis="Polynomial(3)",
        activation="tanh",
    ),
    "sine-quadratic": Model(
        "sin(30 (sum_i (a x_i^2 + b x_i) + c)), the first layer's a = 0",
        5e-4,
        encoding="none",
        basis="Linear, Polynomial(2)",
        activation="sine{omega}",
        initializers=SIREN,
        omega=30.0,
    ),
    "siren-kan": Model(
        "sum_i (a sin(30 x_i) + b cos(30 x_i)) + c",
        1e-3,
        encoding="none",
        basis="Linear, Fourier(1, period={period})",
        initializers=SIREN,
        omega=30.0,
    ),
    "spline-sines": Model(
        "sum_i spline(x_i) + b on 64 intervals, then sum_i (a sin(pi x_i) + b cos(pi x_i)) + c",
        2e-2,
        encoding="none",
        optimizer="muon",
        basis="BSpline(64, 2), Fourier(1, period={period}), ...",
        omega=math.pi,
    ),
    "sines-kan": Model(
        "sum_i (a sin(10 x_i) + b sin(20 x_i) + c sin(30 x_i)) + d",
        2e-3,
        encoding="none",
        basis="Linear, Functions('sine{third} sine{two_thirds} sine{omega}')",
        initializers=("siren-first", "siren-edges{omega}"),
        omega=30.0,
    ),
    # As FKAN's paper describes it. In its program the nodes have (z + tanh(30 z)) / (1 + exp(-z)),
    # which does nearly 3 dB worse on an image of 128 x 128 with 9,000 parameters after 300 steps.
    "fkan": Model(
        "sum_i sum_n (a_n sin(pi n x_i / 2) + b_n cos(pi n x_i / 2)) + c, n = 1 .. 16, then "
        "siren's hidden layers",
        4e-3,
        encoding="none",
        basis="Fourier(16, period=4.0), Linear, Functions('sine{omega}'), ...",
        initializers=("fourier-flat", "siren-hidden{omega}"),
        omega=30.0,
    ),
    # SL2A (arXiv:2409.10836) multiplies the inputs of further layers by the first one's outputs.
    # That gains nothing on an image of 128 x 128 with 9,000 parameters: 33.6 instead of 33.4 dB.
    "sl2a": Model(
        "sum_i sum_n a_n T_n(tanh x_i) + c, n = 1 .. 64, then relu's layers",
        1e-2,
        encoding="scaled(2)",
        basis="Chebyshev(64), Linear, ...",
        activation="relu",
        initializers=("chebyshev", "uniform"),
    ),
    "staf": Model(
        "sum_i w g(x_i) + b, g(x) = sum_n a_n sin(c_n x + d_n), one g for each layer",
        2e-3,
        encoding="none",
        basis="Linear, Functions('sine')",
        initializers=SIREN,
        omega=30.0,
        nodes={"copies": 5, "shared": True},
    ),
    "node-sines": Model(
        "sum_i w g_i(x_i) + b, g_i(x) = sum_n a_in sin(c_in x + d_in)",
        2e-3,
        encoding="none",
        basis="Linear, Functions('sine')",
        initializers=SIREN,
        omega=30.0,
        nodes={"copies": 3},
    ),
    "node-spline": Model(
        "sum_i w spline_i(x_i) + b, splines that start as sin(30 x), after a first layer of sines",
        4e-3,
        encoding="none",
        basis="Linear, Functions('sine{omega}'), BSpline(50, 3, ({low}, {high})), ...",
        initializers=SIREN,
        omega=30.0,
        nodes={"start": "sine{omega}"},
    ),
    "shared-spline": Model(
        "sum_i w spline(x_i) + b, a spline for each layer that starts as sin(30 x), after sines",
        4e-3,
        encoding="none",
        basis="Linear, Functions('sine{omega}'), BSpline(50, 3, ({low}, {high})), ...",
        initializers=SIREN,
        omega=30.0,
        nodes={"start": "sine{omega}", "shared": True},
    ),
    "node-cubic": Model(
        "tanh(sum_i w (a_i x_i^3 + b_i x_i^2 + c_i x_i) + d)",
        5e-3,
        basis="Linear, Polynomial(3)",
        activation="tanh",
        nodes={},
    ),
    # Without PyKAN's spline weight, which scales coefficients that are free already.
    "spline": Model(
        "sum_i (spline(x_i) + w silu(x_i)) + b", 1e-2, basis="BSpline(5, 3)", base="silu"
    ),
    "rbf": Model(
        "sum_i (sum_n a_n gauss(x_i - c_n) + w silu(x_i)) + b, normalized",
        5e-3,
        basis="RBF(8)",
        base="silu",
        norm="layer",
    ),
    "chebyshev": Model("sum_i sum_n a_n T_n(tanh(x_i)) + b", 5e-3, basis="Chebyshev(4)"),
    "fourier": Model(
        "sum_i sum_n (a_n sin(pi n x_i) + b_n cos(pi n x_i)) + c",
        5e-3,
        encoding="none",
        basis="Fourier(4)",
    ),
    "wavelet": Model(
        "sum_i (sum_n a_n psi_n(x_i) + w silu(x_i)) + b, normalized",
        5e-3,
        basis="Wavelet(3)",
        base="silu",
        norm="layer",
    ),
    "edge-tanh": Model("sum_i w tanh(a x_i^2 + b x_i) + c", 5e-3, basis="Polynomial(2)"),
}
