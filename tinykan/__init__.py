"""Kolmogorov-Arnold networks in tinygrad: one layer, interchangeable bases, one training loop."""

from tinykan import device
from tinykan.basis import Basis, BSpline, Linear
from tinykan.checkpoint import CheckpointError, load, save
from tinykan.device import DeviceError
from tinykan.errors import UserError
from tinykan.interpret import symbolic as _symbolic  # noqa: F401  (its layers may be in files)
from tinykan.interpret.summary import summary  # which also shows networks in notebooks
from tinykan.kernels.tinygrad_faults import work_around
from tinykan.layers import KANLayer
from tinykan.networks import KAN, MLP, Encoding, Network, parameter_count
from tinykan.runs.widths import widths_for
from tinykan.tasks import ImageError, Predictor, Standardized, batches, fit, split
from tinykan.tasks.images import load_image, pixel_sampler, render, save_image
from tinykan.taylor import derivatives
from tinykan.training import DivergenceError, History, Step, Training
from tinykan.variants import RBF, Chebyshev, EdgeTanh, Fourier, Functions, Polynomial, Siren

from tinykan.variants import Gaussian, NeRF, NodeLayer, Raw, Scaled, Sines, Wavelet  # isort: skip

# fmt: off
__all__ = [
    "KAN", "MLP", "RBF", "BSpline", "Basis", "Chebyshev", "CheckpointError", "DeviceError",
    "DivergenceError", "EdgeTanh", "Encoding", "Fourier", "Functions", "Gaussian", "History",
    "ImageError", "KANLayer", "Linear", "NeRF", "Network", "NodeLayer", "Polynomial", "Predictor",
    "Raw", "Scaled", "Sines", "Siren", "Standardized", "Step", "Training", "UserError", "Wavelet",
    "batches", "derivatives", "fit", "load", "load_image", "parameter_count", "pixel_sampler",
    "render", "save", "save_image", "split", "summary", "widths_for",
]
# fmt: on
__version__ = "0.1.0"  # which pyproject.toml reads

# Before the first tensor: tinygrad may choose OpenCL on the CPU, or a compiler that is missing.
work_around()
device.select_by_default()
