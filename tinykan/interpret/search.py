"""The search for formulas in networks: from spline networks to symbolic ones, to formulas, to
simpler formulas, all judged by rows that were held out (needs SciPy and SymPy, of the `interpret`
extra)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from tinykan.interpret.affine_fit import fit_affine
from tinykan.interpret.constants import Data
from tinykan.interpret.factors import symbolic_factors
from tinykan.interpret.formulas import formula, number, sympy
from tinykan.interpret.pareto import (
    AS_GOOD,
    Row,
    complexity,
    is_noise,
    no_worse,
    pareto_front,
    simplest,
)
from tinykan.interpret.rounding import FLOAT32, evaluated, parsed, written
from tinykan.interpret.simplification import settled, simpler
from tinykan.interpret.sparse_networks import (
    FIFTH,
    FITS,
    Clock,
    Samples,
    Sparse,
    product_networks,
    refit,
    sparse_network,
)
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic, straightened
from tinykan.networks import Network
from tinykan.tasks.arrays import in_float32

EXACT = 1e-8  # mean squared error, relative to the targets' variance, at which a formula is exact
HELD_OUT = 5  # one row of so many is held out
POOR = 0.5  # of the targets' variance: networks that leave more than that do not fit
SHORT = 20  # complexity of a formula: longer ones may be approximations of others
SHOWN = 100  # characters of formulas in a line of the log
# Libraries from the simplest on.
LIBRARIES: tuple[list[str] | None, ...] = (
    ["x", "x^2"],
    ["x", "x^2", "x^3", "sqrt", "exp", "log", "sin"],
    None,
)


class Search:
    """The formulas found so far, for each output, and the best network."""

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        names: list[str],
        seed: int,
        digits: int,
        scaling: tuple[np.ndarray, ...],
        clock: Clock,
        log: Callable[[str], None],
    ) -> None:
        self.x, self.y, self.names, self.seed, self.digits = x, y, names, seed, digits
        self.scaling, self.clock = scaling, clock
        self.log = lambda line: log(f"{clock.seconds():6.1f} s  {line}")
        shift, scale, target_shift, target_scale = scaling
        held = np.zeros(len(x), dtype=bool)
        held[np.random.default_rng(seed).permutation(len(x))[: len(x) // HELD_OUT]] = True
        self.samples = Samples(
            in_float32((x - shift) / scale, name="inputs"),
            in_float32((y - target_shift) / target_scale, name="targets"),
            held,
        )
        self.own = {
            sympy.Symbol(name): (sympy.Symbol(name) - number(s)) / number(size)
            for name, s, size in zip(names, shift, scale, strict=True)
        }
        self.rows: list[dict[sympy.Expr, Row]] = [{} for _ in y.T]
        self.seen: set[sympy.Expr] = set()
        self.network: Sparse | None = None
        self.squares: np.ndarray  # of the network, in the units of the targets, in the rows held
        self.symbolic: tuple[float, Network] | None = None

    def sums(self, hidden: list[int]) -> Sparse:
        """A spline network with these hidden layers."""
        sparse = sparse_network(self.samples, hidden, self.seed, self.clock, self.log)
        self.judge(sparse)
        return sparse

    def derive_at_once(self, sparse: Sparse) -> None:
        """Derives formulas by way of networks all of whose edges are made symbolic at once, which
        is fast."""
        inputs = self.samples.inputs[~self.samples.held]
        if sparse.misfit <= POOR or self.clock.over():
            self.derive_all(
                auto_symbolic(sparse.reduced, inputs, library=library)[0] for library in LIBRARIES
            )

    def derive_one_by_one(self, sparse: Sparse) -> None:
        """Derives formulas by way of networks whose edges are made symbolic one by one, while the
        others adapt to each change."""
        inputs = self.samples.inputs[~self.samples.held]
        for library in LIBRARIES:
            if sparse.misfit > POOR or self.over():
                break
            self.derive_all([self.one_by_one(sparse.reduced, inputs, library)])

    def products(self, factors: int) -> None:
        """Trains networks of products of so many factors, and derives formulas from those that fit
        as well as any network before."""
        inputs = self.samples.inputs[~self.samples.held]
        for sparse in product_networks(self.samples, factors, self.seed, self.clock, self.log):
            self.judge(sparse)
            if sparse.misfit <= min(POOR, max(FIFTH * self.misfit, FITS)):
                model = sparse.reduced
                self.derive_all(symbolic_factors(model, inputs, each) for each in LIBRARIES)
            if self.over(SHORT):
                break

    def judge(self, sparse: Sparse) -> None:
        """Keeps the network that fits best."""
        if sparse.misfit < self.misfit:
            units = self.samples.targets.astype(float).var(axis=0) * np.square(self.scaling[3])
            self.network, self.squares = sparse, self.samples.squares(sparse.reduced) * units

    @property
    def misfit(self) -> float:
        """The error of the best network, relative to the variance."""
        return math.inf if self.network is None else self.network.misfit

    def derive_all(self, symbolic_networks: Iterable[Network]) -> None:
        """Adds the formulas of these networks, and simpler ones."""
        for symbolic in symbolic_networks:
            self.derive(symbolic)
            # In noise, a polynomial may be as good as the formula that another library gives.
            if self.exact() or self.clock.over():
                break
        for output, table in enumerate(self.tables()):
            best = table[-1].expression if table else sympy.Integer(0)
            for simple in simpler(best, self.data(output), self.clock.over):
                self.add(output, simple)

    def one_by_one(self, model: Network, x: np.ndarray, library: list[str] | None) -> Network:
        """Replaces the edge with the best fit first; the remaining splines then adapt to it."""
        while not self.clock.over():
            _, choices = auto_symbolic(model, x, library=library, minimum_r2=math.inf)
            if not choices:
                return model
            surest = max(choices, key=lambda choice: choice.best.r2)
            name, affine = surest.best.name, surest.best.affine
            model = fix_symbolic(model, surest.layer, surest.i, surest.o, name, affine)
            refit(model, self.samples, self.clock)
        return auto_symbolic(model, x, library=library)[0]

    def derive(self, symbolic: Network) -> None:
        """Adds the formulas of a network of symbolic edges, and of it with lines for edges that are
        nearly linear."""
        kept = ~self.samples.held
        inputs, targets = self.samples.inputs[kept], self.samples.targets[kept].astype(float)
        fitted = fit_affine(symbolic, inputs.astype(float), targets)
        for network in (fitted, straightened(fitted, inputs)):
            if network is not fitted:
                network = fit_affine(network, inputs.astype(float), targets)
            misfit = self.samples.misfit(network)
            if self.symbolic is None or misfit < self.symbolic[0]:
                self.symbolic = misfit, network
            for output, expression in enumerate(formula(network, input_names=self.names)):
                shift, scale = self.scaling[2][output], self.scaling[3][output]
                whole = number(scale) * expression.xreplace(self.own) + number(shift)
                if whole not in self.seen:
                    self.seen.add(whole)
                    for form in settled(whole, self.data(output), self.clock.over):
                        self.add(output, form)
            if self.exact():
                break
        if self.found():
            best = "; ".join(f"{row.expression}, error {row.error:.1e}" for row in self.chosen())
            self.log(best if len(best) <= SHOWN else f"{best[: SHOWN - 4]} ...")

    def data(self, output: int) -> Data:
        kept, y = ~self.samples.held, self.y[:, output]
        return Data(self.names, self.x[kept], y[kept], self.rounding(output))

    def rounding(self, output: int) -> float:
        return FLOAT32**2 * float(np.mean(np.square(self.y[:, output])))

    def add(self, output: int, expression: sympy.Expr) -> None:
        """Adds the formula that is printed for `expression`."""
        held, y = self.samples.held, self.y[:, output]
        short, _ = written(expression, self.names, self.x[~held], y[~held], self.digits)
        values = evaluated(parsed(str(short), self.names), self.names, self.x[held])
        squares = np.square(values - y[held])
        self.rows[output][short] = Row(complexity(short), float(squares.mean()), short, squares)

    def tables(self) -> list[list[Row]]:
        """For each output, the formulas on the front of complexity and error."""
        return [pareto_front(list(found.values())) for found in self.rows]

    def chosen(self) -> list[Row]:
        """For each output, the simplest formula that is as good as the best."""
        return [simplest(table, self.rounding(n)) for n, table in enumerate(self.tables())]

    def fits(self) -> bool:
        """Whether all formulas are exact, or as good as a network that explains the data."""
        if self.misfit > POOR:
            return self.exact()
        return all(
            row.error < EXACT * y.var() or no_worse(row.squares, network, AS_GOOD)
            for row, y, network in zip(self.chosen(), self.y.T, self.squares.T, strict=True)
        )

    def exact(self) -> bool:
        """Whether all formulas are exact."""
        rows = zip(self.chosen(), self.y.T, strict=True) if self.found() else ()
        return self.found() and all(row.error < EXACT * y.var() for row, y in rows)

    def over(self, most: float = math.inf) -> bool:
        """Whether time is over, or all formulas are good, and of that complexity at most."""
        if self.clock.over():
            return True
        return self.done() and all(row.complexity <= most for row in self.chosen())

    def done(self) -> bool:
        """Whether all formulas are exact, or as good as the network, and what they leave noise."""
        return self.found() and self.fits() and all(map(self.leaves_noise, range(self.y.shape[1])))

    def found(self) -> bool:
        return all(self.tables())

    def leaves_noise(self, output: int) -> bool:
        row, y = self.chosen()[output], self.y[:, output]
        residuals = evaluated(row.expression, self.names, self.x) - y
        return row.error < EXACT * y.var() or is_noise(self.samples.inputs, residuals)
