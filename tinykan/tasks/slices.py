"""The task of the Ameobea/kan experiment: slices of an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError
from tinykan.tasks import images, metrics
from tinykan.tasks.sampling import uniform
from tinykan.tasks.task import CAMERA, Prediction, Task
from tinykan.training import Sampler

SIDE = 100  # points in a row of a slice when it is scored


@dataclass(frozen=True)
class SlicesTask(Task):
    """Square slices of an image, fitted by one network as a function of (slice, x, y)."""

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
    channels = (3, 8, 8)
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

    @property
    def trained_image(self) -> np.ndarray:
        return np.moveaxis(self.slices, 0, -1)

    def sampler(self, batch: int, seed: int) -> Sampler:
        count, last = len(self.slices), self.side - 1
        # Stacked; no point lies between two slices.
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

    @cached_property
    def target(self) -> np.ndarray:
        """`[slices, SIDE, SIDE, 1]`: bilinear, the first pixel at -1 and the last at 1."""
        position = np.arange(SIDE) / SIDE * (self.side - 1)
        corner = position.astype(int)
        fraction = position - corner
        rows = _mix(self.slices[:, corner], self.slices[:, corner + 1], fraction[:, None])
        return _mix(rows[:, :, corner], rows[:, :, corner + 1], fraction)[..., None]

    def fitted(self, predict: Prediction) -> np.ndarray:
        axis = 2 * np.arange(SIDE) / SIDE - 1
        number = 2 * np.arange(len(self.slices)) / len(self.slices) - 1
        s, y, x = np.meshgrid(number, axis, axis, indexing="ij")
        inputs = np.stack([s, x, y], axis=-1).reshape(-1, 3).astype(np.float32)
        return predict(inputs).reshape(len(self.slices), SIDE, SIDE, 1)

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        return {"mse": metrics.mse(fitted, self.target), "psnr": metrics.psnr(fitted, self.target)}

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Eight slices as two rows of four, others in one row."""
        rows = np.split(values, 2 if len(values) == 8 else 1)
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def _mix(a: np.ndarray, b: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    return a * (1 - fraction) + b * fraction
