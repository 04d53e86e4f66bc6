"""Files that are there whole or not at all, and named arrays in the safetensors format.

Written here rather than by tinygrad, which maps the file into memory: on a full disk that ends the
process, where a plain write is an error that one can answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from tinykan.errors import lookup

TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "|u1",
}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


def write(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Writes `path` by way of a temporary file beside it, which is on the disk before it takes the
    name; what had the name becomes `previous`, if given. Raises OSError, with nothing changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the folder may have gone, and the file with it
            temporary.unlink(missing_ok=True)


def pack(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file, with a digest of all of it among the metadata."""
    header: dict[str, dict] = {"__metadata__": {**metadata, "sha256": ""}}
    parts, end = [], 0
    for name, array in arrays.items():
        part = np.ascontiguousarray(array).tobytes()
        about = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = {**about, "data_offsets": [end, end + len(part)]}
        parts.append(part)
        end += len(part)
    data = b"".join(parts)
    header["__metadata__"]["sha256"] = _digest(header, data)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the numbers are aligned
    return len(encoded).to_bytes(8, "little") + encoded + data


def metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file says of itself, unchecked. Raises as `unpack` does."""
    return _header(content)[0]["__metadata__"]


def unpack(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata from the bytes of a file that `pack` made. Raises ValueError, KeyError or
    TypeError for any other: not one byte may differ."""
    header, data = _header(content)
    metadata = header["__metadata__"]
    digest, metadata["sha256"] = metadata["sha256"], ""
    if digest != _digest(header, data):
        raise ValueError("its content does not match its digest")
    return _arrays(header, data), metadata


def arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file that any library made, unchecked. Raises as `unpack`
    does."""
    return _arrays(*_header(content))


def _arrays(header: dict, data: bytes) -> dict[str, np.ndarray]:
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            values = np.frombuffer(data[start:end], lookup("type", about["dtype"], TYPES))
            found[name] = values.reshape(about["shape"]).copy()
    return found


def _header(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= len(content) - 8:
        raise ValueError("it is cut short")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _digest(header: dict, data: bytes) -> str:
    return hashlib.sha256(json.dumps(header).encode() + data).hexdigest()
