"""Kolmogorov-Arnold networks in tinygrad: one layer, interchangeable bases, one training loop."""

import importlib

from tinykan import device
from tinykan.bases import RBF, Chebyshev, Fourier, Wavelet
from tinykan.basis import Basis, BSpline, Linear, Polynomial
from tinykan.checkpoint import CheckpointError, load, save
from tinykan.device import DeviceError
from tinykan.encoding import Encoding, Gaussian, NeRF, Raw, Scaled, Sines
from tinykan.errors import UserError
from tinykan.kernels.tinygrad_faults import work_around
from tinykan.layers import EdgeTanh, KANLayer
from tinykan.networks import KAN, MLP, Network, Siren, parameter_count
from tinykan.runs.widths import widths_for
from tinykan.tasks.images import ImageError, load_image, pixel_sampler, render, save_image
from tinykan.tasks.prediction import Predictor
from tinykan.training import DivergenceError, History, Training, batches, fit

__all__ = [
    "KAN",
    "MLP",
    "RBF",
    "BSpline",
    "Basis",
    "Chebyshev",
    "CheckpointError",
    "DeviceError",
    "DivergenceError",
    "EdgeTanh",
    "Encoding",
    "Fourier",
    "Gaussian",
    "History",
    "ImageError",
    "KANLayer",
    "Linear",
    "NeRF",
    "Network",
    "Polynomial",
    "Predictor",
    "Raw",
    "Scaled",
    "Sines",
    "Siren",
    "Training",
    "UserError",
    "Wavelet",
    "batches",
    "fit",
    "load",
    "load_image",
    "parameter_count",
    "pixel_sampler",
    "render",
    "save",
    "save_image",
    "widths_for",
]

# Saved files may hold symbolic layers.
importlib.import_module("tinykan.interpret.symbolic")
# Before the first tensor: left alone, tinygrad may choose OpenCL on the CPU, or a compiler that is
# not installed. A device that the user named is checked when it is selected, by name, in a script.
work_around()
device.select_by_default()
