"""Data parallelism: a network's tensors on several devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

from tinygrad import Device, Tensor

from tinykan import device
from tinykan.device import DeviceError
from tinykan.errors import warn

SLOW = (
    "tinygrad's own x86 renderer is several times slower than a compiler; install one with: "
    "pip install llvmlite (tinykan's extra 'cpu' has it)"
)


def announce(quiet: bool = False) -> None:
    """Prints the device, at the start of a run, unless `quiet`; and on standard error that a slow
    renderer is used where pip can install a fast one."""
    if not quiet:
        print(summary())
    if device.describe()["renderer"] == "X86":
        warn(SLOW)


def summary() -> str:
    """The device, its renderer and tinygrad's version in one line."""
    name, renderer, _ = device.describe().values()
    return f"device {name}, renderer {renderer}, tinygrad {version('tinygrad')}"


@contextlib.contextmanager
def spread_across(tensors: Iterable[Tensor], names: Sequence[str]) -> Iterator[None]:
    """Within the context `tensors` have a copy on each of the devices `names`; after it they are on
    the default one. Raises DeviceError for a device that does not work or is named twice."""
    names = tuple(Device.canonicalize(name.strip()) for name in names)
    if len(set(names)) < len(names):
        raise DeviceError(f"a device is named twice in {', '.join(names)}")
    for name in names:
        try:
            answer = (Tensor([1.0, 2.0], device=name) + 1).tolist()
        except Exception:  # as in `works`
            answer = None
        if answer != [2.0, 3.0]:
            raise DeviceError(f"device {name!r} is not available here")
    tensors = list(tensors)
    for tensor in tensors:
        tensor.replace(tensor.to(names).realize())
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.replace(tensor.to(Device.DEFAULT).realize())
