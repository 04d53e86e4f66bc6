"""SIREN (arXiv:2006.09661)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinykan.initializers import DRAWN_BIAS, INITIALIZERS
from tinykan.networks import Encoding, Network, dense_layer, width_pairs
from tinykan.variants import activations  # noqa: F401  (sine30)


class Siren(Network):
    """A network of sines (Sitzmann et al. 2020) with their initialization and frequency, 30."""

    def __init__(
        self, widths: Sequence[int], *, encoding: Encoding | None = None, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        kinds = ["siren-first"] + ["siren-hidden"] * len(widths)
        pairs = zip(width_pairs(widths), kinds, strict=False)
        super().__init__(
            [dense_layer(i, o, kind, rng) for (i, o), kind in pairs], "sine30", encoding
        )


def _siren_first(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Sitzmann et al. 2020, sec. 3.2: phases spread over several periods."""
    return rng.uniform(-1 / shape[0], 1 / shape[0], shape)


def _siren_hidden(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Sitzmann et al. 2020, theorem 1.8, the frequency of 30 being in the activation."""
    limit = np.sqrt(6 / shape[0]) / 30
    return rng.uniform(-limit, limit, shape)


INITIALIZERS |= {"siren-first": _siren_first, "siren-hidden": _siren_hidden}
DRAWN_BIAS += ["siren-first", "siren-hidden"]
