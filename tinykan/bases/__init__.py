"""Bases beyond polynomials and B-splines: Gaussians (FastKAN), Chebyshev polynomials (ChebyKAN),
sines and cosines (FourierKAN), wavelets (Wav-KAN). A basis of one's own is a subclass like these;
once it is imported, command lines and saved files know it by its name."""

from tinykan.bases.dense import RBF, Chebyshev, Fourier, Wavelet

__all__ = ["RBF", "Chebyshev", "Fourier", "Wavelet"]
