"""The networks that bench.py times: tinykan's, and those of PyTorch, its KAN libraries and jaxKAN.

rivals.sh installs the libraries. Each is used as its own documentation recommends for speed; on a
grid of n intervals a network without one has n + 3 functions on each edge, as a cubic spline has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

NVIDIA = ("CUDA", "NV")  # tinygrad's devices on which PyTorch runs too


@dataclass(frozen=True)
class Contender:
    """How a library makes its network; `build` gives a training step and a forward pass, both of
    which wait for the device, and what to note."""

    build: Callable
    packages: tuple[str, ...] = ("torch",)


def tinykan_network(make: Callable) -> Callable:
    def build(widths, grid, x, y, device_name):
        from tinygrad import Device, GlobalCounters, Tensor, TinyJit

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

        inputs = Tensor(x).realize()
        outputs = TinyJit(lambda: model(inputs).realize())

        def synchronized(run):
            run()
            Device[Device.DEFAULT].synchronize()

        about["parameters"] = parameter_count(model)
        return partial(synchronized, compiled), partial(synchronized, outputs), about

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


def torch_network(make: Callable, compiled: bool = False) -> Callable:
    def build(widths, grid, x, y, device_name):
        import torch

        torch.manual_seed(0)
        on_gpu = runs_on_nvidia(device_name)
        place = "cuda" if on_gpu else "cpu"
        model = make(torch, widths, grid).to(place)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        inputs, targets = torch.tensor(x).to(place), torch.tensor(y).to(place)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)

        def objective(x, y):
            return torch.nn.functional.mse_loss(model(x), y)

        network = model
        if compiled:  # on a GPU the kernels of a pass become one CUDA graph
            mode = "reduce-overhead" if on_gpu else "default"
            network, objective = (torch.compile(f, mode=mode) for f in (model, objective))

        def synchronize():
            if on_gpu:
                torch.cuda.synchronize()

        def step():
            optimizer.zero_grad()
            objective(inputs, targets).backward()
            optimizer.step()
            synchronize()

        @torch.no_grad()
        def forward():
            network(inputs)
            synchronize()

        return step, forward, {"parameters": parameters}

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


def fastkan(torch, widths, grid):
    from fastkan import FastKAN

    return FastKAN(widths, num_grids=grid + 3)


def fasterkan(torch, widths, grid):
    from fasterkan import FasterKAN

    return FasterKAN(widths, num_grids=grid + 3)


def chebykan(torch, widths, grid):
    from ChebyKANLayer import ChebyKANLayer

    layers: list = []
    for i, o in pairwise(widths):
        layers += [ChebyKANLayer(i, o, degree=grid + 2), torch.nn.LayerNorm(o)]
    return torch.nn.Sequential(*layers[:-1])


def grid_independent_flashkan(torch, widths, grid):
    """Another library of that name. Its gradient to the weights is not a sum over the batch: of the
    samples that lie in one interval, one counts."""
    from layers import FlashKAN

    return torch.nn.Sequential(*[FlashKAN(i, o, grid) for i, o in pairwise(widths)])


def kanditioned(impl: str) -> Callable:
    """Linear splines. Which of its implementations is the fastest depends on the device; the third,
    a product of sparse matrices, raises an error in version 1.0.4."""

    def make(torch, widths, grid):
        from KANditioned.kan_layer import KANLayer

        layers: list = []
        for i, o in pairwise(widths):
            spline = KANLayer(i, o, "random_normal", num_control_points=grid + 1, impl=impl)
            layers += [torch.nn.LayerNorm(i), spline]
        return torch.nn.Sequential(*layers)

    return make


def jaxkan(widths, grid, x, y, device_name):
    # Else JAX takes most of a GPU's memory, and the other contenders find none.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["JAX_PLATFORMS"] = "cuda" if runs_on_nvidia(device_name) else "cpu"
    import jax
    import optax
    from flax import nnx
    from jaxkan.models.KAN import KAN

    layers = {"k": 3, "G": grid, "external_weights": False}
    model = KAN(widths, layer_type="spline", required_parameters=layers)
    definition, parameters, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(1e-3)
    inputs, targets = jax.device_put(x), jax.device_put(y)

    @jax.jit
    def outputs(parameters, x):
        return nnx.merge(definition, parameters, rest)(x)

    def objective(parameters, x, y):
        return ((outputs(parameters, x) - y) ** 2).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, moments, x, y):
        slopes = jax.grad(objective)(parameters, x, y)
        changes, moments = optimizer.update(slopes, moments)
        return optax.apply_updates(parameters, changes), moments

    state = parameters, optimizer.init(parameters)

    def step():
        nonlocal state
        state = jax.block_until_ready(update(*state, inputs, targets))

    def forward():
        outputs(state[0], inputs).block_until_ready()

    return step, forward, {"parameters": sum(p.size for p in jax.tree.leaves(parameters))}


def runs_on_nvidia(device_name: str) -> bool:
    return device_name.split(":")[0] in NVIDIA


TORCH: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "torch tanh": (torch_tanh, ()),
    "torch quadratic": (torch_quadratic, ()),
    "flashkan": (flashkan, ("flashkan",)),
    "inkan": (inkan, ("inkan",)),
    "efficient-kan": (efficient_kan, ("efficient_kan",)),
    "pykan": (pykan, ("kan", "sklearn", "sympy", "pandas", "tqdm")),
    "FastKAN": (fastkan, ("fastkan",)),
    "FasterKAN": (fasterkan, ("fasterkan",)),
    "ChebyKAN": (chebykan, ("ChebyKANLayer",)),
    "dinesh110598/FlashKAN": (grid_independent_flashkan, ("layers",)),
    "kanditioned embedding": (kanditioned("embedding"), ("KANditioned",)),
    "kanditioned bag": (kanditioned("embedding_bag"), ("KANditioned",)),
}

CONTENDERS = {
    "tinykan spline": Contender(tinykan_network(spline), ("tinygrad",)),
    "tinykan plain spline": Contender(tinykan_network(plain_spline), ("tinygrad",)),
    "tinykan tanh": Contender(tinykan_network(tanh), ("tinygrad",)),
    "tinykan quadratic": Contender(tinykan_network(quadratic), ("tinygrad",)),
    **{n: Contender(torch_network(make), ("torch", *p)) for n, (make, p) in TORCH.items()},
    **{
        f"{n} compiled": Contender(torch_network(make, compiled=True), ("torch", *p))
        for n, (make, p) in TORCH.items()
    },
    "jaxKAN": Contender(jaxkan, ("jaxkan",)),
}
