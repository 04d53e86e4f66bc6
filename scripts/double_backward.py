"""Compares derivatives with respect to the inputs with those of PyTorch's double backward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from equal_footing import torch, torch_layer, weights
from tinygrad import Tensor, dtypes

from tinykan import KAN, BSpline, derivatives, device
from tinykan.errors import need
from tinykan.runs.command_line import option, run
from tinykan.tensors import learnable, overwrite


@dataclass
class Config:
    """Prints how far values, first and second derivatives of KANs are from those that PyTorch gets
    in float64 by differentiating the same network backward twice: the largest differences, as
    shares of the largest value or derivative, of tinykan in both types and of PyTorch in float32.
    Weights and points are random. Needs PyTorch and SciPy."""

    points: int = option(200, "random points in [-0.95, 0.95]^2", minimum=1)
    seed: int = option(0, "of the weights and the points", minimum=0)


def main(config: Config) -> None:
    if torch is None:
        need("torch", extra="bench", purpose="derivatives in PyTorch")
    from tinykan.fitting.lbfgs import float64  # needs SciPy

    device.select()
    rng = np.random.default_rng(config.seed)
    print("| intervals | order | by | values | first | second |\n|---|---|---|---|---|---|")
    for intervals, order in ((5, 3), (20, 3), (50, 4), (200, 3)):
        model = KAN([2, 5, 5, 1], BSpline(intervals, order), spline_weight=False)
        for parameter in learnable(model):
            overwrite(parameter, rng.normal(0, 0.1, parameter.shape))
        points = rng.uniform(-0.95, 0.95, (config.points, 2)).astype(np.float32)
        found = {
            "tinykan, float32": in_tinykan(model, points),
            "PyTorch, float32": in_torch(model, points),
        }
        exact = in_torch(model, points.astype(float))
        with float64(model):
            found["tinykan, float64"] = in_tinykan(model, points.astype(float))
        for name, parts in found.items():
            pairs = zip(parts, exact, strict=True)
            shares = [f"{np.abs(a - b).max() / np.abs(b).max():.0e}" for a, b in pairs]
            print(f"| {intervals} | {order} | {name} | {' | '.join(shares)} |")


def in_tinykan(model: KAN, points: np.ndarray) -> list[np.ndarray]:
    """Values `[n, 1]`, first and second derivatives `[n, 1, 2]`."""
    dtype = dtypes.float32 if points.dtype == np.float32 else dtypes.float64
    values, first, second = derivatives(model, Tensor(points, dtype=dtype))
    assert second is not None
    return [t.numpy() for t in (values, first, second)]


def in_torch(model: KAN, points: np.ndarray) -> list[np.ndarray]:
    """The same, in the type of the points."""
    x = torch.tensor(points, requires_grad=True)
    y = x
    for layer in model.layers:
        tensors = [torch.tensor(w.numpy(), dtype=x.dtype) for w in weights(layer)]
        y = torch_layer(layer, tensors, y)
    first = torch.autograd.grad(y.sum(), x, create_graph=True)[0]
    columns = (torch.autograd.grad(first[:, i].sum(), x, retain_graph=True)[0] for i in (0, 1))
    second = torch.stack([column[:, i] for i, column in enumerate(columns)], dim=-1)
    return [t.detach().numpy() for t in (y, first.unsqueeze(1), second.unsqueeze(1))]


if __name__ == "__main__":
    run(main, Config)
