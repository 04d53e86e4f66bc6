"""Bases with functions that are non-zero everywhere, and how their coefficients start: powers,
Gaussians, wavelets, Chebyshev polynomials, sines and cosines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.activations import Number, bounded, cosine, decaying, sine, tanh
from tinykan.basis import DenseBasis, power
from tinykan.errors import UserError, check_domain, check_integer, lookup
from tinykan.initializers import INITIALIZERS

MAX_FUNCTIONS = 64  # each is written out in the kernels


@dataclass(frozen=True)
class Polynomial(DenseBasis):
    """x, x^2, ..., x^degree, without the constant, which is the layer's bias.

    With tanh on the nodes, degree 2 is the cheap learnable activation tanh(a x^2 + b x).
    """

    degree: int = 2

    def __post_init__(self) -> None:
        check_integer("degree", self.degree, 1, 8)

    @property
    def n_functions(self) -> int:
        return self.degree

    def values(self, x: Number) -> list[Number]:
        return [power(x, n) for n in range(1, self.degree + 1)]

    def slopes(self, x: Number) -> list[Number]:
        return [n * power(x, n - 1) for n in range(1, self.degree + 1)]


@dataclass(frozen=True)
class MotherFunction:
    """A function of u that vanishes far from 0, and its derivative; from u and exp(-u^2 / 2)."""

    value: Callable
    slope: Callable


_HAT = 2 / (math.sqrt(3) * math.pi**0.25)  # to a square whose integral is 1

GAUSSIAN = MotherFunction(lambda u, e: e, lambda u, e: -u * e)
WAVELETS = {
    "mexican_hat": MotherFunction(
        lambda u, e: _HAT * (1 - u * u) * e, lambda u, e: _HAT * u * (u * u - 3) * e
    ),
    "morlet": MotherFunction(
        lambda u, e: cosine(5 * u) * e,
        lambda u, e: -(5 * sine(5 * u) + u * cosine(5 * u)) * e,
    ),
    "dog": MotherFunction(lambda u, e: -u * e, lambda u, e: (u * u - 1) * e),
}


class TranslatedBasis(DenseBasis, abstract=True):
    """Scaled and translated copies phi_n(x) = mother(scale_n (x - center_n)) of one function that
    vanishes far from the domain."""

    domain: tuple[float, float]

    @property
    def mother(self) -> MotherFunction:
        raise NotImplementedError

    @property
    def scales_and_centers(self) -> list[tuple[float, float]]:
        """The scale of each copy, and its center's distance from the middle of the domain."""
        raise NotImplementedError

    @property
    def n_functions(self) -> int:
        return len(self.scales_and_centers)

    def values(self, x: Number) -> list[Number]:
        return [self._value(self._bounded(x), *copy) for copy in self.scales_and_centers]

    def slopes(self, x: Number) -> list[Number]:
        return [self._slope(self._bounded(x), *copy) for copy in self.scales_and_centers]

    # For tensors all copies at once: tinygrad would evaluate each in a stack for every other.
    def evaluate(self, x: Tensor) -> Tensor:
        return self._value(self._bounded(x).unsqueeze(-1), *self._tensors(x))

    def derivative(self, x: Tensor) -> Tensor:
        return self._slope(self._bounded(x).unsqueeze(-1), *self._tensors(x))

    def _bounded(self, x: Number) -> Number:
        """The distance from the middle of the domain, no farther than where the widest copy has
        vanished: infinity times zero is NaN."""
        low, high = self.domain
        return bounded(
            x - (low + high) / 2, (high - low) / 2 + 10 / min(self.scales_and_centers)[0]
        )

    def _tensors(self, x: Tensor) -> list[Tensor]:
        columns = zip(*self.scales_and_centers, strict=True)
        return [Tensor(list(c), dtype=x.dtype).to(x.device) for c in columns]

    def _value(self, x: Number, scale: Any, center: Any) -> Number:
        u = (x - center) * scale
        return self.mother.value(u, _bell(u))

    def _slope(self, x: Number, scale: Any, center: Any) -> Number:
        u = (x - center) * scale
        return self.mother.slope(u, _bell(u)) * scale


def _bell(u: Number) -> Number:
    return decaying(-0.5 * (u * u))


@dataclass(frozen=True)
class RBF(TranslatedBasis):
    """Gaussians exp(-((x - c_n) / h)^2) at `centers` (2 to 64) places c_n evenly spaced over
    `domain`, both ends among them, h being their distance: FastKAN's (arXiv:2405.06721).

    They reach beyond the domain and vanish within 4 h of it.

    >>> RBF(8)(Tensor([[0.1, 0.2]])).shape
    (1, 2, 8)
    """

    centers: int = 8
    domain: tuple[float, float] = (-1.0, 1.0)
    initializer = "rbf"

    def __post_init__(self) -> None:
        check_integer("centers", self.centers, 2, MAX_FUNCTIONS)
        check_domain(self.domain)

    @property
    def mother(self) -> MotherFunction:
        return GAUSSIAN

    @property
    def scales_and_centers(self) -> list[tuple[float, float]]:
        distance = (self.domain[1] - self.domain[0]) / (self.centers - 1)
        return [
            (math.sqrt(2) / distance, (n - (self.centers - 1) / 2) * distance)
            for n in range(self.centers)
        ]


@dataclass(frozen=True)
class Wavelet(TranslatedBasis):
    """Wavelets psi(2^j (x - c)), j = 0 .. `levels` - 1 (1 to 6), c in the middle of each of 2^j
    equal parts of the domain [-1, 1]: 2^levels - 1 functions. `kind` names psi:

        mexican_hat  2 / (sqrt(3) pi^(1/4)) (1 - u^2) exp(-u^2 / 2)
        morlet       cos(5 u) exp(-u^2 / 2)
        dog          -u exp(-u^2 / 2), the derivative of a Gaussian

    Wav-KAN (arXiv:2405.12832) learns the scale and place of one wavelet on every edge, which no
    dense product can serve. Here they are fixed, at those of a dyadic family, and an edge's
    function is learned as its coefficients: a learned scale and place is a sum of such functions.
    """

    levels: int = 3
    kind: str = "mexican_hat"
    domain = (-1.0, 1.0)  # not an option
    initializer = "wavelet"

    def __post_init__(self) -> None:
        check_integer("levels", self.levels, 1, int(math.log2(MAX_FUNCTIONS)))
        lookup("wavelet", self.kind, WAVELETS)

    @property
    def mother(self) -> MotherFunction:
        return WAVELETS[self.kind]

    @property
    def scales_and_centers(self) -> list[tuple[float, float]]:
        return [
            (2.0**level, (2 * k + 1) / 2**level - 1)
            for level in range(self.levels)
            for k in range(2**level)
        ]


@dataclass(frozen=True)
class Chebyshev(DenseBasis):
    """Chebyshev polynomials T_1 .. T_degree of tanh(x) (ChebyKAN, arXiv:2405.07200), by the
    recurrence T_{n+1}(t) = 2 t T_n(t) - T_{n-1}(t), which needs no arc cosine and is safe at the
    ends. T_0 is left out: it is the layer's bias. Degrees 1 to 64; any x.
    """

    degree: int = 4
    initializer = "chebyshev"

    def __post_init__(self) -> None:
        check_integer("degree", self.degree, 1, MAX_FUNCTIONS)

    @property
    def n_functions(self) -> int:
        return self.degree

    def values(self, x: Number) -> list[Number]:
        t = tanh(x)
        return _recurrence(t, [t.const_like(1.0), t], self.degree + 1)[1:]

    def slopes(self, x: Number) -> list[Number]:
        """dT_n/dt = n U_{n-1}(t), Chebyshev's polynomials of the second kind."""
        t = tanh(x)
        second = _recurrence(t, [t.const_like(1.0), 2 * t], self.degree)
        return [n * u * (1 - t * t) for n, u in enumerate(second, start=1)]


def _recurrence(t: Number, first: list[Number], count: int) -> list[Number]:
    """Both kinds of Chebyshev polynomials, from their first two."""
    found = list(first)
    while len(found) < count:
        found.append(2 * t * found[-1] - found[-2])
    return found[:count]


@dataclass(frozen=True)
class Fourier(DenseBasis):
    """sin(2 pi k x / period), then the cosines, k = 1 .. `frequencies` (1 to 32), without the
    constant, which is the layer's bias (FourierKAN, github.com/GistNoesis/FourierKAN, where the
    period is 2 pi). The default period is the length of the domain of other bases, [-1, 1]; any x.

    Higher frequencies follow from the first by the addition theorems.
    """

    frequencies: int = 5
    period: float = 2.0
    initializer = "fourier"

    def __post_init__(self) -> None:
        check_integer("frequencies", self.frequencies, 1, MAX_FUNCTIONS // 2)
        number = isinstance(self.period, int | float) and not isinstance(self.period, bool)
        if not (number and 0 < self.period < math.inf):
            raise UserError(f"period {self.period!r} must be a positive number")

    @property
    def n_functions(self) -> int:
        return 2 * self.frequencies

    def values(self, x: Number) -> list[Number]:
        sines, cosines = self._waves(x)
        return sines + cosines

    def slopes(self, x: Number) -> list[Number]:
        sines, cosines = self._waves(x)
        rates = [2 * math.pi * k / self.period for k in range(1, self.frequencies + 1)]
        return [r * c for r, c in zip(rates, cosines, strict=True)] + [
            -r * s for r, s in zip(rates, sines, strict=True)
        ]

    def _waves(self, x: Number) -> tuple[list[Number], list[Number]]:
        turns = x * (1 / self.period)
        # Whole turns are taken off while they are exact numbers.
        angle = (turns - (turns + 0.5).floor()) * (2 * math.pi)
        sines, cosines = [sine(angle)], [cosine(angle)]
        for _ in range(1, self.frequencies):
            s, c = sines[-1], cosines[-1]
            sines.append(s * cosines[0] + c * sines[0])
            cosines.append(c * cosines[0] - s * sines[0])
        return sines, cosines


def _rbf(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Normal, as in FastKAN. The squares of the overlapping Gaussians sum to sqrt(pi / 2) on the
    domain; with this deviation the output has the variance of inputs spread over it."""
    return rng.normal(0, 0.5 / np.sqrt(shape[0]), shape)


def _unit_variance(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Outputs of variance 1 from functions whose mean square is 1/2. ChebyKAN's deviation of
    1 / (in * n) lets signals fade from layer to layer; FKAN (arXiv:2409.09323) has this one."""
    return rng.normal(0, np.sqrt(2 / (shape[0] * shape[1])), shape)


def _fourier(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """FourierKAN's smooth start: amplitudes fall as 1 / k^2. A deviation of 0.3 keeps nodes within
    a period. With 1, layers fold their inputs and learn little: 19 instead of 26 dB on an image of
    128 x 128 after 200 steps."""
    k = np.arange(1, shape[1] // 2 + 1)
    amplitudes = np.concatenate([k, k]) ** -2.0
    amplitudes *= 0.3 * np.sqrt(2 / (shape[0] * (amplitudes**2).sum()))
    return rng.normal(0, 1, shape) * amplitudes[:, None]


def _wavelet(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Uniform, as in Wav-KAN, the variance divided among the levels, of 1, 2, 4 .. functions: the
    squares of one level's functions sum to about 1/2 everywhere on the domain."""
    limit = np.sqrt(3 / (shape[0] * np.log2(shape[1] + 1)))
    return rng.uniform(-limit, limit, shape)


def _lines(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Splines close to random lines, where there is no base function to start from: slopes drawn as
    its weights are. With slopes that keep the scale of their inputs an image has 2 dB less."""
    limit = 1 / np.sqrt(shape[0])
    slopes = rng.uniform(-limit, limit, (shape[0], 1, shape[2]))
    curves = INITIALIZERS["spline"](rng, shape)
    return slopes * np.linspace(-1, 1, shape[1])[:, None] + curves


INITIALIZERS |= {
    "lines": _lines,
    "rbf": _rbf,
    "chebyshev": _unit_variance,
    "fourier": _fourier,
    "fourier-flat": _unit_variance,
    "wavelet": _wavelet,
}
