"""Networks of other libraries: what pykan and efficient-kan saved, read without PyTorch and without
running what a file may ask for."""

from tinykan.interop.networks import from_efficient_kan, from_pykan

__all__ = ["from_efficient_kan", "from_pykan"]
