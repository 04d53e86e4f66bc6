"""SIREN (arXiv:2006.09661), and how other networks of sines and bells start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tinykan.initializers import DRAWN_BIAS, INITIALIZERS
from tinykan.networks import MLP, Encoding
from tinykan.variants import activations  # noqa: F401  (sine30)


class Siren(MLP):
    """A network of sines (Sitzmann et al. 2020) with their initialization. `omega`, their 30, is
    the frequency of all layers; the first one's can be changed by `encoding=Scaled(factor=...)`."""

    def __init__(
        self,
        widths: Sequence[int],
        omega: float = 30.0,
        *,
        encoding: Encoding | None = None,
        seed: int = 0,
    ) -> None:
        kinds = "siren-first", f"siren-hidden{omega:g}"
        super().__init__(widths, f"sine{omega:g}", encoding=encoding, initializer=kinds, seed=seed)


def _siren_first(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Sitzmann et al. 2020, sec. 3.2: phases spread over several periods."""
    return rng.uniform(-1 / shape[0], 1 / shape[0], shape)


def _siren_hidden(
    rng: np.random.Generator, shape: tuple[int, int, int], omega: float = 30.0
) -> np.ndarray:
    """Sitzmann et al. 2020, theorem 1.8, the frequency `omega` being in the activation."""
    limit = np.sqrt(6 / shape[0]) / omega
    return rng.uniform(-limit, limit, shape)


def _siren_edges(omega: float, rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """The same with several sines on every edge, up to the frequency `omega`: variances add up."""
    return _siren_hidden(rng, shape, omega) / np.sqrt(shape[1])


_phases = DRAWN_BIAS["uniform"]
INITIALIZERS |= {"siren-first": _siren_first, "siren-hidden": _siren_hidden}
DRAWN_BIAS |= {"siren-first": _phases, "siren-hidden": _phases}
INITIALIZERS.of["siren-hidden"] = lambda omega: partial(_siren_hidden, omega=omega)
DRAWN_BIAS.of["siren-hidden"] = lambda omega: _phases
INITIALIZERS.of["siren-edges"] = lambda omega: partial(_siren_edges, omega)
DRAWN_BIAS.of["siren-edges"] = lambda omega: _phases
# FINER (arXiv:2312.02434): first biases from -k to k reach the activation's faster parts.
INITIALIZERS.of["finer-first"] = lambda k: _siren_first
DRAWN_BIAS.of["finer-first"] = lambda k: lambda inputs: k
