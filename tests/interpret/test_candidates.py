"""Library functions fitted to the samples of an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykan import (
    UserError,
)
from tinykan.interpret.candidates import candidates, fit_function
from tinykan.interpret.library import LIBRARY

NAMES = [name for name in LIBRARY if name != "0"]
POSITIVE = ("sqrt", "log", "1/x", "1/x^2")  # here, where they are looked for


def inner(name: str, draw: st.DrawFn) -> tuple[float, float]:
    """a and b for x from -1 to 1 where the function differs from a line and has no pole."""
    number = lambda low, high: draw(st.floats(low, high))  # noqa: E731
    sign = draw(st.sampled_from([-1, 1]))
    if name in POSITIVE:
        size = number(0.2, 5)
        return sign * size * number(0.3, 0.97), size
    if name == "tan":
        return sign * number(0.5, 1.1), number(-0.3, 0.3)
    if name == "sin":
        return sign * number(0.5, 30), number(-3, 3)
    if name in ("tanh", "arctan", "gaussian"):
        a = number(0.8, 12)
        return sign * a, a * number(-0.7, 0.7)
    if name == "arctanh":
        return sign * number(0.7, 0.9), number(-0.08, 0.08)
    if name == "exp":
        return sign * number(0.3, 6), number(-1, 1)
    return sign * number(0.5, 3), number(-0.5, 0.5)


@st.composite
def curves(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray]:
    """A function of the library with affine parameters, sampled somewhere on the line."""
    name = draw(st.sampled_from(NAMES))
    a, b = inner(name, draw)
    middle, half = draw(st.floats(-5, 5)), draw(st.floats(0.05, 20))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    z = rng.uniform(-1, 1, 300)
    c, d = draw(st.sampled_from([-1, 1])) * draw(st.floats(0.01, 100)), draw(st.floats(-10, 10))
    return name, middle + half * z, c * LIBRARY[name].numpy(a * z + b) + d


@given(curves())
def test_every_function_is_found_again(curve):
    name, x, y = curve
    found = fit_function(name, x, y)
    assert found.r2 > 1 - 1e-6
    a, b, c, d = found.affine
    again = c * LIBRARY[name].numpy(a * x + b) + d
    assert np.square(again - y).mean() <= 1e-6 * y.var()
    noise = 0.01 * y.std() * np.random.default_rng(0).standard_normal(len(y))
    # Of a hundredth of the spread as noise, 1e-4 of the variance, nothing can be explained.
    assert fit_function(name, x, y + noise).r2 > 1 - 1.5e-4


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize(
    ("name", "low", "high", "function"),
    [
        ("x", -1, 1, lambda x: 3 * x - 1),
        ("x^2", -1, 1, lambda x: x**2),
        ("x^2", 0.5, 1, lambda x: 4 - (x + 0.5) ** 2),
        ("sin", -1, 1, lambda x: np.sin(np.pi * x)),
        ("sin", -3, 3, lambda x: np.cos(2 * x)),
        ("exp", -1, 2, np.exp),
        ("log", 0.01, 1, np.log),
        ("sqrt", 0, 1, np.sqrt),
        ("1/x", 0.2, 2, lambda x: 1 / x),
        ("abs", -1, 1, np.abs),
        ("tan", -1, 1, lambda x: np.tan(1.3 * x)),
        ("tanh", -4, 4, lambda x: 1 / (1 + np.exp(-2 * x))),
        ("arctan", -1, 1, lambda x: np.arctan(5 * x)),
        ("arctanh", -0.99, 0.99, np.arctanh),
        ("gaussian", -3, 3, lambda x: np.exp(-(x**2))),
        ("x^3", -1, 1, lambda x: x**3),
        ("x^4", -1, 1, lambda x: x**4),
    ],
)
def test_the_simplest_function_that_fits_comes_first(name, low, high, function, noise):
    x = np.linspace(low, high, 300)
    rng = np.random.default_rng(0)
    y = function(x) + noise * function(x).std() * rng.standard_normal(300)
    ranked = candidates(x, y)
    assert ranked[0].name == name
    assert [c.score for c in ranked] == sorted(c.score for c in ranked)


def test_edges_that_are_not_quite_what_they_mean():
    x = np.linspace(-1, 1, 300)
    # 1 - R^2 is 0.005 with a line, and a hundredth of that with a tangent, of a trained edge.
    assert candidates(x, np.tan(0.7 * x) + 0.003 * np.sin(25 * x))[0].name == "x"
    # R^2 is 0.2 with a line, and 0.9 with a sine.
    assert candidates(x, np.sin(6 * x) + np.abs(x - 0.2))[0].name == "sin"


def test_constants_and_few_samples():
    (constant,) = candidates(np.array([1.0, 2.0]), np.array([0.5, 0.5]))
    assert (constant.name, constant.affine[3], constant.r2) == ("0", 0.5, 1.0)
    assert candidates(np.full(9, 2.0), np.full(9, 1e-30))[0].name == "0"
    (line,) = candidates(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert line.name == "x" and line.r2 == pytest.approx(0.75)
    np.testing.assert_allclose(line.affine, (1, 0, 1.5, -0.5))
    with pytest.raises(UserError, match="different values at a single input"):
        candidates(np.array([2.0, 2.0]), np.array([1.0, 2.0]))
    # With as many numbers as points everything fits: that is not looked at.
    assert {c.name for c in candidates(np.arange(3.0), np.arange(3.0) ** 2)} == {"x"}
    assert fit_function("sin", np.arange(4.0), np.arange(4.0) ** 2) is None


def test_what_is_not_defined_at_all_samples_is_not_offered():
    x = np.linspace(-1, 1, 101)
    for candidate in candidates(x, np.where(np.abs(x) < 0.02, 40, 1 / np.where(x == 0, 1, x))):
        a, b, _, _ = candidate.affine
        if candidate.name in POSITIVE:
            assert (a * x + b > 0).all() or (a * x + b < 0).all()
