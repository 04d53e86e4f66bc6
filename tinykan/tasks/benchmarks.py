"""The benchmark tasks by name, from which all quoted numbers come, and the kinds of tasks.

slices                eight slices of camera.png, 64 x 64, with one network: the Ameobea/kan
                      experiment. Scored by the mean squared error on 100 x 100 points of each
image-256             camera.png at 256 x 256; scored by PSNR, SSIM and seconds to 30 dB
image-256-held-out    trained on every second pixel in x and y, scored on the others
image-128             camera.png at 128 x 128

FourierFeaturesTask('FOLDER') is the image regression of "Fourier features let networks learn high
frequency functions in low dimensional domains", for a folder with its images, or others.
"""

from __future__ import annotations

from collections.abc import Callable

from tinykan.tasks.equations import EquationTask
from tinykan.tasks.formulas import FormulaTask
from tinykan.tasks.image_folders import FourierFeaturesTask, PixelsBetweenTask
from tinykan.tasks.slices import SlicesTask
from tinykan.tasks.task import FunctionTask, ImageTask, Task

BENCHMARKS: dict[str, Callable[[], Task]] = {
    "slices": SlicesTask,
    "image-256": lambda: ImageTask(size=256),
    "image-256-held-out": lambda: ImageTask(size=256, held_out=True),
    "image-128": lambda: ImageTask(size=128),
}
# In files of earlier versions.
FORMER_NAMES = {
    "P1": "slices",
    "P2": "image-256",
    "P2-held-out": "image-256-held-out",
    "P2-small": "image-128",
}
KINDS: dict[str, Callable[..., Task]] = {
    "ImageTask": ImageTask,
    "SlicesTask": SlicesTask,
    "FunctionTask": FunctionTask,
    "PixelsBetweenTask": PixelsBetweenTask,
    "FourierFeaturesTask": FourierFeaturesTask,
    "FormulaTask": FormulaTask,
    "EquationTask": EquationTask,
}
