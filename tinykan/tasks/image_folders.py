"""The image regression of "Fourier features let networks learn high frequency functions in low
dimensional domains" (Tancik et al. 2020, arXiv:2006.10739, sec. 6), on a folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer
from tinykan.tasks import images, metrics
from tinykan.tasks.sampling import batches
from tinykan.tasks.task import ImageTask, Prediction, Task
from tinykan.training import Loss, Sampler, mean_squared_error


@dataclass(frozen=True)
class PixelsBetweenTask(ImageTask):
    """An image in color, trained on every second pixel in x and y, all of which are a step's batch
    unless that is smaller. With `sigmoid`, the network's output z stands for the value sigmoid(z)
    on [0, 1], as in the paper's program.

    Scored by the PSNR of the pixels that are not trained on, as the paper says; `psnr_all` is that
    of all pixels, which its program prints, and `psnr_diagonal` of those between in both x and y,
    by which it chose the scale of its Gaussian features.
    """

    color: bool = True
    held_out: bool = True
    sigmoid: bool = True
    milestone: ClassVar[None] = None  # type: ignore[misc,assignment]

    def sampler(self, batch: int, seed: int) -> Sampler:
        height, width = self.image.shape[:2]
        points = images.coordinates(width, height).reshape(height, width, 2)
        inputs, targets = (a[::2, ::2].reshape(-1, a.shape[2]) for a in (points, self.image))
        return batches(inputs, targets, batch, seed)

    @property
    def loss(self) -> Loss:
        return _after_sigmoid if self.sigmoid else mean_squared_error

    def fitted(self, predict: Prediction) -> np.ndarray:
        values = super().fitted(predict)
        return np.tanh(values / 2) if self.sigmoid else values

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        diagonal = fitted[1::2, 1::2], self.image[1::2, 1::2]
        return {
            **super().scores(fitted),
            "psnr_all": metrics.psnr(fitted, self.image),
            "psnr_diagonal": metrics.psnr(*diagonal),
        }


def _after_sigmoid(prediction: Tensor, target: Tensor) -> Tensor:
    """2 sigmoid(z) - 1 is tanh(z / 2)."""
    return mean_squared_error((prediction / 2).tanh(), target)


@dataclass(frozen=True)
class FourierFeaturesTask(Task):
    """The same for each image of a `folder`, in the order of their names: a run whose seed is s
    fits image s modulo their number, so that the mean and the deviation over the seeds 0 .. n - 1
    are those over n images. `size` reduces them first; of `count` the first ones are taken, which
    the baseline is of, too. Files that are no images are passed over.

    The paper's data are 16 natural images and 16 of text, of 512 x 512 pixels, its network has four
    layers of 256, ReLU, 2,000 steps of all 65,536 pixels, and Adam with a constant rate of 1e-3.
    Its coordinates are on [0, 1): a scale of 10 there is `gaussian(256, scale=5)` here.
    """

    folder: str
    size: int | None = None
    count: int | None = None
    sigmoid: bool = True
    in_features = 2
    out_features = 3
    score = "psnr"
    baseline_name = "bicubic enlargement"

    def __post_init__(self) -> None:
        self.parts  # noqa: B018  (a bad folder is found before training)

    @cached_property
    def parts(self) -> list[PixelsBetweenTask]:
        """One task for each image."""
        try:
            paths = sorted(p for p in Path(self.folder).iterdir() if p.is_file())
        except OSError as error:
            raise UserError(f"{self.folder}: {error.strerror}; a folder is needed") from None
        known = [str(p) for p in paths if p.suffix.lower() in Image.registered_extensions()]
        if not known:
            raise UserError(f"{self.folder}: no image is in this folder")
        if self.count is not None:
            check_integer("count", self.count, 1, len(known))
        chosen = known[: self.count]
        return [PixelsBetweenTask(path, self.size, sigmoid=self.sigmoid) for path in chosen]

    def part(self, seed: int) -> Task:
        return self.parts[seed % len(self.parts)]

    @property
    def data(self) -> list[np.ndarray]:
        return [part.image for part in self.parts]

    @property
    def target(self) -> np.ndarray:
        """The first image, which reports show."""
        return self.parts[0].target

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        """Of a fit to the first image."""
        return self.parts[0].scores(fitted)

    def picture(self, values: np.ndarray) -> np.ndarray:
        return values

    @property
    def baseline(self) -> dict[str, float]:
        """Bicubic enlargement of the pixels trained on, averaged over the images."""
        every = [part.baseline or {} for part in self.parts]
        return {name: float(np.mean([scores[name] for scores in every])) for name in every[0]}
