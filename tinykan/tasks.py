"""What a network is trained on and scored by: an image, slices of one, or a function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan import images, metrics
from tinykan.encoding import Encoding, Sines, encoding_from
from tinykan.errors import UserError, lookup
from tinykan.expressions import construct
from tinykan.functions import FUNCTIONS
from tinykan.models import MODELS, ModelOptions, build
from tinykan.networks import Network, Predictor
from tinykan.sampling import uniform
from tinykan.training import Sampler, batches

CAMERA = str(Path(__file__).parents[1] / "images" / "camera.png")
SIDE = 100  # points in a row of a slice when it is scored (protocol P1)


class Task:
    """Inputs in [-1, 1], what a network should make of them, and how well it does.

    A subclass gives the properties that are only annotated here, `sampler` and `scores`.
    """

    in_features: int
    out_features: int
    score: str  # the name of the score that counts
    encoding: str | None = None  # that suits it, whatever the model
    milestone: str | None = None  # the name of a score: seconds until it is passed
    baseline_name = ""

    @property
    def data(self) -> list[np.ndarray]:
        """The arrays that tell it from other tasks."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """Of the data, in hexadecimal."""
        digest = hashlib.sha256()
        for array in self.data:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def sampler(self, batch: int, seed: int) -> Sampler:
        """Inputs and targets of each step."""
        raise NotImplementedError

    def scores(self, predict: Predictor) -> dict[str, float]:
        """The network's, by name."""
        raise NotImplementedError

    def picture(self, predict: Predictor) -> np.ndarray | None:
        """What the network makes of it, as an image."""
        return None

    @property
    def target_picture(self) -> np.ndarray | None:
        """What it should make."""
        return None

    @property
    def baseline(self) -> dict[str, float] | None:
        """The scores of a method without a network, if there is one."""
        return None

    def passed(self, predict: Predictor, loss: float) -> bool:
        """Whether the network has passed the milestone; `loss` is that of its last batch."""
        return False

    def network(self, options: ModelOptions, seed: int) -> Network:
        """The network that `options` describe, for this task."""
        suits = self.encoding or lookup("model", options.model, MODELS).encoding
        encoding = self.encoding_from(options.encoding or suits)
        return build(options, self.in_features, self.out_features, encoding=encoding, seed=seed)

    def encoding_from(self, text: str) -> Encoding:
        return encoding_from(text, self.in_features)


@dataclass(frozen=True)
class ImageTask(Task):
    """An image from its pixels' coordinates (protocol P2). `held_out` trains on every second pixel
    in x and y, and scores the others; `between` trains on points between pixels too."""

    path: str = CAMERA
    size: int | None = None
    color: bool = False
    held_out: bool = False
    between: bool = False
    in_features = 2
    score = "psnr"
    milestone = "seconds_to_30_db"
    baseline_name = "bicubic enlargement"

    def __post_init__(self) -> None:
        self.image  # noqa: B018  (a bad file is known at once)

    @cached_property
    def image(self) -> np.ndarray:
        """`[height, width, channels]` in [-1, 1]."""
        return images.load_image(self.path, size=self.size, color=self.color)

    @property
    def out_features(self) -> int:  # type: ignore[override]
        return self.image.shape[2]

    @property
    def data(self) -> list[np.ndarray]:
        return [self.image]

    def sampler(self, batch: int, seed: int) -> Sampler:
        every = 2 if self.held_out else 1
        return images.pixel_sampler(self.image, batch, seed, between=self.between, every=every)

    def scores(self, predict: Predictor) -> dict[str, float]:
        return self._scores(self.picture(predict))

    def picture(self, predict: Predictor) -> np.ndarray:
        height, width = self.image.shape[:2]
        return images.render(predict, width, height)

    @property
    def target_picture(self) -> np.ndarray:
        return self.image

    @property
    def baseline(self) -> dict[str, float] | None:
        """Bicubic enlargement of the pixels trained on."""
        if not self.held_out:
            return None
        return self._scores(images.bicubic(self.image[::2, ::2], self.image.shape[:2]))

    def passed(self, predict: Predictor, loss: float) -> bool:
        """The milestone is 30 dB on all pixels that count: looked for when a batch is near it."""
        near = loss < 1.5 * 4e-3
        return (
            near
            and metrics.psnr(self._counted(self.picture(predict)), self._counted(self.image)) >= 30
        )

    def _scores(self, picture: np.ndarray) -> dict[str, float]:
        pair = self._counted(picture), self._counted(self.image)
        structure = {} if self.held_out else {"ssim": metrics.ssim(*pair)}
        return {"psnr": metrics.psnr(*pair), **structure, "mse": metrics.mse(*pair)}

    def _counted(self, picture: np.ndarray) -> np.ndarray:
        """The pixels that are scored; `[n, 1, channels]` if they are not all."""
        if not self.held_out:
            return picture
        unseen = np.ones(picture.shape[:2], dtype=bool)
        unseen[::2, ::2] = False
        return picture[unseen][:, None]


@dataclass(frozen=True)
class SlicesTask(Task):
    """Square slices of an image from (slice, x, y) with one network (protocol P1)."""

    path: str = CAMERA
    side: int = 64
    corners: tuple[tuple[int, int], ...] = (
        (245, 430),
        (319, 171),
        (269, 353),
        (243, 236),
        (189, 253),
        (288, 413),
        (195, 31),
        (398, 38),
    )
    in_features = 3
    out_features = 1
    score = "mse"

    def __post_init__(self) -> None:
        self.slices  # noqa: B018

    @cached_property
    def slices(self) -> np.ndarray:
        """`[slices, side, side]` in [-1, 1]."""
        image = images.load_image(self.path)[..., 0]
        for row, column in self.corners:
            inside = 0 <= row <= len(image) - self.side and 0 <= column <= len(image[0]) - self.side
            if not inside:
                raise UserError(f"{self.path} has no {self.side} pixels from {row}, {column}")
        return np.stack([image[r : r + self.side, c : c + self.side] for r, c in self.corners])

    @property
    def data(self) -> list[np.ndarray]:
        return [self.slices]

    def encoding_from(self, text: str) -> Encoding:
        """The seed's gives three channels to the slice's number, eight to each coordinate."""
        return Sines(3, (3, 8, 8)) if text == "seed" else super().encoding_from(text)

    def sampler(self, batch: int, seed: int) -> Sampler:
        count, last = len(self.slices), self.side - 1
        # One below the other: what is interpolated between two of them is never asked for.
        pixels = Tensor(self.slices.reshape(-1, 1)).realize()
        below = Tensor([0.0, float(self.side)], dtype=dtypes.float32).realize()

        def sample(step: Tensor) -> tuple[Tensor, Tensor]:
            u = uniform(step, seed, (batch, 3))
            number = (u[:, :1] * count).floor().minimum(count - 1)
            position = u[:, 1:] * last
            stacked = (position + number * below).contiguous()
            values = images.interpolate(pixels, stacked, self.side, count * self.side)
            return (2 * number / count - 1).cat(2 * u[:, 1:] - 1, dim=-1), values

        return sample

    def scores(self, predict: Predictor) -> dict[str, float]:
        fitted, target = self._tiles(predict), self._target
        return {"mse": metrics.mse(fitted, target), "psnr": metrics.psnr(fitted, target)}

    def picture(self, predict: Predictor) -> np.ndarray:
        return _mosaic(self._tiles(predict))

    @property
    def target_picture(self) -> np.ndarray:
        return _mosaic(self._target)

    def _tiles(self, predict: Predictor) -> np.ndarray:
        axis = 2 * np.arange(SIDE) / SIDE - 1
        number = 2 * np.arange(len(self.slices)) / len(self.slices) - 1
        s, y, x = np.meshgrid(number, axis, axis, indexing="ij")
        inputs = np.stack([s, x, y], axis=-1).reshape(-1, 3).astype(np.float32)
        return predict(inputs).reshape(len(self.slices), SIDE, SIDE, 1)

    @cached_property
    def _target(self) -> np.ndarray:
        """`[slices, SIDE, SIDE, 1]`: bilinear, the first pixel at -1 and the last at 1."""
        position = np.arange(SIDE) / SIDE * (self.side - 1)
        corner = position.astype(int)
        fraction = position - corner
        rows = _mix(self.slices[:, corner], self.slices[:, corner + 1], fraction[:, None])
        return _mix(rows[:, :, corner], rows[:, :, corner + 1], fraction)[..., None]


@dataclass(frozen=True)
class FunctionTask(Task):
    """A function of one or two variables (protocol P3). Where its points are random, the `seed`
    draws them."""

    name: str = "zigzag"
    seed: int = 0
    out_features = 1
    score = "rmse"
    encoding = "none"

    def __post_init__(self) -> None:
        lookup("function", self.name, FUNCTIONS)

    @property
    def function(self):
        return FUNCTIONS[self.name]

    @property
    def in_features(self) -> int:  # type: ignore[override]
        return self.function.in_features

    @property
    def data(self) -> list[np.ndarray]:
        return list(self.function.training_set(self.seed))

    def sampler(self, batch: int, seed: int) -> Sampler:
        inputs, targets = self.data
        return batches(inputs, targets, batch, seed)

    def scores(self, predict: Predictor) -> dict[str, float]:
        """In the units of the function, on a grid much finer than what it is trained on."""
        _, target, fitted = self.curve(predict)
        error = fitted - target
        mse = float(np.mean(error**2))
        return {"rmse": mse**0.5, "mse": mse, "max_error": float(np.abs(error).max())}

    def curve(self, predict: Predictor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the function's box `[n, in_features]`, its values there and the network's,
        `[n]` both."""
        grid = self.function.grid(*((2001,) if self.in_features == 1 else (101, 101)))
        x = self.function.to_box(grid)
        return x, self.function.evaluate(x), predict(grid)[:, 0].astype(float)


def _mix(a: np.ndarray, b: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    return a * (1 - fraction) + b * fraction


def _mosaic(tiles: np.ndarray) -> np.ndarray:
    """Eight tiles as two rows of four, others in one row."""
    rows = 2 if len(tiles) == 8 else 1
    return np.concatenate(
        [np.concatenate(list(row), axis=1) for row in np.split(tiles, rows)], axis=0
    )


PROTOCOLS: dict[str, Callable[[], Task]] = {
    "P1": SlicesTask,
    "P2": lambda: ImageTask(size=256),
    "P2-held-out": lambda: ImageTask(size=256, held_out=True),
    "P2-small": lambda: ImageTask(size=128),
}
KINDS = {"ImageTask": ImageTask, "SlicesTask": SlicesTask, "FunctionTask": FunctionTask}


def task_from(text: str) -> Task:
    """The task that a study names: a protocol, or as in 'ImageTask("cat.png", size=256)'."""
    if text in PROTOCOLS:
        return PROTOCOLS[text]()
    found = construct("task", text, {**PROTOCOLS, **KINDS})
    if len(found) != 1:
        raise UserError(f"task {text!r}: a study has one")
    return found[0]
