"""A basis of activations, several on each edge."""

from __future__ import annotations

from dataclasses import dataclass

from tinykan.activations import ACTIVATIONS, Activation, Number
from tinykan.basis import DenseBasis
from tinykan.errors import UserError, lookup
from tinykan.variants.bases import MAX_FUNCTIONS


@dataclass(frozen=True)
class Functions(DenseBasis):
    """Activations, by their names with blanks between: the sines of several frequencies on every
    edge, as in `Functions("sine10 sine20 sine30")`. With one name it is a node's activation, which
    may thus differ from layer to layer. 1 to 64 names.

    >>> from tinygrad import Tensor
    >>> Functions("sine10 sine20")(Tensor([[0.1, 0.2]])).shape
    (1, 2, 2)
    """

    names: str = "sine10 sine20 sine30"

    def __post_init__(self) -> None:
        if not 1 <= len(self.activations) <= MAX_FUNCTIONS:
            raise UserError(f"functions {self.names!r}: 1 to {MAX_FUNCTIONS} names are needed")
        for name in self.activations:
            lookup("activation", name, ACTIVATIONS)

    @property
    def activations(self) -> list[str]:
        return str(self.names).split()

    @property
    def n_functions(self) -> int:
        return len(self.activations)

    def values(self, x: Number) -> list[Number]:
        return [function.value(x) for function in self._functions]

    def slopes(self, x: Number) -> list[Number]:
        return [function.derivative(x) for function in self._functions]

    @property
    def _functions(self) -> list[Activation]:
        return [ACTIVATIONS[name] for name in self.activations]
