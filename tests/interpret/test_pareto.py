"""Formulas by complexity and held-out error."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tinykan.interpret.pareto import (
    Row,
    as_table,
    complexity,
    is_noise,
    no_worse,
    pareto_front,
    simplest,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("2.5", 1),
        ("x", 1),
        ("x + y", 3),
        ("x - y", 3),
        ("-x", 1),
        ("1/x", 2),
        ("x/y", 4),  # x * (1/y)
        ("x**2", 2),
        ("x**3", 3),
        ("sqrt(x)", 2),
        ("0.5*m*v**2", 6),
        ("exp(x2**2 + sin(pi*x1))", 8),
        ("2*pi*x", 3),  # a constant is one node
    ],
)
def test_complexity_is_the_number_of_nodes(text, nodes):
    assert complexity(sympy.sympify(text)) == nodes


def row(nodes: int, squares: np.ndarray) -> Row:
    return Row(nodes, float(squares.mean()), sympy.Symbol(f"f{nodes}"), squares)


def test_the_front_has_no_formula_that_a_simpler_one_beats():
    rows = [row(n, np.full(5, error)) for n, error in [(7, 1.0), (3, 2.0), (5, 3.0), (3, 4.0)]]
    rows.append(row(9, np.full(5, np.inf)))
    assert [(r.complexity, r.error) for r in pareto_front(rows)] == [(3, 2.0), (7, 1.0)]
    lines = as_table(pareto_front(rows)).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["3", "2.000e+00", "f3"],
        ["7", "1.000e+00", "f7"],
    ]


def test_the_simplest_within_the_noise_is_chosen():
    noise = RNG.normal(size=100) ** 2
    good, better = row(3, noise + 0.001 * RNG.normal(size=100)), row(9, noise - 1e-5)
    assert simplest([row(1, noise + 1), good, better], 0.0) is good
    # A standard error of the mean difference is 1e-4, by the deviation 0.001 of 100 rows.
    assert not no_worse(noise + 0.01 * RNG.uniform(size=100), noise, 2.0)
    assert no_worse(noise + 1e-12, noise, 2.0, rounding=1e-11)


def test_noise_has_no_pattern():
    x = RNG.uniform(-1, 1, (400, 2))
    noise = RNG.normal(size=400)
    assert is_noise(x, noise)
    assert not is_noise(x, np.sin(3 * x[:, 0]) * x[:, 1])
    assert not is_noise(x, 0.5 * noise + np.sin(3 * x[:, 0]))
