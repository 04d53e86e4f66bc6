"""The networks that bench.py times: tinykan's, and those of PyTorch and its KAN libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

NVIDIA = ("CUDA", "NV")  # tinygrad's devices on which PyTorch runs too


@dataclass(frozen=True)
class Contender:
    """How a library makes its network; `build` gives a synchronized step and what to note."""

    build: Callable
    packages: tuple[str, ...] = ("torch",)


def tinykan_network(make: Callable) -> Callable:
    def build(widths, grid, x, y, device_name):
        from tinygrad import Device, GlobalCounters, TinyJit

        from tinykan import batches, device
        from tinykan.networks import parameter_count
        from tinykan.optim import Adam, learning_rates
        from tinykan.tensors import learnable
        from tinykan.training import objective_of, training_step

        device.select(device_name)
        model = make(widths, grid)
        optimizer = Adam(learnable(model), learning_rates(1e-3, 10_000, "constant"))
        whole = training_step(batches(x, y), optimizer, objective_of(model))
        whole()
        GlobalCounters.reset()
        whole()
        about = device.describe() | {"kernels": GlobalCounters.kernel_count}
        compiled = TinyJit(whole)

        def step():
            compiled()
            Device[Device.DEFAULT].synchronize()

        return step, about | {"parameters": parameter_count(model)}

    return build


def spline(widths, grid):
    from tinykan import KAN, BSpline

    return KAN(widths, BSpline(grid, 3), spline_weight=False)


def plain_spline(widths, grid):
    model = spline(widths, grid)
    for layer in model.layers:
        layer.kernels = "reference"
    return model


def tanh(widths, grid):
    from tinykan import MLP

    return MLP(widths)


def quadratic(widths, grid):
    from tinykan import KAN, Polynomial

    return KAN(widths, Polynomial(2), activation="tanh", base=None, spline_weight=False)


def torch_network(make: Callable) -> Callable:
    def build(widths, grid, x, y, device_name):
        import torch

        torch.manual_seed(0)
        place = "cuda" if device_name.split(":")[0] in NVIDIA else "cpu"
        model = make(torch, widths, grid).to(place)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        inputs, targets = torch.tensor(x).to(place), torch.tensor(y).to(place)

        def step():
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            if place == "cuda":
                torch.cuda.synchronize()

        return step, {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}

    return build


def torch_tanh(torch, widths, grid):
    layers: list = []
    for i, o in pairwise(widths):
        layers += [torch.nn.Linear(i, o), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def torch_quadratic(torch, widths, grid):
    class Quadratic(torch.nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.linear = torch.nn.Linear(2 * i, o)

        def forward(self, x):
            return self.linear(torch.cat([x, x * x], dim=-1))

    layers: list = []
    for i, o in pairwise(widths):
        layers += [Quadratic(i, o), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def torch_rbf(torch, widths, grid):
    """Gaussians on a uniform grid and a SiLU base, layers normalized, as in FastKAN."""

    class Radial(torch.nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.norm = torch.nn.LayerNorm(i)
            self.register_buffer("centers", torch.linspace(-2, 2, grid + 3))
            self.spline = torch.nn.Linear(i * (grid + 3), o, bias=False)
            self.base = torch.nn.Linear(i, o)

        def forward(self, x):
            distance = (self.norm(x).unsqueeze(-1) - self.centers) * ((grid + 2) / 4)
            radial = torch.exp(-(distance**2)).flatten(-2)
            return self.spline(radial) + self.base(torch.nn.functional.silu(x))

    return torch.nn.Sequential(*[Radial(i, o) for i, o in pairwise(widths)])


def flashkan(torch, widths, grid):
    from flashkan import KANNetwork

    return KANNetwork(widths, grid_size=grid, spline_order=3)


def inkan(torch, widths, grid):
    from inkan import KANNetwork

    return KANNetwork(widths, grid_size=grid)


def efficient_kan(torch, widths, grid):
    from efficient_kan import KAN

    return KAN(widths, grid_size=grid, spline_order=3)


def pykan(torch, widths, grid):
    from kan import KAN

    return KAN(width=widths, grid=grid, k=3, symbolic_enabled=False, auto_save=False).speed()


CONTENDERS = {
    "tinykan spline": Contender(tinykan_network(spline), ("tinygrad",)),
    "tinykan plain spline": Contender(tinykan_network(plain_spline), ("tinygrad",)),
    "tinykan tanh": Contender(tinykan_network(tanh), ("tinygrad",)),
    "tinykan quadratic": Contender(tinykan_network(quadratic), ("tinygrad",)),
    "torch tanh": Contender(torch_network(torch_tanh)),
    "torch quadratic": Contender(torch_network(torch_quadratic)),
    "torch RBF": Contender(torch_network(torch_rbf)),
    "flashkan": Contender(torch_network(flashkan), ("torch", "flashkan")),
    "inkan": Contender(torch_network(inkan), ("torch", "inkan")),
    "efficient-kan": Contender(torch_network(efficient_kan), ("torch", "efficient_kan")),
    "pykan": Contender(torch_network(pykan), ("torch", "kan", "sklearn", "sympy", "pandas")),
}
