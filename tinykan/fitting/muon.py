"""Muon: steps along orthogonalized momentum."""

from __future__ import annotations

import math

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.kernels import product
from tinykan.optim import Adam

TILE = 16  # sides of matrices are multiples of it
POLYNOMIAL = 3.4445, -4.7750, 2.0315  # of singular values: five times brings them to about 1


class Muon(Adam):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for matrices, Adam for the rest.

    A layer is linear in its functions: coefficients `[in, functions, out]` are the matrix of
    in * functions rows and out columns that takes the functions of all inputs to the outputs, as
    the `[in, out]` of a dense layer does; base and spline weights are matrices, too. What has one
    row or column is a vector, and is Adam's: biases, the last layer of one output, the functions of
    a NodeLayer of rank 1.

    Steps of matrices are 0.2 sqrt(max(rows, columns)) times the rate times the orthogonalized
    momentum (Liu et al. 2025, arXiv:2502.16982): as large as Adam's usually are, so that
    both take one rate. Weight decay is decoupled, as there.
    """

    momentum = 0.95

    def __init__(
        self,
        parameters: list[Tensor],
        rates: np.ndarray,
        decay: float = 0.0,
        clip: float | None = None,
    ) -> None:
        super().__init__(parameters, rates, decay, clip)
        columns = np.column_stack([self.table.numpy()[:, :2], rates])
        self.table = Tensor(columns, dtype=dtypes.float32).realize()
        self.matrices = [n for n, p in enumerate(parameters) if min(_sides(p)) > 1]
        self.elementwise = [n for n in range(len(parameters)) if n not in self.matrices]

    def _updated(self, gradients: list[Tensor], rate: Tensor) -> list[Tensor]:
        updated = super()._updated(gradients, rate)
        for n in self.matrices:
            p, m, g = self.parameters[n], self.m[n], gradients[n]
            m.assign(self.momentum * m + g)
            ahead = (g + self.momentum * m).reshape(_sides(p))  # Nesterov's
            step = rate[2] * 0.2 * math.sqrt(max(_sides(p))) * orthogonalized(ahead)
            p.assign(p.detach() - step.reshape(p.shape).cast(p.dtype))
            updated += [p, m]
        return updated


def _sides(p: Tensor) -> tuple[int, int]:
    """Rows and columns of a parameter as a matrix."""
    columns = int(p.shape[-1])
    return int(p.numel()) // columns, columns


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """The matrix with singular values of about 1 (0.7 to 1.2) in the place of its own, by `steps`
    Newton-Schulz iterations, which are products of matrices alone."""
    rows, columns = matrix.shape
    if rows > columns:
        return orthogonalized(matrix.transpose(), steps).transpose()
    a, b, c = POLYNOMIAL
    # Zeros change no singular value, and products have whole tiles with them.
    even = ((0, -rows % TILE), (0, -columns % TILE))
    x = (matrix / (matrix.square().sum().sqrt() + 1e-7)).pad(even).contiguous()
    for _ in range(steps):
        gram = product(x, x.transpose())
        x = a * x + product((b * gram + c * product(gram, gram)).contiguous(), x)
        x = x.contiguous()
    return x[:rows, :columns]
