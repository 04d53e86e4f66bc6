"""Import of networks that other libraries saved, pykan and efficient-kan: their files are read
without PyTorch, and nothing in them is executed."""

from tinykan.interop.efficient_kan import from_efficient_kan
from tinykan.interop.pykan import from_pykan

__all__ = ["from_efficient_kan", "from_pykan"]
