"""Spline networks with few edges that fit data: trained with a sparsity penalty, pruned, and judged
by rows that were held out (KAN paper, arXiv:2404.19756, sec. 2.5)."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan.basis import BSpline
from tinykan.fitting.penalties import Regularization
from tinykan.interpret.attribution import attribution
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.pruning import edge_count, prune
from tinykan.layers import KANLayer
from tinykan.networks import KAN, Network
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.sampling import batches
from tinykan.tensors import like
from tinykan.training import Sampler, Training

# Penalties relative to the targets' standard deviation, from the strongest on: the first under
# which the network fits is used.
STRENGTHS = (0.01, 0.003, 0.001)
# Mean squared errors of the held-out rows relative to the targets' variance, of the output that
# fits worst. Below FITS no other penalty is tried. Noise may be above it: beyond NEARLY, another
# penalty or a smaller network must be better by a fifth, or no worse by more than that.
FITS, NEARLY, FIFTH = 1e-3, 0.1, 1.2
# Of networks of products: intervals of their splines, the most that leave two rows for each
# coefficient; starts of their training; and attribution scores below which edges are left out.
INTERVALS, STARTS, THRESHOLDS = (12, 8, 5), 4, (0.3, 0.1, 0.03)


class Clock:
    """Stops a search after `limit` seconds, if that is a number."""

    def __init__(self, limit: float | None) -> None:
        self.start, self.limit = time.monotonic(), limit

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def over(self) -> bool:
        return self.limit is not None and self.seconds() >= self.limit


@dataclass(frozen=True)
class Samples:
    """Inputs `[n, in]` and targets `[n, out]` of size 1, and which rows are `held` out `[n]`."""

    inputs: np.ndarray
    targets: np.ndarray
    held: np.ndarray

    def sampler(self) -> Sampler:
        return batches(self.inputs[~self.held], self.targets[~self.held])

    def squares(self, network: Network) -> np.ndarray:
        """Squared errors in the rows held out, relative to the targets' variances."""
        wrong = Predictor(network)(self.inputs[self.held]) - self.targets[self.held]
        return np.square(wrong, dtype=np.float64) / self.targets.astype(float).var(axis=0)

    def misfit(self, network: Network) -> float:
        """The mean squared error in these rows, of the output that fits worst."""
        return float(self.squares(network).mean(axis=0).max())


@dataclass(frozen=True)
class Sparse:
    """A network as it was trained, and `reduced` to what it needs."""

    trained: Network
    reduced: Network
    misfit: float


def sparse_network(
    samples: Samples, hidden: list[int], seed: int, clock: Clock, log: Callable[[str], None]
) -> Sparse:
    """The sparsest network with `hidden` nodes that fits, or the one that fits best."""
    widths = [samples.inputs.shape[1], *hidden, samples.targets.shape[1]]
    size = float(samples.targets.std(axis=0).mean())
    best: Sparse | None = None
    for strength in STRENGTHS:
        trained = KAN(widths, BSpline(5), spline_weight=False, seed=seed)
        penalty = Regularization(trained, strength * size)
        options = {"learning_rate": 0.02, "grid_updates": 5, "penalty": penalty}
        train(trained, samples.sampler(), clock, steps=1000, **options)
        inputs = samples.inputs[~samples.held]
        reduced = prune(trained, inputs, node_threshold=0.03, edge_threshold=0.03)
        refit(reduced, samples, clock)
        found = Sparse(trained, reduced, samples.misfit(reduced))
        log(
            f"{'-'.join(map(str, widths))} with penalty {strength:g}: "
            f"{edge_count(reduced)} of {edge_count(trained)} edges left, error {found.misfit:.1e}"
        )
        enough = best is not None and best.misfit < NEARLY
        if best is None or found.misfit * FIFTH < best.misfit:
            best, enough = found, found.misfit < FITS
        if enough or clock.over():
            break
    assert best is not None
    reduced = _with_fewer_nodes(best.reduced, samples, clock, log)
    return Sparse(best.trained, reduced, samples.misfit(reduced))


def product_networks(
    samples: Samples, factors: int, seed: int, clock: Clock, log: Callable[[str], None]
) -> Iterator[Sparse]:
    """Networks each of whose outputs is a product of so many `factors`, sums of functions of one
    input: the best of several starts, without as many edges as possible, then with more of them.
    Without noise, splines with fewer coefficients may fit worse though nothing is missing."""
    inputs, targets = samples.inputs[~samples.held], samples.targets
    nodes = factors * targets.shape[1]
    rows = len(inputs) / (nodes * inputs.shape[1])
    intervals = next((n for n in INTERVALS if 2 * (n + 3) <= rows), INTERVALS[-1])
    groups = np.arange(nodes).reshape(-1, factors).tolist()
    name = f"{inputs.shape[1]}-{targets.shape[1]}, products of {factors} factors"
    trained: list[Network] = []
    for start in range(seed, seed + (STARTS if factors > 1 else 1)):
        rng = np.random.default_rng(start)
        basis = BSpline(intervals)
        sums = KANLayer(inputs.shape[1], nodes, basis, spline_weight=False, rng=rng)
        # Products of factors around 0 start with gradients of almost 0.
        sums.bias = like(sums.coefficients, rng.normal(size=nodes))
        trained.append(Network([sums, MultiplicationLayer(groups)]))
        refit(trained[-1], samples, clock)
        misfits = sorted(map(samples.misfit, trained))
        # Two starts that end alike have hardly ended in a local minimum.
        if clock.over() or (len(misfits) > 1 and misfits[1] <= FIFTH * misfits[0]):
            break
    best = min(trained, key=samples.misfit)
    whole, edges = samples.misfit(best), 0
    for threshold in THRESHOLDS:
        reduced = prune(best, inputs, node_threshold=0, edge_threshold=threshold)
        if (left := edge_count(reduced)) == edges or left == edge_count(best) or clock.over():
            continue
        edges = left
        refit(reduced, samples, clock)
        found = Sparse(best, reduced, samples.misfit(reduced))
        log(f"{name}: {left} of {edge_count(best)} edges left, error {found.misfit:.1e}")
        if found.misfit <= max(FIFTH * whole, FITS):
            yield found
    log(f"{name}: error {whole:.1e}")
    yield Sparse(best, best, whole)


def _with_fewer_nodes(
    model: Network, samples: Samples, clock: Clock, log: Callable[[str], None]
) -> Network:
    """`model` with hidden nodes removed, the least important first, for as long as it then fits, or
    hardly worse than before."""
    loss, inputs = samples.misfit(model), samples.inputs[~samples.held]
    while max(layer.out_features for layer in model.layers[:-1]) > 1 and not clock.over():
        nodes = [nodes for nodes in attribution(model, inputs).nodes[1:-1] if len(nodes) > 1]
        least = min(float(scores.min()) for scores in nodes)
        smaller = prune(model, inputs, node_threshold=np.nextafter(least, np.inf), edge_threshold=0)
        if smaller.widths == model.widths:
            break
        refit(smaller, samples, clock)
        fitted = samples.misfit(smaller)
        kept = fitted <= max(FIFTH * loss, FITS)
        verdict = "goes on" if kept else "does not fit"
        log(f"{'-'.join(map(str, smaller.widths))}: error {fitted:.1e}, {verdict}")
        if not kept:
            break
        model, loss = smaller, min(loss, fitted)
    return model


def refit(model: Network, samples: Samples, clock: Clock) -> None:
    """Trains without the penalty."""
    if not clock.over():
        train(model, samples.sampler(), clock, steps=0, lbfgs=150, grid_updates=5)


def train(model: Network, sampler: Sampler, clock: Clock, **options: Any) -> None:
    """Without warnings of inputs outside the grid: what fails to fit is found from its misfit."""
    with contextlib.redirect_stderr(io.StringIO()):
        training = Training(model, sampler, progress=False, **options)
        for _ in training:
            if clock.over():
                break
        training.refine(lambda step: clock.over())
