"""Networks for Poisson's equation, which bench.py times if they are named: a training step on the
squared residual of the sum of all second derivatives, in tinykan, jaxKAN and PyKAN.

Each takes second derivatives in the fastest way of its library: jaxKAN by forward differentiation
twice along each input, PyKAN by backward differentiation twice. In JAX the whole step is compiled.
"""

from __future__ import annotations

import os
from functools import partial

from contenders import Contender, spline


def tinykan(widths, grid, x, y, device_name):
    from tinygrad import Device, GlobalCounters, Tensor, TinyJit

    from tinykan import batches, derivatives, device
    from tinykan.networks import parameter_count
    from tinykan.optim import Adam, learning_rates
    from tinykan.tensors import learnable
    from tinykan.training import objective_of, training_step

    device.select(device_name)
    model = spline(widths, grid)
    inputs = Tensor(x).realize()

    def residual(model, x, y):
        return (derivatives(model, x).second.sum(-1) - y).square().mean()

    optimizer = Adam(learnable(model), learning_rates(1e-3, 10_000, "constant"))
    step = training_step(batches(x, y), optimizer, objective_of(model, residual))
    step()
    GlobalCounters.reset()
    step()
    about = device.describe() | {"kernels": GlobalCounters.kernel_count}
    step, outputs = TinyJit(step), TinyJit(lambda: derivatives(model, inputs).second.realize())

    def synchronized(run):
        run()
        Device[Device.DEFAULT].synchronize()

    about["parameters"] = parameter_count(model)
    return partial(synchronized, step), partial(synchronized, outputs), about


def jaxkan(widths, grid, x, y, device_name):
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx
    from jaxkan.models.KAN import KAN

    layers = {"k": 3, "G": grid, "external_weights": False}
    model = KAN(widths, layer_type="spline", required_parameters=layers)
    definition, parameters, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(1e-3)
    inputs, targets = jax.device_put(x), jax.device_put(y)

    @jax.jit
    def laplacian(parameters, x):
        network = nnx.merge(definition, parameters, rest)

        def second(unit):
            along = jnp.broadcast_to(unit, x.shape)
            slope = lambda x: jax.jvp(network, (x,), (along,))[1]  # noqa: E731
            return jax.jvp(slope, (x,), (along,))[1]

        return sum(second(unit) for unit in jnp.eye(x.shape[1]))

    def objective(parameters, x, y):
        return ((laplacian(parameters, x) - y) ** 2).mean()

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
        laplacian(state[0], inputs).block_until_ready()

    return step, forward, {"parameters": sum(p.size for p in jax.tree.leaves(parameters))}


def pykan(widths, grid, x, y, device_name):
    import torch
    from contenders import pykan

    torch.manual_seed(0)
    model = pykan(torch, widths, grid)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    inputs, targets = torch.tensor(x).requires_grad_(), torch.tensor(y)

    def laplacian():
        (slopes,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
        total = 0
        for i in range(inputs.shape[1]):
            (second,) = torch.autograd.grad(slopes[:, i].sum(), inputs, create_graph=True)
            total = total + second[:, i : i + 1]
        return total

    def step():
        optimizer.zero_grad()
        (laplacian() - targets).square().mean().backward()
        optimizer.step()

    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return step, laplacian, {"parameters": parameters}


EQUATIONS = {
    "tinykan Poisson": Contender(tinykan, ()),
    "jaxKAN Poisson": Contender(jaxkan, ("jaxkan",)),
    "pykan Poisson": Contender(pykan, ("torch", "kan")),
}
