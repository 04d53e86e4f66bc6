"""Variants of the core's parts: bases of Gaussians (FastKAN), Chebyshev polynomials (ChebyKAN),
sines and cosines (FourierKAN) and wavelets (Wav-KAN); positional encodings; a layer with a tanh on
each edge; SIREN. A variant of one's own is a subclass of Basis or Encoding, or a layer added to
LAYERS: once it is imported, command lines and saved files know it by its name."""

from tinykan.variants.bases import RBF, Chebyshev, Fourier, Wavelet
from tinykan.variants.edge_tanh import EdgeTanh
from tinykan.variants.encodings import Gaussian, NeRF, Raw, Scaled, Sines
from tinykan.variants.siren import Siren

__all__ = [
    "RBF",
    "Chebyshev",
    "EdgeTanh",
    "Fourier",
    "Gaussian",
    "NeRF",
    "Raw",
    "Scaled",
    "Sines",
    "Siren",
    "Wavelet",
]
