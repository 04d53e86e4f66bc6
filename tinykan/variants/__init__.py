"""Variants of the core's parts: bases of powers, Gaussians (FastKAN), Chebyshev polynomials
(ChebyKAN), sines and cosines (FourierKAN), wavelets (Wav-KAN) and any activations; activations,
those of FINER, Gaussian networks, WIRE and H-SIREN among them; positional encodings; layers with a
tanh on each edge, or a learnable function on each node; SIREN.

A variant of one's own is a subclass of Basis or Encoding, or an entry of ACTIVATIONS, INITIALIZERS
or LAYERS: once it is imported, command lines and saved files know it by its name."""

from tinykan.variants.bases import RBF, Chebyshev, Fourier, Polynomial, Wavelet
from tinykan.variants.edge_tanh import EdgeTanh
from tinykan.variants.encodings import Gaussian, NeRF, Raw, Scaled, Sines
from tinykan.variants.functions import Functions
from tinykan.variants.node_layer import NodeLayer
from tinykan.variants.siren import Siren

__all__ = [
    "RBF",
    "Chebyshev",
    "EdgeTanh",
    "Fourier",
    "Functions",
    "Gaussian",
    "NeRF",
    "NodeLayer",
    "Polynomial",
    "Raw",
    "Scaled",
    "Sines",
    "Siren",
    "Wavelet",
]
