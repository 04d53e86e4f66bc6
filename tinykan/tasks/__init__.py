"""Tasks: the data that networks are trained on, and their scores. Images, functions of one or two
variables, formulas, slices of an image and differential equations, each as a `Task` with a
sampler, a target and scores; the benchmark tasks by name; image files, tables of numbers, metrics,
confusion matrices; `fit`, with validation, and prediction on NumPy arrays."""

from tinykan.tasks.benchmarks import BENCHMARKS
from tinykan.tasks.classes import Confusion, confusion
from tinykan.tasks.equation import Equation, Unknown
from tinykan.tasks.equations import EquationTask
from tinykan.tasks.fit import Validation, fit
from tinykan.tasks.formulas import Formula, FormulaTask
from tinykan.tasks.image_folders import FourierFeaturesTask, PixelsBetweenTask
from tinykan.tasks.images import ImageError, load_image, pixel_sampler, render, save_image
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.ready_equations import EQUATIONS
from tinykan.tasks.sampling import batches, split, streamed
from tinykan.tasks.slices import SlicesTask
from tinykan.tasks.standardization import Standardized
from tinykan.tasks.tables import DataTable, read_table
from tinykan.tasks.target_functions import TARGET_FUNCTIONS, TargetFunction, half_moons
from tinykan.tasks.task import FunctionTask, ImageTask, Task

# fmt: off
__all__ = [
    "BENCHMARKS", "EQUATIONS", "TARGET_FUNCTIONS", "Confusion", "DataTable", "Equation",
    "EquationTask", "Formula", "FormulaTask", "FourierFeaturesTask", "FunctionTask", "ImageError",
    "ImageTask", "PixelsBetweenTask", "Predictor", "SlicesTask", "Standardized", "TargetFunction",
    "Task", "Unknown", "Validation", "batches", "confusion", "fit", "half_moons", "load_image",
    "pixel_sampler", "read_table", "render", "save_image", "split", "streamed",
]
# fmt: on
