"""Fits one image with a network that maps a pixel's coordinates to its value."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinykan import device
from tinykan.networks import parameter_count
from tinykan.runs import devices
from tinykan.runs.command_line import option
from tinykan.runs.options import Options
from tinykan.runs.pictures import drawing, save_animation
from tinykan.runs.presets import MODELS, network_for
from tinykan.runs.run import Run, summary_line
from tinykan.runs.widths import widths_text
from tinykan.tasks import images, metrics
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.task import ImageTask, Task
from tinykan.training import Step

FRAMES = 24
FRAME_SIDE = 192


@dataclass(kw_only=True)
class Config(Options):
    """Fits an image with a network that maps a pixel's coordinates to its luminance or color."""

    model: str = option("spline-sines", "kind of network", choices=MODELS)
    image: str = option(MISSING, "the image file, of any kind that Pillow reads", positional=True)
    size: int | None = option(
        None, "reduce or enlarge the longer side to N pixels first", minimum=2
    )
    color: bool = option(False, "fit red, green and blue instead of luminance")
    white: float | None = option(
        None, "sample value that is white (default: what the file's type says)", minimum=0
    )
    between: bool = option(False, "train on points between pixels too, interpolated bilinearly")

    def settled(self, task: Task) -> dict[str, Any]:
        return {**super().settled(task), "size": max(task.target.shape[:2])}


def main(config: Config) -> None:
    device.select(config.device)
    say = (lambda *_: None) if config.quiet else print
    devices.announce(config.quiet)
    task = ImageTask(
        config.image, config.size, config.color, between=config.between, white=config.white
    )
    image, (height, width, _) = task.image, task.image.shape
    model = network_for(task, config, config.seed)
    out = Run.open(f"runs/{Path(config.image).stem}-{config.model}", config, task, model)
    scores_shown = ("psnr", "ssim", "mse")
    if out.finished:
        print(summary_line(out.finished, scores_shown, out.folder))
        return
    say(
        f"{config.model} network {widths_text(model.widths)}, {parameter_count(model)} parameters, "
        f"on {width} x {height} pixels"
    )

    figures = drawing()
    predict = Predictor(model, chunk=config.batch)  # the shapes of training: kernels are shared
    # Of large images every second pixel, or every third, and so on.
    every = -(-max(height, width) // FRAME_SIDE)
    shown = image[::every, ::every]
    x, y = images.coordinates(width, 1)[::every, 0], images.coordinates(1, height)[::every, 1]
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    frames: list[np.ndarray] = []
    total = config.steps + config.lbfgs
    wanted = set(np.unique(np.geomspace(1, total, FRAMES).astype(int)))
    log_every = max(1, total // 100)

    def has_frame(step: int) -> bool:
        return any(step - log_every < w <= step for w in wanted)

    def frame(step: Step) -> None:
        if has_frame(step.number):
            frames.append(predict(points).reshape(shown.shape))

    history, problem = out.train(look=frame, frames=frames, log_every=log_every)
    picture = out.folder / "reconstruction.png"
    images.save_image(task.fitted(predict), picture)
    # The scores are those of the file, as anyone can recompute them.
    fitted = images.load_image(picture, color=config.color)
    scores = task.scores(fitted)
    title = f"{config.model}, {parameter_count(model)} parameters, {scores['psnr']:.2f} dB"
    if figures:
        figures.save_comparison(image, fitted, out.folder / "comparison.png", title)
        figures.save_loss(history, out.folder / "loss.png", title)
    steps = [entry["step"] for entry in out.metrics if has_frame(entry["step"])]
    captions = [
        f"step {number:,}   PSNR {metrics.psnr(values, shown):.1f} dB"
        for number, values in zip(steps, frames, strict=True)
    ]
    animation = (frames, captions) if frames else ([fitted], [title])
    save_animation(*animation, out.folder / "progress.gif")
    # The size is for `render`, which keeps the ratio of the sides.
    size = {"width": width, "height": height}
    summary = out.finish(history, {**scores, **size}, problem)
    print(summary_line(summary, scores_shown, out.folder))
