"""Residual-based attention: weights of collocation points that follow the size of the residual."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad import Tensor

from tinykan.networks import Network

DECAY, RATE = 0.999, 0.01  # those of the paper's examples
Weighed = Callable[[Tensor], Tensor]  # the residual [n], each multiplied by the weight of its point


class ResidualAttention:
    """A loss of the model, inputs and targets whose residual has a weight at each of `count`
    points, 1 at first (Anagnostopoulos et al., Computer Methods in Applied Mechanics and
    Engineering 421, 2024). With each step of Adam, which minimizes `stepping`, the weights become

        DECAY * weight + RATE * |residual| / max |residual|

    so that they end between 0 and RATE / (1 - DECAY) = 10. Called, it is the loss with the weights
    as they stand, which L-BFGS minimizes. `loss(model, x, y, weighed)` is the loss of a residual
    that it passes through `weighed`."""

    def __init__(
        self, loss: Callable[[Network, Tensor, Tensor, Weighed], Tensor], count: int
    ) -> None:
        self._loss, self.weights = loss, Tensor.ones(count).contiguous().realize()

    @property
    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the network and the optimizer."""
        return {"attention": self.weights}

    def __call__(self, model: Network, x: Tensor, y: Tensor) -> Tensor:
        return self._loss(model, x, y, lambda r: self.weights.cast(r.dtype) * r)

    def stepping(self, model: Network, x: Tensor, y: Tensor) -> Tensor:
        return self._loss(model, x, y, self._moved)

    def _moved(self, residual: Tensor) -> Tensor:
        size = residual.detach().abs()
        share = size / size.max().maximum(1e-30)  # 0, if all residuals are
        return self.weights.assign(DECAY * self.weights + RATE * share) * residual
