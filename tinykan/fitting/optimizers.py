"""tinygrad's optimizers in the place of Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes
from tinygrad.nn.optim import Optimizer, OptimizerGroup
from tinygrad.nn.state import get_state_dict

from tinykan.errors import UserError, lookup
from tinykan.fitting.muon import Muon
from tinykan.kernels.tinygrad_versions import optimizers_enabled
from tinykan.optim import Adam
from tinykan.tensors import overwrite

FIRST, SECOND = ("m", "b"), ("v",)  # tinygrad's names for moments of gradients, one per parameter


OPTIMIZERS: dict[str, Callable[..., Adam]] = {"adam": Adam, "muon": Muon}


def adapted(
    make: Callable[[list[Tensor]], Any] | str, peak: float, learning_rate: float | None = None
) -> Callable[..., Adam]:
    """What `Training` makes its optimizer with: one of OPTIMIZERS by its name, or the optimizer
    that `make(parameters)` returns, one of tinygrad.nn.optim or a subclass of its Optimizer, behind
    the interface of tinykan's Adam.

    `make` is such a class, or a function, which may also leave parameters out or divide them among
    optimizers in an OptimizerGroup. The rate of a step is a share of `learning_rate` or, without
    one, of the `lr` that each optimizer was made with: the share that the rates have of their
    `peak`. Gradients are clipped as for Adam; weight decay is an argument of the optimizer's own.
    Raises UserError for what is no optimizer, other tensors than the parameters, and `decay`.
    """

    if isinstance(make, str):
        return lookup("optimizer", make, OPTIMIZERS)

    def construct(
        parameters: list[Tensor], rates: np.ndarray, decay: float = 0.0, clip: float | None = None
    ) -> Adam:
        return Borrowed(make, parameters, rates / peak, learning_rate, decay=decay, clip=clip)

    return construct


class Borrowed(Adam):
    """An optimizer of tinygrad's with the `shares` `[steps]` of its rate at each step. Its state is
    that of the optimizer; `m` and `v` are its moments of the gradients, where it has such."""

    def __init__(
        self, make: Callable[[list[Tensor]], Any], parameters: list[Tensor], shares: np.ndarray,
        learning_rate: float | None, *, decay: float = 0.0, clip: float | None = None,
    ) -> None:  # fmt: skip
        if decay:
            raise UserError(
                f"weight decay {decay} is Adam's: give it to the optimizer, as in "
                f"optimizer=lambda parameters: AdamW(parameters, weight_decay={decay})"
            )
        self.inner = _made(make, parameters)
        super().__init__(self.inner.params, np.ones(1), clip=clip)
        parts = self.inner.optimizers if isinstance(self.inner, OptimizerGroup) else [self.inner]
        self.parts: list[Optimizer] = list(parts)
        own = [float(np.ravel(part.lr.numpy())[0]) for part in self.parts]
        peaks = own if learning_rate is None else [learning_rate] * len(own)
        self.table = Tensor(np.outer(shares, peaks), dtype=dtypes.float32).realize()
        weights = {id(tensor) for tensor in (*parameters, *(part.lr for part in self.parts))}
        found = get_state_dict(self.inner)
        self.own = {name: t for name, t in found.items() if id(t) not in weights}
        for tensor in self.own.values():  # in memory of its own, which compiled steps go on using
            tensor.replace(tensor.contiguous().realize())
        self.initial = {name: tensor.numpy().copy() for name, tensor in self.own.items()}
        self.m, self.v = (self._moments(names) for names in (FIRST, SECOND))

    def _updated(self, gradients: list[Tensor], rate: Tensor) -> list[Tensor]:
        for index, part in enumerate(self.parts):
            part.lr = rate[index : index + 1].cast(part.lr.dtype)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        with optimizers_enabled():
            updated = self.inner.schedule_step()
        self.inner.zero_grad()
        return updated

    @property
    def _changing(self) -> dict[str, Tensor]:
        return {**self.own, "step": self.step, "table": self.table}

    def slow_down(self, factor: float) -> None:
        overwrite(self.table, self.table.numpy() * factor)
        for name, tensor in self.own.items():
            overwrite(tensor, self.initial[name])

    def _moments(self, names: tuple[str, ...]) -> list[Tensor]:
        """Those of every parameter in order, if all have them in their shape."""
        found: list[Tensor] = []
        for part in self.parts:
            lists = [getattr(part, name) for name in names if hasattr(part, name)]
            moments = lists[0] if lists else []
            if [t.shape for t in moments] != [p.shape for p in part.params]:
                return []
            found += moments
        return found


def _made(make: Callable[[list[Tensor]], Any], parameters: list[Tensor]) -> Optimizer:
    made = make(parameters) if callable(make) else make
    if not isinstance(made, Optimizer):
        needed = "tinygrad.nn.optim.Muon, or a function of the parameters that returns an Optimizer"
        raise UserError(f"optimizer {make!r} gives {made!r}: {needed} is needed")
    known = {id(parameter) for parameter in parameters}
    if not made.params or any(id(parameter) not in known for parameter in made.params):
        raise UserError("the optimizer must be made with the parameters that it is given")
    return made
