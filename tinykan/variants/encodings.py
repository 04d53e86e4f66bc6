"""Positional encodings: the features that a network is given for coordinates in [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.activations import cosine, sine
from tinykan.errors import UserError
from tinykan.networks import Encoding


@dataclass(frozen=True)
class Raw(Encoding):
    """The coordinates as they are."""

    in_features: int = 2

    @property
    def out_features(self) -> int:
        return self.in_features

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Scaled(Raw):
    """The coordinates times `factor`: a SIREN on them has a first frequency of 30 `factor`, its
    paper's omega_0 (Sitzmann et al. 2020, sec. 3.2)."""

    factor: float = 3.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor != 0):
            raise UserError(f"factor {self.factor} must be a number other than 0")

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * x


@dataclass(frozen=True)
class Sines(Encoding):
    """Sines in octaves: v becomes [v, sin(2^i pi (v + 1)) for i = 0 .. channels - 2], as in the
    Ameobea/kan experiment, whose first channel was pi (v + 1). Every feature lies in [-1, 1], the
    grid of a spline. `channels` (1 to 16) is one number for all coordinates, or one for each."""

    in_features: int = 2
    channels: int | tuple[int, ...] = 8

    def __post_init__(self) -> None:
        for count in self._counts:
            _check_channels(count, 16)
        if len(self._counts) != self.in_features:
            raise UserError(
                f"{len(self._counts)} numbers of channels for {self.in_features} inputs"
            )

    @property
    def out_features(self) -> int:
        return sum(self._counts)

    def __call__(self, x: Tensor) -> Tensor:
        features = []
        for i, count in enumerate(self._counts):
            v = x[..., i : i + 1]
            features += [v, sine(_octaves(v + 1, count - 1))] if count > 1 else [v]
        return Tensor.cat(*features, dim=-1)

    @property
    def _counts(self) -> tuple[int, ...]:
        if isinstance(self.channels, tuple):
            return self.channels
        return (self.channels,) * self.in_features


@dataclass(frozen=True)
class NeRF(Encoding):
    """Sines and cosines of 2^i pi v, i = 0 .. octaves - 1 (Mildenhall et al. 2020, eq. 4); 1 to 16
    octaves."""

    in_features: int = 2
    octaves: int = 6

    def __post_init__(self) -> None:
        _check_channels(self.octaves, 16)

    @property
    def out_features(self) -> int:
        return 2 * self.in_features * self.octaves

    def __call__(self, x: Tensor) -> Tensor:
        angles = _octaves(x.unsqueeze(-1), self.octaves)
        return sine(angles).cat(cosine(angles), dim=-1).flatten(-2)


@dataclass(frozen=True)
class Gaussian(Encoding):
    """Random Fourier features: sines and cosines of 2 pi B v, where B has `features` rows (1 to
    65,536) drawn from N(0, scale^2) (Tancik et al. 2020, sec. 6). B is saved with the model."""

    in_features: int = 2
    features: int = 64
    scale: float = 5.0
    seed: int = 0
    frequencies: Tensor = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_channels(self.features, 65536)
        rng = np.random.default_rng(self.seed)
        drawn = rng.normal(0, self.scale, (self.in_features, self.features))
        state = Tensor(drawn, dtype=dtypes.default_float).is_param_(False)
        object.__setattr__(self, "frequencies", state)

    @property
    def out_features(self) -> int:
        return 2 * self.features

    def __call__(self, x: Tensor) -> Tensor:
        angles = 2 * math.pi * (x @ self.frequencies)
        return sine(angles).cat(cosine(angles), dim=-1)


def _octaves(v: Tensor, count: int) -> Tensor:
    """pi 2^i v for i = 0 .. count - 1, along the last dimension."""
    return v * (Tensor.arange(count).to(v.device).cast(v.dtype).exp2() * math.pi)


def _check_channels(value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UserError(f"an encoding of {value} channels: choose from 1 to {most}")
