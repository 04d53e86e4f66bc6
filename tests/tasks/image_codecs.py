"""Writers and readers of PNG, TIFF and PNM for the tests, independent of every library: samples go
in and come out as integers or floats `[height, width, samples]`, and nothing is converted."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7 += [(0, 1, 1, 2)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """Each row of samples, the first bit first."""
    rows = values.reshape(len(values), -1)
    if bits >= 8:
        return [row.astype(f">u{bits // 8}").tobytes() for row in rows]
    places = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in places]


def write_png(
    values: np.ndarray,
    bits: int,
    *,
    key: tuple[int, ...] | None = None,
    palette: np.ndarray | None = None,
    opacities: bytes | None = None,
    interlaced: bool = False,
    profile: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """A PNG (PNG specification, third edition) with the filter "Sub" where `bits` are 8 or 16, so
    that readers have something to undo."""
    height, width, samples = values.shape
    kind = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    content = b"\x89PNG\r\n\x1a\n"
    content += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced))
    content += extra
    if profile:
        content += chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))
    if palette is not None:
        content += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if opacities is not None or key is not None:
        content += chunk(b"tRNS", opacities or struct.pack(f">{len(key)}H", *key))
    passes = [values[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [values]
    raw = b""
    for part in passes:
        step = max(1, bits * samples // 8)
        for row in packed(part, bits) if part.size else []:
            line = np.frombuffer(row, np.uint8)
            if bits >= 8:
                line = np.concatenate([line[:step], line[step:] - line[:-step]])
            raw += bytes([bits >= 8]) + line.tobytes()
    return content + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@dataclass
class Decoded:
    """What a file holds: its samples, and what they mean."""

    values: np.ndarray
    full: float
    kind: int  # PNG's color type, or TIFF's photometric interpretation
    key: tuple[int, ...] | None = None
    palette: np.ndarray | None = None
    opacities: np.ndarray | None = None
    extra: tuple[int, ...] = ()


def unpacked(rows: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` samples of each row of bytes."""
    if bits >= 8:
        return rows.view(f">u{bits // 8}")[:, :count].astype(np.int64)
    flat = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    return flat @ (1 << np.arange(bits - 1, -1, -1))


def read_png(content: bytes) -> Decoded:
    """A PNG that is not interlaced."""
    position, chunks = 8, {}
    while position < len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + length]
        chunks[name] = chunks.get(name, b"") + data
        position += length + 12
    width, height, bits, kind, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    step, length = max(1, bits * samples // 8), (bits * samples * width + 7) // 8
    raw = zlib.decompress(chunks[b"IDAT"])
    rows, above = [], np.zeros(length, dtype=np.int64)
    for y in range(height):
        line = np.frombuffer(raw, np.uint8, length, y * (length + 1) + 1).astype(np.int64)
        for i in range(length) if raw[y * (length + 1)] else ():
            left, corner = (line[i - step], above[i - step]) if i >= step else (0, 0)
            guess = left + above[i] - corner
            near = min((left, above[i], corner), key=lambda value: abs(value - guess))
            line[i] += [0, left, above[i], (left + above[i]) // 2, near][raw[y * (length + 1)]]
            line[i] &= 255
        rows.append(line.astype(np.uint8))
        above = line
    values = unpacked(np.stack(rows), bits, width * samples).reshape(height, width, samples)
    key, palette, opacities = chunks.get(b"tRNS"), chunks.get(b"PLTE"), None
    if kind == 3 and key is not None:
        opacities = np.frombuffer(key.ljust(256, b"\xff"), np.uint8)
    return Decoded(
        values,
        2.0**bits - 1,
        kind,
        struct.unpack(f">{len(key) // 2}H", key) if key and kind != 3 else None,
        np.frombuffer(palette, np.uint8).reshape(-1, 3) if palette else None,
        opacities,
    )


def write_tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    extra: tuple[int, ...] = (),
    compressed: bool = False,
    orientation: int = 1,
) -> bytes:
    """A TIFF (revision 6.0) of one strip; the type of `values` gives the sample format."""
    height, width, samples = values.shape
    if bits in (8, 16, 32, 64):
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    else:
        data = b"".join(packed_bits(row, bits) for row in values.reshape(height, -1))
    data = zlib.compress(data) if compressed else data
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (bits,) * samples),
        (259, "H", (8 if compressed else 1,)),
        (262, "H", (photometric,)),
        (273, "I", (8,)),
        (274, "H", (orientation,)),
        (277, "H", (samples,)),
        (278, "I", (height,)),
        (279, "I", (len(data),)),
        *([(338, "H", extra)] if extra else []),
        (339, "H", (kind,) * samples),
    ]
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    directory, beyond = struct.pack(f"{order}H", len(entries)), b""
    for tag, code, numbers in entries:
        field = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(field) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(beyond)
            beyond += field
            field = struct.pack(f"{order}I", place)
        number = {"H": 3, "I": 4}[code]
        directory += struct.pack(f"{order}HHI", tag, number, len(numbers)) + field.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", start) + data + directory + b"\0\0\0\0" + beyond


def packed_bits(row: np.ndarray, bits: int) -> bytes:
    places = (row.astype(np.int64)[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(places.reshape(-1)).tobytes()


def read_tiff(content: bytes) -> Decoded:
    """The first page of a TIFF in strips, chunky or planar, without compression or with deflate,
    without a predictor."""
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    tags: dict[int, tuple] = {}
    for i in range(count):
        entry = start + 2 + 12 * i
        tag, number, length = struct.unpack_from(f"{order}HHI", content, entry)
        code = {1: "B", 2: "s", 3: "H", 4: "I", 7: "B"}.get(number)
        if code is None:
            continue
        size = struct.calcsize(code) * length
        place = entry + 8
        if size > 4:
            (place,) = struct.unpack_from(f"{order}I", content, place)
        tags[tag] = struct.unpack_from(f"{order}{length}{code}", content, place)
    (width,), (height,), bits = tags[256], tags[257], tags.get(258, (1,))[0]
    samples = tags.get(277, (1,))[0]
    planar = tags.get(284, (1,))[0] == 2
    parts = []
    for place, length in zip(tags[273], tags[279], strict=True):
        part = content[place : place + length]
        parts.append(zlib.decompress(part) if tags[259][0] in (8, 32946) else part)
    data, kind = b"".join(parts), tags.get(339, (1,))[0]
    shape = (samples, height, width) if planar else (height, width, samples)
    if bits >= 8 and bits != 12:
        values = np.frombuffer(data, f"{order}{'_uif'[kind]}{bits // 8}").reshape(shape)
    else:
        length = ((width if planar else width * samples) * bits + 7) // 8
        rows = np.frombuffer(data, np.uint8).reshape(-1, length)
        values = unpacked(rows, bits, width if planar else width * samples).reshape(shape)
    palette = tags.get(320)
    return Decoded(
        np.moveaxis(values, 0, -1) if planar else values,
        1.0 if kind == 3 else 2.0 ** (bits - (kind == 2)) - 1,
        tags[262][0],
        palette=np.reshape(palette, (3, -1)).T / 257 if palette else None,
        extra=tags.get(338, ()),
    )


def write_pnm(values: np.ndarray, maxval: int, *, plain: bool = False) -> bytes:
    """A PGM or PPM, with a comment in its header."""
    height, width, samples = values.shape
    number = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[samples, plain]
    header = f"P{number}\n# white is {maxval}\n{width} {height}\n{maxval}\n".encode()
    if plain:
        return header + b"\n".join(b" ".join(b"%d" % v for v in row.ravel()) for row in values)
    return header + values.astype(">u2" if maxval > 255 else np.uint8).tobytes()


def in_color(decoded: Decoded) -> np.ndarray:
    """What a viewer shows on white paper, `[height, width, 3]` in [0, 1], in float64."""
    values = decoded.values.astype(float)
    if decoded.palette is not None:
        index = values[..., 0].astype(int)
        colors = decoded.palette[index] / 255
        alpha = decoded.opacities[index][..., None] / 255 if decoded.opacities is not None else None
    else:
        count = 3 if values.shape[-1] >= 3 else 1
        alpha = values[..., count : count + 1] / decoded.full if values.shape[-1] > count else None
        colors = values[..., :count] / decoded.full
        if decoded.key is not None:
            alpha = (values != decoded.key).any(axis=-1, keepdims=True).astype(float)
    if alpha is not None:
        colors = colors * alpha + (1 - alpha)
    return np.broadcast_to(colors.clip(0, 1), (*values.shape[:2], 3))


def luminance(colors: np.ndarray) -> np.ndarray:
    """ITU-R BT.601-2."""
    return colors @ [0.299, 0.587, 0.114]
