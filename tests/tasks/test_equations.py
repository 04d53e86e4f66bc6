"""Differential equations: their residuals, their points, and a loss that sees the model."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy
import sympy
from tinygrad import Tensor, dtypes

from tinykan import KAN, BSpline, Predictor, fit, load
from tinykan.commands.solve_equation import Config, main
from tinykan.errors import UserError
from tinykan.fitting.lbfgs import float64
from tinykan.runs.presets import task_from
from tinykan.tasks import EQUATIONS, Equation, EquationTask, Unknown
from tinykan.tensors import learnable, overwrite

X, Y = sympy.symbols("x y")
PI = sympy.pi
EXACT = {
    "poisson": sympy.sin(PI * X) * sympy.sin(PI * Y),
    "helmholtz": sympy.sin(PI * X) * sympy.sin(4 * PI * Y),
    "heat": sympy.sin(PI * X) * sympy.exp(-(PI**2) * Y / 10),
}


def at(expression, points):
    return np.broadcast_to(sympy.lambdify((X, Y), expression)(*points.T), len(points)).copy()


@pytest.mark.parametrize("name", EXACT)
def test_the_residual_of_the_exact_solution_is_zero(name):
    equation, exact = EQUATIONS[name], EXACT[name]
    points = equation.to_box(np.random.default_rng(1).uniform(-1, 1, (40, 2)))

    def tensor(values):
        return Tensor(values, dtype=dtypes.float64)

    u = Unknown(
        tensor(at(exact, points)),
        [tensor(at(exact.diff(v), points)) for v in (X, Y)],
        [tensor(at(exact.diff(v, 2), points)) for v in (X, Y)],
    )
    residual = equation.residual([tensor(points[:, i]) for i in range(2)], u).numpy()
    # Terms of at most 17 pi^2 = 168 cancel in float64: 168 x 2.2e-16 for each of a few roundings.
    assert np.abs(residual).max() < 1e-12
    np.testing.assert_allclose(equation.solution(points), at(exact, points), atol=1e-14)


def of_lines(name, flux, width=1601):
    """The equation u_t = flux(u, u_x, u_xx) by central differences in x, and SciPy in time, at
    (x, t) of every 80th line and at t = 0, 0.1, ... 1; walls stay as they start."""
    x, times = np.linspace(-1, 1, width), np.linspace(0, 1, 11)
    h, start = x[1] - x[0], EQUATIONS[name].solution(np.stack([x, 0 * x], axis=1))

    def slope(_, u):
        change = np.zeros_like(u)
        first, second = (u[2:] - u[:-2]) / (2 * h), (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        change[1:-1] = flux(u[1:-1], first, second)
        return change

    found = scipy.integrate.solve_ivp(
        slope, (0, 1), start, "BDF", times, rtol=1e-8, atol=1e-10,
        jac_sparsity=scipy.sparse.diags([1.0, 1.0, 1.0], [-1, 0, 1], (width, width)),
    )  # fmt: skip
    at_x, at_t = np.meshgrid(x[::80], times, indexing="ij")
    return np.stack([at_x.ravel(), at_t.ravel()], axis=1), found.y[::80].ravel()


def test_burgers_agrees_with_another_quadrature_in_its_shock_too():
    """Cole and Hopf's integral over the start by the trapezoidal rule, which for a function that is
    analytic, and 0 at both ends, has no error but rounding (Trefethen and Weideman 2014)."""
    rng, viscosity = np.random.default_rng(0), 0.01 / math.pi
    x, t = rng.uniform(-1, 1, 60), rng.uniform(0.02, 1, 60)
    x[30:] *= 0.02  # the shock
    start = x[:, None] + np.linspace(-3, 3, 20001)
    exponent = -np.cos(math.pi * start) / (2 * math.pi * viscosity)
    exponent -= (x[:, None] - start) ** 2 / (4 * viscosity * t[:, None])
    density = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    u = -(density * np.sin(math.pi * start)).sum(axis=1) / density.sum(axis=1)
    found = EQUATIONS["burgers"].solution(np.stack([x, t], axis=1))
    np.testing.assert_allclose(found, u, rtol=0, atol=1e-12)


def test_solutions_without_a_closed_form_agree_with_the_method_of_lines():
    """Its error is h^2 = 1.6e-6 times derivatives, which in Burgers's shock are some 1e3 high."""
    points, lines = of_lines("burgers", lambda u, d, dd: -u * d + 0.01 / math.pi * dd)
    np.testing.assert_allclose(EQUATIONS["burgers"].solution(points), lines, rtol=0, atol=2e-3)
    away = np.abs(points[:, 0]) > 0.15
    assert np.abs(EQUATIONS["burgers"].solution(points) - lines)[away].max() < 2e-5
    points, lines = of_lines("allen-cahn", lambda u, d, dd: 1e-4 * dd + 5 * (u - u**3))
    np.testing.assert_allclose(EQUATIONS["allen-cahn"].solution(points), lines, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("burgers", lambda u: -u.value * u.first[0] + 0.01 / math.pi * u.second[0]),
        ("allen-cahn", lambda u: 1e-4 * u.second[0] + 5 * (u.value - u.value**3)),
    ],
)
def test_residuals_of_equations_in_time(name, slope):
    """A residual is u_t less what the equation says that it is, whatever u is."""
    numbers = np.random.default_rng(2).normal(size=(5, 7))
    value, *others = (Tensor(row, dtype=dtypes.float64) for row in numbers)
    u = Unknown(value, others[:2], others[2:])
    residual = EQUATIONS[name].residual([value, value], u).numpy()
    exact = Unknown(numbers[0], list(numbers[1:3]), list(numbers[3:]))
    np.testing.assert_allclose(residual, exact.first[1] - slope(exact), atol=1e-13)


@pytest.mark.parametrize("name", EQUATIONS)
def test_an_ansatz_has_the_values_on_the_sides(name):
    equation = EQUATIONS[name]
    boundary = EquationTask(name).boundary
    unit = Tensor(boundary, dtype=dtypes.float64)
    offset, factor = equation.offset_and_factor(unit).numpy().T
    exact = equation.solution(equation.to_box(boundary))
    np.testing.assert_allclose(factor, 0, atol=1e-15)
    # The reference of Allen and Cahn is a sum of finitely many sines at the start, too.
    bound = 1e-7 if name == "allen-cahn" else 1e-14
    np.testing.assert_allclose(offset, exact, rtol=0, atol=bound)
    inside = np.random.default_rng(0).uniform(-0.99, 0.99, (50, 2))
    assert (equation.offset_and_factor(Tensor(inside)).numpy()[:, 1] > 0).all()


@pytest.mark.parametrize("hard", [False, True])
def test_derivatives_are_in_the_units_of_the_domain(hard):
    model = KAN([2, 2, 1], BSpline(4), seed=3)
    taken = {}

    def keep(x, u):
        taken.update(x=x, u=u)
        return u.value

    domain = ((0.0, 3.0), (1.0, 1.5))
    sides = ((0, -1),)

    def ansatz(x):
        return x[0] * (3 * x[1]).sin(), 0.3 * x[0] * x[0] * (x[0] + 2 * x[1]).cos()

    equation = Equation("any", "", keep, lambda x: x[:, 0], domain, sides, (3, 3), ansatz=ansatz)
    unit, step = np.random.default_rng(2).uniform(-0.9, 0.9, (6, 2)), 1e-4
    with float64(model):
        equation.residuals(model, Tensor(unit, dtype=dtypes.float64), hard)
        box = equation.to_box(unit)
        low, high = np.array(domain).T

        def value(points):
            scaled = (points - low) / (high - low) * 2 - 1
            found = model(Tensor(scaled, dtype=dtypes.float64)).numpy()[:, 0]
            a, b = points.T
            return a * np.sin(3 * b) + 0.3 * a**2 * np.cos(a + 2 * b) * found if hard else found

        for i in range(2):
            aside = step * np.eye(2)[i]
            above, here, below = value(box + aside), value(box), value(box - aside)
            np.testing.assert_allclose(taken["x"][i].numpy(), box[:, i], rtol=1e-14)
            # Errors of a step h: h^2 u'''/6 in the first; rounding 1e-16 / h^2 in the second.
            first, second = taken["u"].first[i].numpy(), taken["u"].second[i].numpy()
            np.testing.assert_allclose(first, (above - below) / (2 * step), atol=1e-5)
            curvature = (above - 2 * here + below) / step**2
            scale = np.abs(curvature).max()
            # Third derivatives of cubic splines jump at knots: the error there is h u''' / 2.
            np.testing.assert_allclose(second, curvature, atol=1e-2 * scale)


def test_the_gradient_of_the_loss_agrees_with_finite_differences():
    task = EquationTask("heat")
    model = KAN([2, 2, 1], BSpline(4), seed=0)
    x, y = task.sampler(64, 0)(Tensor([0], dtype=dtypes.int32))
    with float64(model):
        x, y = x.cast(dtypes.float64).realize(), y.cast(dtypes.float64).realize()
        weights = learnable(model)
        gradients = task.loss(model, x, y).gradient(*weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            start, found = weight.numpy().copy(), gradient.numpy()
            direction = np.random.default_rng(0).normal(size=start.shape)
            ends = []
            for sign in (1, -1):
                overwrite(weight, start + sign * 1e-5 * direction)
                ends.append(task.loss(model, x, y).item())
            overwrite(weight, start)
            expected = (ends[0] - ends[1]) / 2e-5  # its error: 1e-10 u''' and rounding / 1e-5
            assert np.sum(found * direction) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_points_on_the_sides_follow_those_in_the_interior():
    task = EquationTask("heat", resample=True)
    sample = task.sampler(32, 5)
    (x, y), (again, _) = (sample(Tensor([n], dtype=dtypes.int32)) for n in (0, 1))
    assert x.shape == (32 + 3 * 51, 2) and y.shape == (32 + 3 * 51, 1)
    assert np.all(np.abs(x.numpy()) <= 1)
    assert not np.array_equal(x.numpy()[:32], again.numpy()[:32])
    np.testing.assert_array_equal(x.numpy()[32:], again.numpy()[32:])
    start = x.numpy()[-51:]
    assert np.all(start[:, 1] == -1)  # t = 0, where u = sin(pi x)
    np.testing.assert_allclose(y.numpy()[-51:, 0], np.sin(math.pi * start[:, 0]), atol=1e-6)
    assert np.abs(y.numpy()[32:-51]).max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": ((1.0, 1.0),)}, "domain"),
        ({"domain": ((0.0, math.inf),)}, "domain"),
        ({"sides": ((1, -1),)}, "side"),
        ({"sides": ((0, 0),)}, "side"),
        ({"sides": ()}, "side"),
        ({"points": (3, 3)}, "points"),
        ({"points": (1,)}, "points"),
    ],
)
def test_a_wrong_equation_is_refused_in_one_line(changes, message):
    good = {"domain": ((0.0, 1.0),), "sides": ((0, -1),), "points": (5,)}
    with pytest.raises(UserError, match=message) as caught:
        Equation("e", "", lambda x, u: u.value, lambda x: x[:, 0], **{**good, **changes})
    assert "\n" not in str(caught.value)


def test_a_study_names_an_equation():
    named = task_from("EquationTask('burgers', hard_constraints=True)")
    assert named == EquationTask("burgers", hard_constraints=True)
    with pytest.raises(UserError, match="attention is for the points of a grid"):
        task_from("EquationTask('burgers', resample=True, attention=True)")


def test_an_unknown_equation_is_refused():
    with pytest.raises(UserError, match="poisson"):
        EquationTask("poison")


def test_with_hard_constraints_nothing_is_trained_on_the_sides():
    task = EquationTask("burgers", hard_constraints=True)
    x, y = task.sampler(64, 0)(Tensor([0], dtype=dtypes.int32))
    assert x.shape == (64, 2) and y.shape == (64, 1) and not len(task.boundary)
    model = KAN([2, 2, 1], BSpline(4), seed=0)
    residual = task.problem.residuals(model, x, True).numpy()
    assert task.loss(model, x, y).item() == pytest.approx(np.mean(residual**2), rel=1e-5)
    found = np.random.default_rng(0).normal(size=(len(task.points), 1))
    a, t = task.problem.to_box(task.points).T
    exact = -np.sin(np.pi * a) + t * (1 - a**2) * found[:, 0]
    np.testing.assert_allclose(task.fitted(lambda points: found), exact, atol=1e-13)


def test_hard_constraints_without_an_ansatz_are_one_line():
    decay = Equation(
        "decay", "u' = -u", lambda x, u: u.first[0] + u.value, lambda x: np.exp(-x[:, 0]),
        ((0.0, 2.0),), ((0, -1),), (20,),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"^decay: hard constraints need an ansatz$"):
        EquationTask(decay, hard_constraints=True)


@pytest.mark.parametrize(
    "ansatz",
    [
        lambda x: (np.float64(2) * x[0], x[0]),  # NumPy makes an array of it
        lambda x: (1.0, x[0]),
        lambda x: (x[0].unsqueeze(-1), x[0]),
        lambda x: (x[0], x[0], x[0]),
    ],
)
def test_an_ansatz_of_another_form_is_one_line(ansatz):
    decay = replace(EQUATIONS["heat"], name="decay", ansatz=ansatz)
    with pytest.raises(UserError, match=r"^decay: an ansatz gives an offset and a factor, .*$"):
        EquationTask(decay, hard_constraints=True)


def test_hard_constraints_solve_an_equation():
    """u' = -u with u(0) = 1: 1 + x N(x)."""
    decay = Equation(
        "decay", "u' = -u", lambda x, u: u.first[0] + u.value, lambda x: np.exp(-x[:, 0]),
        ((0.0, 2.0),), ((0, -1),), (40,), ansatz=lambda x: (x[0].const_like(1.0), x[0]),
    )  # fmt: skip
    task = EquationTask(decay, hard_constraints=True)
    model = KAN([1, 1], BSpline(5), seed=0)
    fit(model, task.sampler(40, 0), steps=0, lbfgs=60, loss=task.loss, progress=False)
    fitted = task.fitted(Predictor(model))
    assert fitted[0] == 1 and task.scores(fitted)["max_error"] < 1e-4


def test_the_command_with_hard_constraints(tmp_path):
    options = {"equation": "heat", "basis": "BSpline(4)", "parameters": 51, "quiet": True}
    main(Config(**options, hard_constraints=True, steps=3, lbfgs=3, out=str(tmp_path)))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["config"]["hard_constraints"] is True
    points = EquationTask("heat").points
    x, t = (points[:, 0], (points[:, 1] + 1) / 2)
    network = Predictor(load(tmp_path / "model.safetensors"))(points)[:, 0]
    found = np.sin(np.pi * x) + t * (1 - x**2) * network
    exact = np.sin(np.pi * x) * np.exp(-0.1 * np.pi**2 * t)
    assert summary["mse"] == pytest.approx(np.mean((found - exact) ** 2), rel=1e-4)
    assert (tmp_path / "solution.png").exists()


@pytest.mark.long  # five minutes
def test_burgers_has_its_shock_in_its_place(tmp_path):
    """The command of docs/how-to/equation.md, whose error was 0.006; a shock displaced by 0.001 has
    0.016."""
    main(
        Config(
            equation="burgers", model="quadratic", hard_constraints=True, resample=True,
            parameters=1200, depth=3, steps=100, lbfgs=700, batch=5151, quiet=True,
            out=str(tmp_path),
        )
    )  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text())["relative_l2"] < 0.01


@pytest.mark.parametrize("hard", [False, True])
def test_of_the_candidates_those_with_the_largest_residual_are_trained_on(hard):
    task = EquationTask("heat", resample=True, hard_constraints=hard, candidates=3)
    plain = EquationTask("heat", resample=True, hard_constraints=hard)
    model = KAN([2, 3, 1], BSpline(4), seed=2)
    x, y = task.sampler(50, 0)(Tensor([7], dtype=dtypes.int32))
    sides = 0 if hard else len(task.boundary)
    assert len(x) == len(y) == 150 + sides
    candidates = x.numpy()[:150].reshape(3, 50, 2)
    size = task.problem.residuals(model, x[:150].contiguous(), hard).numpy().reshape(3, 50) ** 2
    worst = candidates[size.argmax(axis=0), np.arange(50)]
    chosen = Tensor(np.concatenate([worst, x.numpy()[150:]]))
    expected, found = plain.loss(model, chosen, y[100:]), task.loss(model, x, y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    weights = learnable(model)
    for a, b in zip(found.gradient(*weights), expected.gradient(*weights), strict=True):
        scale = np.abs(b.numpy()).max()
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 2}, "candidates 2 need resample: a grid has no others"),
        ({"resample": True, "candidates": 0}, "candidates 0 must be a whole number at least 1"),
    ],
)
def test_candidates_that_cannot_be_are_one_line(options, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        EquationTask("heat", **options)
