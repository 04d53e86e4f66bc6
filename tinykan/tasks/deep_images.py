"""Files of which Pillow keeps only 8 bits, or does not know what white is: 16-bit PNG in color,
PNM of any maxval, TIFF by tifffile, and the deep gray modes of Pillow."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from tinykan.errors import UserError, need, warn
from tinykan.tasks.image_samples import ImageError, Samples, full_scale, one_line, turned

PNG, TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 274
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT = 258, 262, 277, 284, 339  # tags of TIFF
_KINDS = {1: "u", 2: "i", 3: "f"}
# Unpackers of Pillow that drop the lower 8 of 16 bits.
_TRUNCATING = re.compile(r"^(L|LA|R|G|B|RGB.?|CMYK);16[BLN]?$")


def deep_samples(
    path: object, stream: BinaryIO, file: Any, white: float | None, limit: int
) -> Samples | None:
    """The samples of a file, upright, if they are more than Pillow's 8 bits, or mean something else
    than Pillow says; else None. `file` is Pillow's, if Pillow opened it.

    Warns if 8 bits are all that can be read. Raises ImageError if it is not known what white is, or
    if the file has more than `limit` pixels.
    """
    if file is None:
        return _tiff(path, stream, limit)
    head = content(stream, 65536)
    if head[:8] == PNG and head[24] == 16 and head[25] in (2, 4, 6):
        return _png(stream, file, colors=1 if head[25] == 4 else 3, alpha=head[25] in (4, 6))
    if file.format == "PPM" and (maxval := _maxval(head)) not in (None, 255):
        return _pnm(stream, file.size, maxval)
    if file.format == "TIFF" and len(bits := file.tag_v2.get(_BITS, ())) > 1 and max(bits) > 8:
        return _deep_tiff(path, stream, file, limit)
    if file.format in ("ICNS", "ICO"):
        file.load()  # what they contain may be a PNG of another mode
    depth = _depth(file, head)
    if file.mode == "F" or file.mode.startswith("I") or _signed(file):
        return _gray(path, file, depth, white)
    if depth > 8:
        warn(f"{path}: 8 of its {depth} bits per sample are read; 16-bit PNG and TIFF keep them")
    return None


def content(stream: BinaryIO, length: int = -1) -> bytes:
    """The first bytes of a file, or all. Decoders of Pillow rely on its position, which stays."""
    position = stream.tell()
    stream.seek(0)
    try:
        return stream.read(length)
    finally:
        stream.seek(position)


def _png(stream: BinaryIO, file: Image.Image, *, colors: int, alpha: bool) -> Samples:
    """A PNG of 16 bits per sample in color, or with alpha. Pillow unpacks one byte of each sample,
    which of them is a matter of the byte order that it is told: so both are unpacked."""
    whole = content(stream)
    data, position = [], len(PNG)
    while position + 8 <= len(whole):
        length, kind = struct.unpack_from(">I4s", whole, position)
        if kind == b"IDAT":
            data.append(whole[position + 8 : position + 8 + length])
        position += length + 12
    packed, interlaced = b"".join(data), whole[28]

    def unpack(mode: str, raw: str) -> np.ndarray:
        return np.asarray(Image.frombytes(mode, file.size, packed, "zip", raw, interlaced))

    if colors == 1:  # as many bytes per pixel as RGBA has
        values = unpack("RGBA", "RGBA").view(">u2").astype(np.uint16)
    else:
        mode = "RGBA" if alpha else "RGB"
        values = unpack(mode, f"{mode};16B").astype(np.uint16)
        values <<= 8
        values |= unpack(mode, f"{mode};16L")
    key = file.info.get("transparency")
    return Samples(
        turned(values, file.getexif().get(ORIENTATION, 1)),
        65535.0,
        colors,
        "straight" if alpha else "",
        transparent=key if isinstance(key, tuple) else None,
        profile=file.info.get("icc_profile"),
    )


_TOKEN = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([2356])" + _TOKEN + _TOKEN.join([rb"(\d{1,10})"] * 3) + rb"(#[^\r\n]*)?\s")


def _maxval(head: bytes) -> int | None:
    """The value of white that a PGM or PPM names."""
    header = _PNM.match(head)
    return int(header[4]) if header else None


def _pnm(stream: BinaryIO, size: tuple[int, int], maxval: int) -> Samples:
    whole = content(stream)
    header = _PNM.match(whole)
    assert header is not None
    colors = 3 if header[1] in b"36" else 1
    count = size[0] * size[1] * colors
    if header[1] in b"23":
        text = re.sub(rb"#[^\r\n]*", b" ", whole[header.end() :])
        values = np.array(text.split(maxsplit=count)[:count], dtype=np.uint32)
    else:
        kind = np.dtype(np.uint8 if maxval < 256 else ">u2")
        values = np.frombuffer(whole, kind, count, header.end())
    return Samples(values.reshape(size[1], size[0], colors), float(maxval), colors)


def _gray(path: object, file: Any, depth: int, white: float | None) -> Samples:
    """The deep gray modes of Pillow: I and F do not say what white is, so the file has to."""
    tiff = file.format == "TIFF"
    tile = file.tile[0] if file.tile else None
    file.load()  # turns a TIFF upright
    values = np.asarray(file)
    orientation = 1 if tiff else file.getexif().get(ORIENTATION, 1)
    kind, inverted = "f" if file.mode == "F" else "u", False
    if tiff:
        depth, kind, inverted = _meaning(file)
        if tile and tile[0] == "libtiff" and str(tile[3][0]).endswith(("BS", "BF")):
            # libtiff has turned the bytes around, and Pillow turns them back.
            values = (values.astype(np.int16) if depth == 16 else values).byteswap()
        if depth in (8, 32) and kind != "f":
            values = values.view(f"{kind}{depth // 8}")
    elif kind == "u" and (file.format == "FITS" or depth != 16) and white is None:
        raise ImageError(
            f"{path}: nothing in an integer {file.format} file says which value is white: "
            "--white X does"
        )
    elif (factor := file.info.get("scale", 1.0)) != 1 and file.format == "PPM" and white is None:
        raise ImageError(
            f"{path}: a PFM with the scale factor {factor:g}, which some programs apply to its "
            "values and others do not: --white X says which of the values as stored is white"
        )
    full = full_scale(kind, depth)
    if file.format == "JPEG2000":
        full *= 2 ** (16 - depth)  # Pillow shifts samples to the upper bits of 16
    key = file.info.get("transparency")
    return Samples(
        turned(values[..., None], orientation),
        full,
        transparent=(key,) if isinstance(key, int) else None,
        inverted=inverted,
        profile=file.info.get("icc_profile"),
    )


def _meaning(file: Any) -> tuple[int, str, bool]:
    """Bits per sample, their kind, and whether 0 is white, of a TIFF that Pillow opened."""
    tags = file.tag_v2
    kind = _KINDS.get(tags.get(_FORMAT, (1,))[0], "u")
    return tags.get(_BITS, (1,))[0], kind, tags.get(_PHOTOMETRIC) == 0


def _signed(file: Any) -> bool:
    """Whether Pillow takes signed samples of 8 bits for unsigned ones."""
    return file.format == "TIFF" and file.mode == "L" and _meaning(file)[1] == "i"


def _depth(file: Any, head: bytes) -> int:
    """Bits per sample as the file has them, where Pillow's modes and unpackers say, or headers that
    Pillow does not show; 8 if nothing does."""
    if file.format == "JPEG2000" and (start := head.find(b"\xff\x4f\xff\x51")) >= 0:
        return (head[start + 42] & 127) + 1  # Ssiz of the first component: ISO 15444-1, A.5.1
    if file.format == "AVIF" and (start := head.find(b"av1C")) >= 0:
        flags = head[start + 6]  # high_bitdepth, twelve_bit: AV1-ISOBMFF, 2.3.3
        return 8 if not flags & 64 else 12 if flags & 32 else 10
    if (file.mode == "I" and file.format == "PNG") or file.mode.startswith("I;16"):
        return 16
    tile = file.tile[0] if file.tile else ("", (), 0, "")
    raw = tile[3] if isinstance(tile[3], str) else next(iter(tile[3] or ()), "")
    return 16 if tile[0] == "SGI16" or _TRUNCATING.match(str(raw)) else 8


def _deep_tiff(path: object, stream: BinaryIO, file: Any, limit: int) -> Samples | None:
    """A TIFF of several samples of more than 8 bits, or None if Pillow's 8 bits have to do."""
    bits = max(file.tag_v2[_BITS])
    try:
        return _tiff(path, stream, limit)
    except UserError as error:
        if file.tag_v2.get(_PLANAR) == 2:  # Pillow takes such planes for ones of 8 bits
            raise
        reason = str(error).removeprefix(f"{path}: ")
        warn(f"{path}: 8 of its {bits} bits per sample are read: {reason}")
        return None


def _tiff(path: object, stream: BinaryIO, limit: int) -> Samples:
    """The first page of a TIFF by tifffile. Raises a UserError if tifffile is missing, or if it
    cannot read this file."""
    tifffile = need("tifffile", extra="images", purpose=f"{path}: a TIFF of this kind")
    with silent("tifffile"):
        try:
            with tifffile.TiffFile(io.BytesIO(content(stream))) as tiff:
                page = tiff.pages[0]
                if page.imagewidth * page.imagelength > limit or np.prod(page.shape) > 5 * limit:
                    raise ImageError(f"{path}: too large an image (more than {limit} pixels)")
                return _samples_of(page)
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # as many kinds as there are ways in which a file is broken
            raise ImageError(f"{path}: not a readable TIFF ({one_line(error)})") from None


def _samples_of(page: Any) -> Samples:
    photometric, kind, bits = int(page.photometric), page.dtype.kind, page.bitspersample
    if photometric not in (0, 1, 2) or kind not in "uif" or page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"{page.photometric!s} of {page.dtype} in axes {page.axes}")
    colors = 3 if photometric == 2 else 1
    values = page.asarray(maxworkers=1)
    values = values[..., None] if page.axes == "YX" else values
    values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
    if values.shape[-1] < colors:
        raise ValueError(f"{values.shape[-1]} samples per pixel for {colors} colors")
    # Without the tag, one sample more than colors is taken for alpha, as other readers do.
    extra = [int(e) for e in page.extrasamples] or [2] * (values.shape[-1] == colors + 1)
    orientation = page.tags.get(ORIENTATION)
    return Samples(
        turned(values, int(orientation.value) if orientation else 1),
        full_scale(kind, bits),
        colors,
        {1: "premultiplied", 2: "straight"}.get(extra[0], "") if extra else "",
        inverted=photometric == 0,
        profile=page.iccprofile,
    )


@contextlib.contextmanager
def silent(name: str) -> Iterator[None]:
    """Keeps a library from logging what it thinks of a file: it is read, or it is one line."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
