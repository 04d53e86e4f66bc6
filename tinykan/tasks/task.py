"""Tasks: the data that a network is trained on, and its scores. Images and functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tinykan.errors import lookup
from tinykan.tasks import images, metrics
from tinykan.tasks.sampling import batches
from tinykan.tasks.target_functions import TARGET_FUNCTIONS
from tinykan.training import Loss, Sampler, mean_squared_error

Prediction = Callable[[np.ndarray], np.ndarray]  # [n, in_features] to [n, out_features]

CAMERA = str(Path(__file__).with_name("data") / "camera.png")


class Task:
    """Inputs in [-1, 1], the target that a network should fit, and the scores of a fit.

    A subclass gives the attributes that are only annotated here, and the methods that are not
    implemented. A fit has the shape of the target.
    """

    in_features: int
    out_features: int
    score: str  # the name of the score by which networks are compared
    encoding: str | None = None  # that suits the task, whatever the model
    channels: int | tuple[int, ...] = 8  # for each input, of the encoding "octaves"
    milestone: str | None = None  # the name of a score: seconds until it is passed
    baseline_name = ""

    @property
    def data(self) -> list[np.ndarray]:
        """The arrays by which it differs from other tasks."""
        raise NotImplementedError

    @cached_property
    def digest(self) -> str:
        """Of the data, in hexadecimal."""
        digest = hashlib.sha256()
        for array in self.data:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def part(self, seed: int) -> Task:
        """What a run with that seed is about: all of it, but of several tasks in one."""
        return self

    @property
    def target(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def trained_image(self) -> np.ndarray | None:
        """What is trained on, if that is an image on all of [-1, 1]: `[height, width, channels]`;
        several of one size are channels."""
        return None

    def sampler(self, batch: int, seed: int) -> Sampler:
        """Inputs and targets of each step."""
        raise NotImplementedError

    @property
    def loss(self) -> Loss:
        """What is minimized."""
        return mean_squared_error

    def fitted(self, predict: Prediction) -> np.ndarray:
        """The fit of a network."""
        raise NotImplementedError

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        raise NotImplementedError

    def picture(self, values: np.ndarray) -> np.ndarray | None:
        """The target or a fit as an image, if it can be shown as one."""
        return None

    @property
    def baseline(self) -> dict[str, float] | None:
        """The scores of a method without a network, if there is one."""
        return None

    def passed(self, predict: Prediction, loss: float) -> bool:
        """Whether the network has passed the milestone; `loss` is that of its last batch."""
        return False


@dataclass(frozen=True)
class ImageTask(Task):
    """An image as a function of its pixels' coordinates. `held_out` trains on every second pixel in
    x and y, and scores the others; `between` trains on points between pixels too. `white` is the
    value of white in the file, where it is not what the file says."""

    path: str = CAMERA
    size: int | None = None
    color: bool = False
    held_out: bool = False
    between: bool = False
    white: float | None = None
    in_features = 2
    score = "psnr"
    milestone = "seconds_to_30_db"
    baseline_name = "bicubic enlargement"

    def __post_init__(self) -> None:
        self.image  # noqa: B018  (a bad file is found before training)

    @cached_property
    def image(self) -> np.ndarray:
        """`[height, width, channels]` in [-1, 1]."""
        return images.load_image(self.path, size=self.size, color=self.color, white=self.white)

    @property
    def out_features(self) -> int:  # type: ignore[override]
        return self.image.shape[2]

    @property
    def data(self) -> list[np.ndarray]:
        return [self.image]

    def sampler(self, batch: int, seed: int) -> Sampler:
        every = 2 if self.held_out else 1
        return images.pixel_sampler(self.image, batch, seed, between=self.between, every=every)

    @property
    def target(self) -> np.ndarray:
        return self.image

    @property
    def trained_image(self) -> np.ndarray:
        return self.image[::2, ::2] if self.held_out else self.image

    def fitted(self, predict: Prediction) -> np.ndarray:
        height, width = self.image.shape[:2]
        return images.render(predict, width, height)

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        pair = self._counted(fitted), self._counted(self.image)
        structure = {} if self.held_out else {"ssim": metrics.ssim(*pair)}
        return {"psnr": metrics.psnr(*pair), **structure, "mse": metrics.mse(*pair)}

    def picture(self, values: np.ndarray) -> np.ndarray:
        return values

    @property
    def baseline(self) -> dict[str, float] | None:
        """Bicubic enlargement of the pixels trained on."""
        if not self.held_out:
            return None
        return self.scores(images.bicubic(self.image[::2, ::2], self.image.shape[:2]))

    def passed(self, predict: Prediction, loss: float) -> bool:
        """The milestone is 30 dB on all scored pixels, which are evaluated when a batch is near."""
        if loss >= 1.5 * 4e-3:
            return False
        return metrics.psnr(self._counted(self.fitted(predict)), self._counted(self.image)) >= 30

    def _counted(self, picture: np.ndarray) -> np.ndarray:
        """The pixels that are scored; `[n, 1, channels]` if they are not all."""
        if not self.held_out:
            return picture
        unseen = np.ones(picture.shape[:2], dtype=bool)
        unseen[::2, ::2] = False
        return picture[unseen][:, None]


@dataclass(frozen=True)
class FunctionTask(Task):
    """A function of one or two variables. Where its points are random, the `seed` draws them."""

    name: str = "zigzag"
    seed: int = 0
    out_features = 1
    score = "rmse"
    encoding = "none"

    def __post_init__(self) -> None:
        lookup("function", self.name, TARGET_FUNCTIONS)

    @property
    def function(self):
        return TARGET_FUNCTIONS[self.name]

    @property
    def in_features(self) -> int:  # type: ignore[override]
        return self.function.in_features

    @cached_property
    def data(self) -> list[np.ndarray]:
        return list(self.function.training_set(self.seed))

    @cached_property
    def points(self) -> np.ndarray:
        """The points at which it is scored, `[n, in_features]` in [-1, 1]: many more than it is
        trained on."""
        return self.function.grid(*((2001,) if self.in_features == 1 else (101, 101)))

    @property
    def target(self) -> np.ndarray:
        """`[n]`, in the units of the function."""
        return self.function.evaluate(self.function.to_box(self.points))

    def sampler(self, batch: int, seed: int) -> Sampler:
        inputs, targets = self.data
        return batches(inputs, targets, batch, seed)

    def fitted(self, predict: Prediction) -> np.ndarray:
        return predict(self.points)[:, 0].astype(float)

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        error = fitted - self.target
        mse = float(np.mean(error**2))
        return {"rmse": mse**0.5, "mse": mse, "max_error": float(np.abs(error).max())}
