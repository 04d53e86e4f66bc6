"""Trains the same network in PyTorch and in tinykan, and compares what they reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykan import BSpline, KANLayer, device, fit
from tinykan.errors import need
from tinykan.networks import Network, parameter_count
from tinykan.runs.command_line import option, run
from tinykan.runs.presets import MODELS, ModelOptions, network_for
from tinykan.runs.widths import widths_text
from tinykan.tasks import images, metrics
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.task import ImageTask

try:
    import torch
except ImportError:
    torch = None


@dataclass
class Config:
    """Trains one network on an image in PyTorch and in tinykan, from the same weights and with the
    same rates, and prints both PSNRs. Each library draws its own points. Needs PyTorch."""

    image: str = option("images/camera.png", "the image file", positional=True)
    model: str = option("spline", "kind of network", choices=["tanh", "spline"])
    parameters: int = option(10_000, "number of parameters, met within 2 %%", minimum=1)
    depth: int = option(3, "hidden layers", minimum=1)
    size: int = option(128, "reduce the longer side to N pixels first", minimum=2)
    steps: int = option(1000, "training steps", minimum=1)
    batch: int = option(4096, "points in a step", minimum=1)
    seed: int = option(0, "of the weights and the points", minimum=0)


def main(config: Config) -> None:
    if torch is None:
        need("torch", extra="bench", purpose="training in PyTorch")
    device.select()
    task = ImageTask(config.image, config.size)
    options = ModelOptions(model=config.model, parameters=config.parameters, depth=config.depth)
    model, image = network_for(task, options, config.seed), task.image
    print(
        f"{config.model} network {widths_text(model.widths)}, {parameter_count(model)} parameters"
    )
    theirs = train_in_torch(model, image, config)
    sample = task.sampler(config.batch, config.seed)
    fit(model, sample, steps=config.steps, learning_rate=MODELS[config.model].learning_rate)
    ours = task.fitted(Predictor(model, config.batch))
    print(
        f"PyTorch {metrics.psnr(theirs, image):.2f} dB  tinykan {metrics.psnr(ours, image):.2f} dB"
    )


def train_in_torch(model: Network, image: np.ndarray, config: Config) -> np.ndarray:
    """The same network from the same weights, written with PyTorch's own operations."""
    torch.manual_seed(config.seed)
    layers = [
        [torch.tensor(w.numpy()).requires_grad_() for w in weights(la)] for la in model.layers
    ]
    last = len(layers) - 1

    def forward(x):
        v = x.unsqueeze(-1)
        channels = model.encoding.channels - 1
        octaves = 2.0 ** torch.arange(channels) * math.pi
        x = torch.cat([v, torch.sin((v + 1) * octaves)], dim=-1).flatten(-2)
        for number, (layer, tensors) in enumerate(zip(model.layers, layers, strict=True)):
            x = torch_layer(layer, tensors, x)
            x = torch.tanh(x) if model.activation == "tanh" and number != last else x
        return x

    points = torch.tensor(images.coordinates(image.shape[1], image.shape[0]))
    values = torch.tensor(image.reshape(-1, 1))
    rate = MODELS[config.model].learning_rate
    optimizer = torch.optim.Adam([t for tensors in layers for t in tensors], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for _ in range(config.steps):
        row = torch.randint(len(points), (config.batch,))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(forward(points[row]), values[row]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return forward(points).numpy().reshape(image.shape)


def weights(layer) -> list:
    named = (layer.coefficients, layer.base_weight, layer.bias)
    return [w for w in named if w is not None]


def torch_layer(layer: KANLayer, tensors, x):
    if not isinstance(layer.basis, BSpline):
        coefficients, bias = tensors
        return x @ coefficients[:, 0] + bias
    coefficients, base, bias = tensors
    phi = cox_de_boor(x.unsqueeze(-1), layer.basis)
    spline = torch.einsum("bin,ino->bo", phi, coefficients)
    return spline + torch.nn.functional.silu(x) @ base + bias


def cox_de_boor(x, basis: BSpline):
    spacing = (basis.domain[1] - basis.domain[0]) / basis.intervals
    count = basis.intervals + 2 * basis.order + 1
    t = basis.domain[0] + spacing * (torch.arange(count, dtype=x.dtype) - basis.order)
    values = ((x >= t[:-1]) & (x < t[1:])).to(x.dtype)
    for p in range(1, basis.order + 1):
        rising = (x - t[: -p - 1]) / (t[p:-1] - t[: -p - 1])
        falling = (t[p + 1 :] - x) / (t[p + 1 :] - t[1:-p])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


if __name__ == "__main__":
    run(main, Config)
