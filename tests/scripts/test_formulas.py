"""The script that counts the known formulas that are found."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from scripts.formulas import KNOWN, evaluated, is_known, table


def judged(name: str, text: str, noise: float = 0.0) -> bool:
    x, _, deviation = table(KNOWN[name], noise, 0)
    symbols = {variable: sympy.Symbol(variable) for variable in KNOWN[name].ranges}
    return is_known(sympy.parse_expr(text, local_dict=symbols), KNOWN[name], x, deviation)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kinetic energy", "mass*velocity**2/2"),
        ("pendulum", "6.2832*sqrt(length)/sqrt(gravity)"),
        ("pendulum", "exp(log(length)/2 - log(gravity)/2 + 1.837877)"),
        ("relativistic addition", "tanh(atanh(u) + atanh(v))"),
        ("lens", "object*image/(object + image)"),
        ("damped oscillation", "amp*exp(-t)*sin(5*t + pi/2)"),
        ("exp_sin", "exp(sin(pi*x))*exp(y**2)"),
    ],
)
def test_equivalent_formulas_are_the_known_one(name, text):
    assert judged(name, text)


@pytest.mark.parametrize(
    ("name", "text", "noise"),
    [
        ("kinetic energy", "0.5*mass*velocity**2.0001", 0.01),  # another form
        ("kinetic energy", "0.5*mass*velocity**2 + 1e-4", 0.01),
        ("kinetic energy", "0.51*mass*velocity**2", 0.01),  # another constant
        ("kinetic energy", "0.501*mass*velocity**2", 0.0),
        ("damped oscillation", "amp*exp(-t)*cos(5.1*t)", 0.01),
        ("relativistic addition", "u + v", 0.0),
        ("distance", "sqrt(x - 5)", 0.0),  # not real
        ("lens", "2", 0.0),
    ],
)
def test_other_formulas_are_not(name, text, noise):
    assert not judged(name, text, noise)


def test_constants_are_within_what_the_noise_allows():
    # Of 500 rows with 1 % of noise: the standard error of the only constant c of c f(x) is the
    # noise's deviation over the root of the sum of squares of f.
    x, y, deviation = table(KNOWN["kinetic energy"], 0.01, 0)
    clean = evaluated(KNOWN["kinetic energy"], (0.5,), x)
    assert (y - clean).std() == pytest.approx(0.01 * clean.std(), rel=0.1)  # of 500 draws
    error = deviation / np.linalg.norm(clean / 0.5)
    assert judged("kinetic energy", f"{0.5 + 3.9 * error:.9f}*mass*velocity**2", 0.01)
    assert not judged("kinetic energy", f"{0.5 + 4.1 * error:.9f}*mass*velocity**2", 0.01)


def test_what_is_no_formula_is_one_line(script):
    for options in (["--only", "entropy"], ["--noise", "some"]):
        result = script("formulas.py", *options)
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
        assert "unknown formula 'entropy'" in result.stderr or "noise 'some'" in result.stderr
