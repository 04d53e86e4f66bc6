"""Layers that multiply: the multiplication nodes of KAN 2.0 (arXiv:2408.10205, sec. 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer
from tinykan.layers import LAYERS, check_input
from tinykan.tensors import like, parameter


class MultiplicationLayer:
    """Products of inputs, each of which is a factor of one output:

        y[o] = product of x[i] over the inputs i of group o, + bias[o]

    `groups` lists the inputs of each output; together they are 0 .. in_features - 1, each once. On
    top of a KANLayer, it makes products of sums of functions of one variable. Raises UserError for
    other groups.

    >>> MultiplicationLayer([[0, 1], [2]])(Tensor.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self.groups = [list(group) for group in groups]
        together = [i for group in self.groups for i in group]
        for i in together:
            check_integer("input", i, 0, len(together) - 1)
        if not self.groups or not all(self.groups) or len(set(together)) < len(together):
            raise UserError(f"groups {groups}: each output needs inputs, and each input one output")
        self.in_features, self.out_features = len(together), len(self.groups)
        self.bias = parameter(np.zeros(self.out_features))

    def __call__(self, x: Tensor) -> Tensor:
        check_input(self, x)
        columns = [math.prod((x[..., i] for i in group[1:]), start=x[..., group[0]])
                   for group in self.groups]  # fmt: skip
        return Tensor.stack(*columns, dim=-1) + self.bias

    def edges(self, x: Tensor) -> Tensor:
        """The factors of each output, `x[..., i]` where i is in its group: not terms of a sum."""
        check_input(self, x)
        live = Tensor(self.live_edges(), device=x.device)
        return live.where(x.unsqueeze(-1), x.const_like(0.0).unsqueeze(-1))

    def outside(self, x: Tensor) -> Tensor:
        return x.const_like(0.0).mean()

    def live_edges(self) -> np.ndarray:
        live = np.zeros((self.in_features, self.out_features), dtype=bool)
        for o, group in enumerate(self.groups):
            live[group, o] = True
        return live

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> MultiplicationLayer:
        whole = self.live_edges() & outputs
        if (whole.any(axis=1) != inputs).any() or (whole & ~live).any():
            raise UserError("a product has no factor that could be left out: prune other layers")
        number = np.cumsum(inputs) - 1  # of each input that is kept
        groups = [g for g, kept in zip(self.groups, outputs, strict=True) if kept]
        cut = MultiplicationLayer([number[group].tolist() for group in groups])
        cut.bias = like(self.bias, self.bias.numpy()[outputs] + shift[outputs])
        return cut

    @property
    def on_basis(self) -> None:
        return None

    @property
    def config(self) -> dict:
        return {"groups": self.groups}

    @classmethod
    def from_config(cls, config: dict, tensors: Mapping[str, Tensor]) -> MultiplicationLayer:
        """Of `groups`, or of a `width` of KAN, [sums, products]: sums pass, then come products of
        two neighbors each."""
        return cls(config["groups"] if "groups" in config else _groups(config["width"]))

    def __repr__(self) -> str:
        return f"MultiplicationLayer({self.groups})"


def sums_and_products(width: int | Sequence[int]) -> tuple[int, int]:
    """The numbers in a width, which is a number of sums or [sums, products]. Raises UserError for
    others, and for numbers below 0."""
    if not isinstance(width, Sequence):
        check_integer("width", width, 0)
        return width, 0
    if len(width) != 2:
        raise UserError(f"width {width}: a number of sums, or [sums, products], is needed")
    for kind, count in zip(("sums", "products"), width, strict=True):
        check_integer(f"width {width}: the number of {kind}", count, 0)
    return width[0], width[1]


def _groups(width: Sequence[int]) -> list[list[int]]:
    sums, products = sums_and_products(width)
    if not sums + products:
        raise UserError(f"width {width}: at least one sum or product is needed")
    pairs = [[i, i + 1] for i in range(sums, sums + 2 * products, 2)]
    return [[i] for i in range(sums)] + pairs


LAYERS["MultiplicationLayer"] = MultiplicationLayer
