"""What the estimators share: their parameters, training, pickling, and the interpretation of the
fitted network."""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import threading
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from tinygrad.helpers import DEV

from tinykan import device as devices
from tinykan.basis import Basis, BSpline
from tinykan.checkpoint import load, save
from tinykan.errors import UserError, check_integer
from tinykan.interpret.pruning import prune
from tinykan.networks import KAN, Network
from tinykan.runs.widths import widths_for
from tinykan.sklearn.training import CHUNK, HeldOut, Options, WeightedBatches, train
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.standardization import Standardized
from tinykan.tasks.symbol_names import symbol_names
from tinykan.training import Loss

LEAST_STEPS, PASSES = 100, 40  # by default
SAMPLES = 1000  # rows of the training data that a fitted estimator keeps, for its interpretation
ONE_AT_A_TIME = threading.RLock()  # tinygrad traces the computations of one thread at a time
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs, targets and weights
Estimator = TypeVar("Estimator", bound="KANEstimator")


class KANEstimator(BaseEstimator):
    """A network on standardized numbers. Subclasses say what it is trained to lower, and what its
    outputs mean."""

    _loss: Loss  # of outputs and targets, as tensors

    def __init__(
        self,
        hidden: int | Sequence[int | Sequence[int]] = 32,
        basis: Basis | Sequence[Basis] | None = None,
        parameters: int | None = None,
        *,
        steps: int | None = None,
        batch: int = 256,
        learning_rate: float = 0.03,
        alpha: float = 5.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: int | np.random.RandomState | None = 0,
        device: str | None = None,
        progress: bool = False,
    ) -> None:
        self.hidden, self.basis, self.parameters = hidden, basis, parameters
        self.steps, self.batch, self.learning_rate, self.alpha = steps, batch, learning_rate, alpha
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.n_iter_no_change, self.random_state = n_iter_no_change, random_state
        self.device, self.progress = device, progress

    def prune(
        self: Estimator, *, node_threshold: float = 1e-2, edge_threshold: float = 3e-2
    ) -> Estimator:
        """A copy of the fitted estimator with a smaller `model_`, without the nodes and edges that
        contribute little to its outputs (tinykan.interpret.prune explains both thresholds)."""
        rows, pruned = self._standardized(self._samples()), copy.copy(self)
        limits = {"node_threshold": node_threshold, "edge_threshold": edge_threshold}
        pruned._use(prune(self.model_, rows, **limits))
        return pruned

    def plot(self, path: str | Path, *, title: str | None = None) -> None:
        """Draws `model_` with the function of every edge into a .png, .svg or .pdf (needs
        matplotlib, of the `demo` extra). Raises UserError as tinykan.interpret.diagram does, for
        more than 400 edges for example."""
        rows = self._standardized(self._samples())
        from tinykan.interpret.diagram import save_diagram

        names = {"input_names": self._column_names(), "output_names": self._output_names()}
        save_diagram(self.model_, rows, path, title=title, **names)

    def formula(self, *, hidden: int = 5, digits: int = 3) -> Any:
        """A SymPy expression for the data in their units, or a list of one for each output (needs
        the `interpret` extra).

        It is found by tinykan.interpret.recovery.recover, which `hidden` and `digits` are for, in
        minutes, from rows of the training data: from their targets, or for classes from the values
        of `decision_function`. Raises UserError if a network of `hidden` nodes does not fit them.
        """
        rows = self._samples()
        from tinykan.interpret.recovery import recover

        values = self._described(rows)
        names = symbol_names(self._column_names() or []) or None
        found = recover(rows, values, hidden=hidden, input_names=names, digits=digits).formula
        return found if values.ndim > 1 else found[0]

    def _fit(
        self: Estimator, x: np.ndarray, y: np.ndarray, sample_weight: Any, outputs: int
    ) -> Estimator:
        """Fits a network of `outputs` to `x` `[n, in]` and targets `y` `[n, outputs]`, or class
        labels `[n]`."""
        random = check_random_state(self.random_state)
        widths, basis = self._architecture(x.shape[1], outputs)
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        # Sorted: the order of the rows does not matter, and batches are stratified by targets.
        order = np.lexsort((*x.T, *y.reshape(len(y), -1).T[::-1]))
        order = order[weights[order] > 0]
        x, y, weights = x[order], y[order], weights[order]
        every = -(-len(x) // SAMPLES)
        self._rows, self._row_targets = x[::every], y[::every]
        y = self._set_units(Standardized(x, y, weights), y)
        x = self._standardized(x)
        part, rest = self._split((x, y, weights), random)
        steps = self.steps or max(LEAST_STEPS, math.ceil(PASSES * len(part[0]) / self.batch))
        seed = int(random.randint(2**31 - 1))
        held_out = None
        if self.early_stopping:
            held_out = HeldOut(*rest, loss=self._losses, patience=self.n_iter_no_change)
        with _on(self.device):
            model, self.history_, self.n_iter_ = train(
                lambda: KAN(widths, basis, spline_weight=False, seed=seed),
                WeightedBatches(*part, batch=self.batch, steps=steps, seed=seed),
                Options(steps, self.learning_rate, self._loss, self.progress),
                decay=self.alpha / part[2].sum(),
                held_out=held_out,
            )
        self.validation_losses_ = held_out.losses if held_out else None
        self._use(model)
        return self

    def _architecture(self, inputs: int, outputs: int) -> tuple[list[int], Any]:
        """The widths and the basis. Raises UserError for parameters of the estimator that neither
        the network nor the training checks."""
        hidden = list(self.hidden) if isinstance(self.hidden, Sequence) else [self.hidden]
        for width in hidden:
            if not isinstance(width, Sequence):  # sums and products, which KAN checks
                check_integer("hidden", width, 1)
            elif self.parameters is not None:
                raise UserError(f"hidden {width} has products: parameters= chooses numbers of sums")
        for name in ("batch", "n_iter_no_change"):
            check_integer(name, getattr(self, name), 1)
        if self.steps is not None:
            check_integer("steps", self.steps, 1)
        alpha, fraction = self.alpha, self.validation_fraction
        if not isinstance(alpha, Real) or not 0 <= alpha < math.inf:
            raise UserError(f"alpha {alpha!r} must be a number of at least 0")
        if not isinstance(fraction, Real) or not 0 < fraction < 1:
            raise UserError(f"validation_fraction {fraction!r} must be a number between 0 and 1")
        basis = BSpline(3) if self.basis is None else self.basis
        if self.parameters is None:
            return [inputs, *hidden, outputs], basis
        sizes = self.parameters, len(hidden), basis, inputs, outputs
        return widths_for(*sizes, spline_weight=False), basis

    def _split(self, rows: Rows, random: np.random.RandomState) -> tuple[Rows, Rows]:
        """Those that are trained on, and those that are held out, in order."""
        x, y, weights = rows
        trained, others = np.arange(len(y)), np.arange(0)
        if self.early_stopping:
            size, classes = self.validation_fraction, y if y.dtype.kind == "i" else None
            trained, others = train_test_split(
                trained, test_size=size, random_state=random, stratify=classes
            )
        trained, others = np.sort(trained), np.sort(others)
        return (x[trained], y[trained], weights[trained]), (x[others], y[others], weights[others])

    def _set_units(self, data: Standardized, y: np.ndarray) -> np.ndarray:
        """Takes the units from `data`; returns the targets of the network."""
        varies = np.ptp(data.inputs, axis=0) > 0
        self.input_shift_ = data.input_shift
        self.input_scale_ = np.where(varies, data.input_scale, np.inf)  # a constant is always 0
        return y

    def _standardized(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.input_shift_) / self.input_scale_).clip(-1, 1)

    def _outputs(self, x: Any) -> np.ndarray:
        """Of the network `[n, out]`, in float64."""
        check_is_fitted(self)
        x = validate_data(self, x, reset=False, dtype=np.float64)
        return self._of_network(x)

    def _of_network(self, x: np.ndarray) -> np.ndarray:
        with ONE_AT_A_TIME:
            return self._predictor(self._standardized(x)).astype(np.float64)

    def _values(self, outputs: np.ndarray) -> np.ndarray:
        """The function that is fitted, of the network's outputs `[n, out]`."""
        raise NotImplementedError

    @staticmethod
    def _losses(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """`_loss` of each row `[n]`, as arrays."""
        raise NotImplementedError

    def _described(self, rows: np.ndarray) -> np.ndarray:
        """What a formula is for, at the rows of the training data that were kept."""
        return self._values(self._of_network(rows))

    def _samples(self) -> np.ndarray:
        check_is_fitted(self)
        return self._rows

    def _column_names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else list(names)

    def _output_names(self) -> list[str] | None:
        return None

    def _use(self, model: Network) -> None:
        self.model_, self._predictor = model, Predictor(model, CHUNK)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __getstate__(self) -> dict[str, Any]:
        """With the network as the bytes of a file, which know nothing of devices and kernels."""
        state = dict(super().__getstate__())
        if state.pop("_predictor", None) is not None:
            with tempfile.TemporaryDirectory() as folder:
                save(self.model_, path := Path(folder) / "model.safetensors")
                state["model_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                (path := Path(folder) / "model.safetensors").write_bytes(state["model_"])
                self._use(load(path))


@contextlib.contextmanager
def _on(name: str | None) -> Iterator[None]:
    """Within it, `name` is the default device, if given. Raises DeviceError."""
    with ONE_AT_A_TIME:
        before = DEV.value
        try:
            if name is not None:
                devices.select(name)
            yield
        finally:
            DEV.value = before
