"""Image files of every mode, depth, photometric interpretation and byte order against decoders of
the tests' own; what white is, transparency, profiles, sizes; and damaged files."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tests.helpers import limited, mutated
from tests.tasks.image_codecs import (
    Decoded,
    chunk,
    in_color,
    luminance,
    read_png,
    read_tiff,
    write_png,
    write_pnm,
    write_tiff,
)
from tinykan import ImageError, UserError, load_image
from tinykan.tasks import image_files

tifffile = pytest.importorskip("tifffile")

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 3 rows, 4 columns, 0 to 220
# Of values in [0, 1]: float32's rounding of an image in [-1, 1], and of a weighted sum.
ROUNDING = 1e-6


def gray(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[..., None] / 127.5 - 1


def unit(content: bytes, **options) -> np.ndarray:
    """What is read from a file of that content, on [0, 1], in float64."""
    return (load_image(io.BytesIO(content), **options).astype(float) + 1) / 2


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tiff_of(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def assert_read_as(
    content: bytes, expected: np.ndarray, *, deep: bool, alpha: bool = False
) -> None:
    """Compares with colors on [0, 1]. Files of 8 bits stay in 8 bits, in which laying over white
    and weighting colors (by multiples of 2^-16) round once each."""
    mixing = 0 if deep or not alpha else 1 / 255
    weighting = 0 if deep or not np.ptp(expected, axis=-1).any() else 0.5 / 255 + 2**-16
    found = unit(content, color=True)
    np.testing.assert_allclose(found, expected, atol=mixing + ROUNDING)
    found = unit(content)[..., 0]
    np.testing.assert_allclose(found, luminance(expected), atol=mixing + weighting + ROUNDING)


def noise(rng: np.random.Generator, samples: int, bits: int, kind: str = "u") -> np.ndarray:
    """Random samples of a random size, in which the least and the greatest values occur."""
    shape = (*rng.integers(2, 20, 2), samples)
    if kind == "f":
        values = rng.uniform(0, 1, shape)
    else:
        top = 2 ** (bits - (kind == "i")) - 1
        values = rng.integers(0, top, shape, endpoint=True, dtype=np.uint64)
        values.flat[:2] = 0, top
    size = next(s for s in (8, 16, 32, 64) if s >= bits)
    return values.astype(f"{kind}{size // 8}")


def budget(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cases", [few, pytest.param(many, marks=pytest.mark.long)])


PNG_KINDS = [(1, b) for b in (1, 2, 4, 8, 16)] + [(s, b) for s in (2, 3, 4) for b in (8, 16)]


@budget(60, 3000)
def test_png_of_every_depth_and_color_type(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        samples, bits = PNG_KINDS[case % len(PNG_KINDS)]
        values = noise(rng, samples, bits)
        key = tuple(map(int, values[0, -1])) if samples in (1, 3) and rng.integers(2) else None
        content = write_png(values, bits, key=key, interlaced=bool(rng.integers(2)))
        kind = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
        expected = in_color(Decoded(values, 2**bits - 1, kind, key))
        assert_read_as(content, expected, deep=bits == 16, alpha=samples in (2, 4))


@budget(20, 1000)
def test_png_with_a_palette(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        bits = (1, 2, 4, 8)[case % 4]
        values, palette = noise(rng, 1, bits), rng.integers(0, 256, (2**bits, 3))
        opacities = rng.integers(0, 256, 2**bits).astype(np.uint8) if rng.integers(2) else None
        content = write_png(
            values,
            bits,
            palette=palette,
            opacities=opacities and bytes(opacities) if opacities is None else bytes(opacities),
        )
        decoded = Decoded(values, 2**bits - 1, 3, palette=palette, opacities=opacities)
        assert_read_as(content, in_color(decoded), deep=False, alpha=opacities is not None)


# Of each sample: kind, bits; photometric interpretation; samples; extra samples.
TIFF_KINDS = [
    *[("u", bits, p, 1, ()) for bits in (1, 2, 4, 8, 16, 32) for p in (0, 1)],
    *[(k, bits, p, 1, ()) for k, bits in (("f", 16), ("f", 32), ("f", 64)) for p in (0, 1)],
    *[("i", bits, 1, 1, ()) for bits in (8, 16, 32)],
    ("u", 12, 1, 1, ()),
    *[(k, bits, 2, 3, ()) for k, bits in (("u", 8), ("u", 16), ("u", 32), ("f", 32), ("f", 64))],
    *[("u", bits, 2, 4, (e,)) for bits in (8, 16) for e in (0, 2)],
    *[("u", 16, 2, 4, ()), ("u", 16, 2, 5, (0, 2)), ("f", 32, 2, 4, (2,))],
    *[("u", bits, 1, 2, (2,)) for bits in (8, 16)],
]


@budget(120, 6000)
def test_tiff_of_every_depth_format_photometric_and_byte_order(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        kind, bits, photometric, samples, extra = TIFF_KINDS[case % len(TIFF_KINDS)]
        values = noise(rng, samples, bits, kind)
        options = {"order": "<>"[rng.integers(2)], "compressed": bool(rng.integers(2))}
        if bits == 12:
            options = {}  # of which Pillow knows this alone
        content = write_tiff(values, bits, photometric, extra=extra, **options)
        full = 1.0 if kind == "f" else 2.0 ** (bits - (kind == "i")) - 1
        colors = 3 if photometric == 2 else 1
        alpha = extra[:1] == (2,) or (samples == 4 and not extra)
        shown = values[..., : colors + alpha].astype(float)
        if photometric == 0:
            shown = full - shown
        expected = in_color(Decoded(shown, full, photometric))
        # float32 holds 24 bits of 32, and halves of 11.
        assert_read_as(content, expected, deep=bits > 8, alpha=alpha)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("samples", [1, 3])
def test_tiff_is_turned_upright(orientation, kind, samples):
    rng = np.random.default_rng(orientation)
    values = (rng.uniform(0, 1, (3, 5, samples)) * (1 if kind == "f4" else 255)).astype(kind)
    upright = values.swapaxes(0, 1) if orientation >= 5 else values
    # TIFF 6.0, p. 36: where the first row and the first column are.
    upright = upright[::-1] if orientation in (3, 4, 7, 8) else upright
    upright = upright[:, ::-1] if orientation in (2, 3, 6, 7) else upright
    content = write_tiff(
        values, 8 * values.itemsize, 1 if samples == 1 else 2, orientation=orientation
    )
    full = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    expected = np.broadcast_to(upright / full, (*upright.shape[:2], 3))
    np.testing.assert_allclose(unit(content, color=True), expected, atol=ROUNDING)


@budget(24, 1000)
def test_pnm_of_every_maxval(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        maxval = int(rng.integers(1, 256) if case % 2 else rng.integers(256, 65536))
        maxval = {0: 255, 2: 65535}.get(case, maxval)
        shape = (*rng.integers(2, 20, 2), (1, 3)[case // 2 % 2])
        values = rng.integers(0, maxval, shape, endpoint=True)
        content = write_pnm(values, maxval, plain=bool(rng.integers(2)))
        assert_read_as(content, in_color(Decoded(values, maxval, 0)), deep=maxval != 255)


PILLOW_WRITES = [
    *[("PNG", m, {}) for m in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[
        ("TIFF", mode, {"compression": compression})
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "F")
        for compression in ("raw", "tiff_adobe_deflate")
    ],
]


@budget(50, 2000)
def test_what_pillow_writes_against_another_decoder(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        form, mode, options = PILLOW_WRITES[case % len(PILLOW_WRITES)]
        if mode in ("I;16", "I;16B"):
            values = noise(rng, 1, 16)[..., 0]
            image = Image.fromarray(values.astype(">u2") if mode == "I;16B" else values)
        elif mode == "F":
            image = Image.fromarray(noise(rng, 1, 32, "f")[..., 0])
        else:
            image = Image.fromarray(noise(rng, 4, 8)).convert(mode)
        content = saved(image, form, **options)
        decoded = (read_png if form == "PNG" else read_tiff)(content)
        if form == "TIFF" and decoded.kind == 0:
            decoded.values = decoded.full - decoded.values
        deep = decoded.full not in (1, 3, 15, 255) or mode == "F"
        assert_read_as(content, in_color(decoded), deep=deep, alpha=mode in ("LA", "RGBA", "P"))


@budget(40, 2000)
def test_what_tifffile_writes_against_another_decoder(cases):
    rng = np.random.default_rng(cases)
    for case in range(cases):
        samples = (1, 2, 3, 4)[case % 4]
        kind, bits = (("u", 8), ("u", 16), ("u", 32), ("f", 32), ("f", 64))[case // 4 % 5]
        if bits == 8:
            samples = (1, 3)[samples % 2]
        values = noise(rng, samples, bits, kind)
        planar = samples > 2 and rng.integers(2)
        options = {
            "photometric": "rgb"
            if samples > 2
            else "miniswhite"
            if rng.integers(2)
            else "minisblack",
            "byteorder": "<>"[rng.integers(2)],
            "compression": (None, "zlib")[rng.integers(2)],
        }
        if samples in (2, 4):
            options["extrasamples"] = ["unassalpha"]
        if samples > 1:
            options["planarconfig"] = "separate" if planar else "contig"
        written = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if planar else values
        if samples == 2 and options["photometric"] == "miniswhite":
            options["photometric"] = "minisblack"
        content = tiff_of(written if samples > 1 else values[..., 0], **options)
        decoded = read_tiff(content)
        np.testing.assert_array_equal(decoded.values, values)
        if decoded.kind == 0:
            decoded.values = decoded.full - decoded.values
        assert_read_as(content, in_color(decoded), deep=bits > 8, alpha=samples in (2, 4))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_compressed_tiff_of_16_bits(order, compression, samples):
    """As image editors write them, with a predictor where there is one."""
    values = noise(np.random.default_rng(samples), samples, 16)
    options = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    content = tiff_of(
        values if samples > 1 else values[..., 0],
        photometric="rgb" if samples > 1 else "minisblack",
        byteorder=order,
        compression=compression,
        predictor=compression != "packbits",
        **options,
    )
    assert_read_as(content, in_color(Decoded(values, 65535.0, 2)), deep=True)


def test_alpha_that_is_multiplied_into_the_colors():
    rng = np.random.default_rng(0)
    alpha = rng.integers(0, 65536, (4, 5, 1))
    straight = rng.uniform(0, 1, (4, 5, 3))
    values = np.concatenate([np.rint(straight * alpha), alpha], axis=-1).astype(np.uint16)
    expected = straight * alpha / 65535 + 1 - alpha / 65535
    found = unit(write_tiff(values, 16, 2, extra=(1,)), color=True)
    np.testing.assert_allclose(found, expected, atol=0.5 / 65535 + ROUNDING)


def test_16_bits_inside_an_icon():
    values = np.random.default_rng(0).integers(0, 65536, (16, 16), dtype=np.uint16)
    content = saved(Image.fromarray(values), "ICO", sizes=[(16, 16)])
    np.testing.assert_allclose(unit(content)[..., 0], values / 65535, atol=ROUNDING)


def test_without_tifffile_8_bits_are_read_and_it_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    values = noise(np.random.default_rng(0), 3, 16)
    found = unit(write_tiff(values, 16, 2), color=True)
    np.testing.assert_allclose(found, (values >> 8) / 255, atol=ROUNDING)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "8 of its 16 bits" in said
    assert "pip install tifffile" in said
    for content in (write_tiff(values.astype(np.float32), 32, 2), planar_of(values)):
        with pytest.raises(ImageError, match=r"needs tifffile; install it with: pip install"):
            unit(content)
    unit(write_png(values, 16), color=True)  # which Pillow is enough for
    assert not capsys.readouterr().err


def planar_of(values: np.ndarray) -> bytes:
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    return tiff_of(planes, photometric="rgb", planarconfig="separate")


def test_kinds_of_which_8_bits_are_read_say_so(capsys):
    cmyk = noise(np.random.default_rng(0), 4, 16)
    assert unit(write_tiff(cmyk, 16, 5)).shape[2] == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "8 of its 16 bits" in said
    sgi = saved(Image.fromarray(RAMP), "SGI", bpc=2)
    np.testing.assert_allclose(unit(sgi)[..., 0], RAMP / 255, atol=1 / 255)
    assert "8 of its 16 bits" in capsys.readouterr().err


# White


def float_tiff(values: object) -> bytes:
    return saved(Image.fromarray(np.asarray(values, dtype=np.float32)), "TIFF")


def test_a_few_floats_outside_are_clipped_and_counted(capsys):
    values = np.linspace(0, 1, 64).reshape(8, 8)
    values[0, 0], values[7, 7] = -0.02, 1.0005
    found = unit(float_tiff(values))[..., 0]
    np.testing.assert_allclose(found, values.clip(0, 1), atol=ROUNDING)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "2 of 64 values are outside 0 to 1 (from -0.02 to 1.0005) and are clipped" in said


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 4, 64).reshape(8, 8),  # a scene
        np.linspace(-1, 1, 64).reshape(8, 8),
        np.linspace(0, 255, 64).reshape(8, 8),
        np.eye(32) * 255,  # of which few are outside, but far
    ],
)
def test_floats_on_another_scale_are_refused(values, capsys):
    content = float_tiff(values)
    with pytest.raises(ImageError, match=r"of .* values are outside 0 to 1 .*--white X") as error:
        unit(content)
    assert "\n" not in str(error.value) and not capsys.readouterr().err
    top = values.max()
    np.testing.assert_allclose(
        unit(content, white=float(top))[..., 0], (values / top).clip(0, 1), atol=ROUNDING
    )


def test_a_pfm_has_its_values_unless_it_names_a_scale_factor():
    rows = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    for order, sign in (("<", "-"), (">", "")):
        body = rows[::-1].astype(f"{order}f4").tobytes()  # the lowest row comes first
        plain, scaled = (f"Pf\n4 3\n{sign}{f}\n".encode() + body for f in ("1.0", "0.25"))
        np.testing.assert_allclose(unit(plain)[..., 0], rows, atol=ROUNDING)
        with pytest.raises(ImageError, match=r"the scale factor 0.25, .* --white X"):
            unit(scaled)
        np.testing.assert_allclose(unit(scaled, white=2.0)[..., 0], rows / 2, atol=ROUNDING)


@pytest.mark.parametrize("highest", [0.004, 0.5, 1, 2])
def test_white_is_not_the_maximum(highest):
    """What the values happen to be changes nothing: files of 0 to 1 keep their brightness."""
    values = np.linspace(0, min(highest, 1), 20).reshape(4, 5)
    np.testing.assert_allclose(unit(float_tiff(values))[..., 0], values, atol=ROUNDING)
    deep = np.rint(values * 255).astype(np.uint16)
    for content in (write_tiff(deep[..., None], 16, 1), write_pnm(deep[..., None], 65535)):
        np.testing.assert_allclose(unit(content)[..., 0], deep / 65535, atol=ROUNDING)


def test_integers_of_32_bits_are_not_black_by_mistake():
    values = np.arange(12, dtype=np.uint32).reshape(3, 4, 1) * 20
    for kind in (np.uint32, np.int32):
        content = write_tiff(values.astype(kind), 32, 1)
        with pytest.raises(ImageError, match=r"largest value is 220, .* --white X"):
            unit(content)
        np.testing.assert_allclose(unit(content, white=255), values / 255, atol=ROUNDING)
    np.testing.assert_array_equal(unit(write_tiff(values * 0, 32, 1)), 0)


def test_signed_integers_below_zero_are_clipped_or_refused(capsys):
    values = np.arange(64, dtype=np.int16).reshape(8, 8, 1) * 500
    values[0, 0] = -1
    np.testing.assert_allclose(
        unit(write_tiff(values, 16, 1)), values.clip(0) / 32767, atol=ROUNDING
    )
    assert "1 of 64 values are outside 0 to 32767 (from -1 to" in capsys.readouterr().err
    for kind in (np.int8, np.int16, np.int32):
        values = np.linspace(np.iinfo(kind).min, np.iinfo(kind).max, 64).astype(kind)
        with pytest.raises(ImageError, match="32 of 64 values are outside"):
            unit(write_tiff(values.reshape(8, 8, 1), 8 * values.itemsize, 1))


def test_kinds_that_do_not_say_what_white_is_are_refused():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the format
    content = saved(Image.fromarray(RAMP.astype(np.int32)), "IM")
    with pytest.raises(
        ImageError, match=r"nothing in an integer IM file says which value is white: --white X"
    ):
        unit(content)
    np.testing.assert_allclose(unit(content, white=255)[..., 0], RAMP / 255, atol=ROUNDING)


@pytest.mark.parametrize("kind", ["L", "RGB", "I;16", "P"])
def test_white_can_be_given_for_every_kind(kind, capsys):
    image = Image.fromarray(RAMP.astype(np.uint16)) if kind == "I;16" else Image.fromarray(RAMP)
    image = image if kind == "I;16" else image.convert(kind)
    found = unit(saved(image, "PNG"), white=200)[..., 0]
    np.testing.assert_allclose(found, (RAMP / 200).clip(0, 1), atol=ROUNDING)
    assert (
        "1 of 12 values are outside 0 to 200 (from 0 to 220) and are clipped"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("white", [0, -1, np.nan, np.inf, 1e-60, 1e60])
def test_what_is_no_white_is_one_line(white):
    with pytest.raises(UserError, match="must be a finite number above 0"):
        unit(saved(Image.fromarray(RAMP), "PNG"), white=white)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    values = np.zeros((4, 4))
    values[2, 1] = value
    transparent = np.ones((4, 4, 4), dtype=np.float32)
    transparent[..., 3] = values
    for white in (None, 2.0):
        for content in (float_tiff(values), write_tiff(transparent, 32, 2, extra=(2,))):
            with pytest.raises(ImageError, match="not finite"):
                unit(content, white=white)


# Color spaces and profiles


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "YCbCr"])
def test_other_color_spaces_go_through_rgb(mode):
    red_and_white = Image.new("RGB", (8, 4), "white")
    red_and_white.paste((255, 0, 0), (0, 0, 4, 4))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(red_and_white, srgb, lab, outputMode="LAB")
    else:
        image = red_and_white.convert(mode)
    content = saved(image, "TIFF")
    # LAB rounds to 8 bits, in which red is out by a few.
    np.testing.assert_allclose(unit(content)[0, [0, 7], 0], [0.299, 1], atol=0.02)
    colors = unit(content, color=True)
    np.testing.assert_allclose(colors[0, [0, 7]], [[1, 0, 0], [1, 1, 1]], atol=0.02)
    np.testing.assert_allclose(unit(content)[..., 0], luminance(colors), atol=0.5 / 255 + ROUNDING)


def profile_of(matrix_order: str = "rgb", *, gamma: float = 2.2, space: bytes = b"RGB ") -> bytes:
    """A matrix profile (ICC.1:2001-04) of sRGB's primaries, given in another order, and a power
    law; or a gray one of a power law."""
    primaries = {"r": (0.4361, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971)}
    primaries["b"] = (0.1431, 0.0606, 0.7141)

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(round(v * 65536).to_bytes(4, "big") for v in values)

    curve = (
        b"curv\0\0\0\0" + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + b"\0\0"
    )
    description = b"desc\0\0\0\0" + (5).to_bytes(4, "big") + b"test\0" + b"\0" * 79
    description += b"\0" * (-len(description) % 4)
    tags = {
        b"desc": description,
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        b"cprt": b"text\0\0\0\0no\0\0",
    }
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, primary in zip("rgb", matrix_order, strict=True):
            tags[f"{name}XYZ".encode()] = xyz(primaries[primary])
            tags[f"{name}TRC".encode()] = curve
    table, data = len(tags).to_bytes(4, "big"), b""
    for name, content in tags.items():
        place = 128 + 4 + 12 * len(tags) + len(data)
        table += name + place.to_bytes(4, "big") + len(content).to_bytes(4, "big")
        data += content
    header = b"\0" * 8 + b"\x02\x20\0\0" + b"mntr" + space + b"XYZ " + b"\0" * 12 + b"acsp"
    header += b"\0" * 28 + b"".join(
        round(v * 65536).to_bytes(4, "big") for v in (0.9642, 1, 0.8249)
    )
    whole = header.ljust(128, b"\0") + table + data
    return len(whole).to_bytes(4, "big") + whole[4:]


def test_embedded_profiles_are_converted_to_srgb(capsys):
    """sRGB's primaries with red and blue exchanged, and a power law near sRGB's curve: red and blue
    change places. The truth is that exchange, and Pillow's own conversion."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    image, profile = Image.fromarray(values), profile_of("bgr")
    expected = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        found = unit(saved(image, form, icc_profile=profile, **options), color=True)
        np.testing.assert_allclose(found, np.asarray(expected) / 255, atol=ROUNDING)
        # A power of 2.2 is within 0.035 of sRGB's curve, where it is dark.
        np.testing.assert_allclose(found, values[..., ::-1] / 255, atol=0.04)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "L"])
def test_profiles_in_other_modes(mode):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (6, 7, 4), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    gray_mode = mode in ("L", "LA")
    profile = profile_of(gamma=1.0, space=b"GRAY") if gray_mode else profile_of("bgr")
    content = saved(image, "PNG", icc_profile=profile)
    found = unit(content, color=True)
    decoded = read_png(content)
    if gray_mode:
        light = decoded.values[..., :1] / 255
        # IEC 61966-2-1, from linear light.
        curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        alpha = decoded.values[..., 1:] / 255 if mode == "LA" else 1
        expected = np.broadcast_to(curve * alpha + 1 - alpha, found.shape)
        np.testing.assert_allclose(found, expected, atol=2 / 255)
    else:
        np.testing.assert_allclose(found, in_color(decoded)[..., ::-1], atol=0.04)


def test_deep_files_with_a_profile_are_converted_in_8_bits(capsys):
    values = noise(np.random.default_rng(0), 3, 16)
    found = unit(write_png(values, 16, profile=profile_of("bgr")), color=True)
    np.testing.assert_allclose(found, values[..., ::-1] / 65535, atol=0.04)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ICC profile is applied in 8 bits" in said


@pytest.mark.parametrize("bits", [8, 16])
def test_srgb_as_a_profile_changes_nothing(bits, capsys):
    values = noise(np.random.default_rng(0), 3, bits)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = unit(write_png(values, bits, profile=profile), color=True)
    np.testing.assert_allclose(found, values / (2**bits - 1), atol=ROUNDING)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("profile", [b"nonsense", profile_of()[:200], profile_of(space=b"GRAY")])
def test_profiles_that_cannot_be_used_are_ignored_and_it_is_said(profile, capsys):
    values = noise(np.random.default_rng(0), 3, 8)
    found = unit(write_png(values, 8, profile=profile), color=True)
    np.testing.assert_allclose(found, values / 255, atol=ROUNDING)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "its ICC profile is ignored (" in said


def test_gamma_alone_is_ignored():
    values = noise(np.random.default_rng(0), 3, 8)
    gamma = chunk(b"gAMA", (100_000).to_bytes(4, "big"))
    found = unit(write_png(values, 8, extra=gamma), color=True)
    np.testing.assert_allclose(found, values / 255, atol=ROUNDING)


# Sizes


@pytest.mark.parametrize("size", [16385, 100_000, 3_000_000_000, 10**400])
def test_sizes_have_the_limit_of_files(size):
    content = saved(Image.fromarray(np.tile(RAMP[:, :3], (3, 3))), "PNG")
    with limited(5), pytest.raises(ImageError, match=f"--size {size}.* at most 268435456") as error:
        unit(content, size=size)
    assert "\n" not in str(error.value)


def test_messages_name_the_size_of_the_file_and_what_becomes_of_it():
    content = saved(Image.new("L", (2000, 10)), "PNG")
    message = "2000 x 10 pixels, which --size 64 makes 64 x 1; at least 2 x 2 are needed"
    with pytest.raises(ImageError, match=message):
        unit(content, size=64)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "CMYK", "I;16", "F", "RGB;16"])
@pytest.mark.parametrize("shape", [(60, 90), (61, 97)])
def test_large_sources_are_reduced_while_they_are_read(monkeypatch, mode, shape):
    """What is reduced by boxes first differs from one step of the filter by little: Pillow's
    `reducing_gap`, by the same method, is the reference."""
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    smooth = np.stack([np.sin(x / 9 + i) * np.cos(y / 7) / 2 + 0.5 for i in range(4)], axis=-1)
    if mode == "I;16":
        content = saved(Image.fromarray((smooth[..., 0] * 65535).astype(np.uint16)), "PNG")
    elif mode == "F":
        content = float_tiff(smooth[..., 0])
    elif mode == "RGB;16":
        content = write_png((smooth[..., :3] * 65535).astype(np.uint16), 16)
    else:
        image = Image.fromarray((smooth * 255).astype(np.uint8))
        image = image if mode == "RGBA" else image.convert("RGB").convert(mode)
        content = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    whole = unit(content, color=True)
    at_once = unit(content, size=9, color=True)
    monkeypatch.setattr(image_files, "LARGE", 1000)
    monkeypatch.setattr(image_files, "BAND", 200)  # several bands
    found = unit(content, size=9, color=True)
    for channel in range(3):
        part = Image.fromarray(whole[..., channel].astype(np.float32))
        reference = part.resize((9, 6), Image.Resampling.LANCZOS, reducing_gap=3.0)
        clipped = np.asarray(reference).clip(0, 1)
        np.testing.assert_allclose(found[..., channel], clipped, atol=1e-5)
    # The last box of a row may be of one pixel, and counts as much as one of three.
    np.testing.assert_allclose(found, at_once, atol=0.1 if mode in ("1", "P") else 0.04)
    np.testing.assert_array_equal(unit(content, color=True), whole)  # in bands, the same


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(161, 243), (160, 240)])
def test_large_jpegs_are_decoded_smaller(monkeypatch, orientation, shape):
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    picture = np.rint(127 + 60 * np.sin(x / 30) + 60 * np.cos(y / 20)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(picture), "JPEG", exif=exif, quality=98)
    at_once = unit(content, size=12)
    monkeypatch.setattr(image_files, "LARGE", 1000)
    drafts = []
    jpeg = type(Image.open(io.BytesIO(content)))
    draft = jpeg.draft
    monkeypatch.setattr(jpeg, "draft", lambda *a: drafts.append(draft(*a)))
    found = unit(content, size=12)
    assert drafts and drafts[0] is not None
    assert found.shape == at_once.shape
    np.testing.assert_allclose(found, at_once, atol=0.01)


@pytest.mark.long
def test_a_large_file_of_one_bit_is_read_in_little_memory(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (16000, 16000), 1).save(path)
    code = (
        "import resource, sys; from tinykan import load_image\n"
        f"assert load_image({str(path)!r}, size=64).min() > 0.999\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    kilobytes = 1 if sys.platform == "darwin" else 1024
    # 256 MB of Pillow's one byte per pixel, and what Python and its libraries take.
    assert int(found.stdout) * kilobytes < 700e6


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_too_little_memory_is_one_line(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (6000, 6000)).save(path)
    code = (
        "import resource; from tinykan import ImageError, load_image\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)\n"
        f"try: load_image({str(path)!r}, color=True)\n"
        "except ImageError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == f"{path}: not enough memory for this image\n", found.stderr


def test_text_in_a_png_may_be_long():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 3_000_000))
    values = noise(np.random.default_rng(0), 1, 8)
    before = PngImagePlugin.MAX_TEXT_CHUNK
    np.testing.assert_allclose(unit(write_png(values, 8, extra=text)), values / 255, atol=ROUNDING)
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


# Files as users have them


@pytest.fixture
def write(tmp_path):
    def save(image: Image.Image, name: str = "image.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def test_luminance_is_scaled_to_minus_one_and_one(write):
    np.testing.assert_allclose(load_image(write(Image.fromarray(RAMP))), gray(RAMP), atol=1e-6)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"]
)
@pytest.mark.parametrize("color", [False, True])
def test_every_mode_is_read(write, mode, color):
    name = "image.png" if mode in ("1", "L", "P", "LA", "RGB", "RGBA") else "image.tiff"
    source = Image.fromarray(RAMP)
    if mode == "PA":
        name, source = "image.png", source.convert("P")
        path = write(source, name, transparency=3)
    else:
        path = write(source.convert(mode), name)
    white = 255 if mode in ("I", "F") else None  # which would be on [0, 2^31) and [0, 1]
    image = load_image(path, color=color, white=white)
    assert image.shape == (3, 4, 3 if color else 1) and image.dtype == np.float32
    if mode in ("L", "LA", "RGB", "RGBA", "I", "F"):
        # RGB to luminance rounds to 8 bits.
        np.testing.assert_allclose(image, np.repeat(gray(RAMP), image.shape[-1], -1), atol=1 / 127)
    assert image.min() >= -1 and image.max() <= 1


def test_sixteen_bits_keep_their_precision(write):
    deep = (np.arange(12).reshape(3, 4) * 257 + 1).astype(np.uint16)
    expected = deep[..., None] / np.float32(32767.5) - 1
    np.testing.assert_allclose(load_image(write(Image.fromarray(deep))), expected, atol=1e-6)


def test_transparency_is_laid_over_white(write):
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, :, 3] = 255
    image = load_image(write(Image.fromarray(rgba)))
    np.testing.assert_array_equal(image[..., 0], [[-1, -1], [1, 1]])


def test_exif_rotation_is_followed(write):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = write(Image.fromarray(RAMP), "turned.png", exif=exif)
    np.testing.assert_allclose(load_image(path), gray(np.rot90(RAMP, -1)), atol=1e-6)


def test_first_frame_of_an_animation(write):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    path = write(frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(load_image(path), gray(RAMP), atol=1e-6)


def test_resize_keeps_the_shape_of_the_image(write):
    path = write(Image.fromarray(np.tile(RAMP, (10, 20))))  # 30 rows, 80 columns
    assert load_image(path, size=40).shape == (15, 40, 1)
    assert load_image(path, size=160).shape == (60, 160, 1)


def test_bad_files_are_one_line(tmp_path, write):
    text = tmp_path / "text.png"
    text.write_text("no image\nat all")
    whole = write(Image.fromarray(np.tile(RAMP, (50, 50))), "whole.png").read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    nan = write(Image.fromarray(np.full((3, 3), np.nan, dtype=np.float32)), "nan.tiff")
    dot = write(Image.fromarray(RAMP[:1, :1]), "dot.png")
    cases = {
        text: "not a readable image",
        cut: "not a readable image",
        tmp_path / "empty.png": "not a readable image",
        tmp_path / "missing.png": "no such file",
        tmp_path: "not a readable image",
        nan: "not finite",
        dot: "1 x 1 pixels; at least 2 x 2",
    }
    for path, message in cases.items():
        with pytest.raises(ImageError, match=message) as error:
            load_image(path)
        assert "\n" not in str(error.value)


def test_decompression_bombs_are_refused(write, monkeypatch):
    path = write(Image.fromarray(RAMP))
    monkeypatch.setattr(image_files, "MAX_PIXELS", 4)
    with pytest.raises(ImageError, match="too large"):
        load_image(path)


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    """A small image in every format that Pillow both writes and reads, in each mode it takes, and
    of every kind that the tests and tifffile write."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of a format
    Image.init()
    rng, found = np.random.default_rng(0), []
    source = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    for form in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in MODES:
            try:
                content = saved(source.convert(mode), form)
                Image.open(io.BytesIO(content)).load()
            except Exception:
                continue  # not a combination that Pillow writes
            found.append(content)
    pillows = len(found)
    assert pillows > 40
    profile = profile_of("bgr")
    for samples, bits in PNG_KINDS:
        values = noise(rng, samples, bits)
        key = tuple(map(int, values[0, 0])) if samples in (1, 3) else None
        found += [
            write_png(values, bits, key=key),
            write_png(values, bits, interlaced=True, profile=profile if samples > 2 else None),
        ]
    for kind, bits, photometric, samples, extra in TIFF_KINDS:
        values = noise(rng, samples, bits, kind)
        for order in "<>" if bits != 12 else "<":
            found.append(write_tiff(values, bits, photometric, extra=extra, order=order))
    for bits, kind in ((16, "u"), (32, "f")):
        values = noise(rng, 3, bits, kind)
        for options in ({"compression": "lzw"}, {"tile": (16, 16)}, {"bigtiff": True}):
            predictor = "compression" in options
            found.append(tiff_of(values, photometric="rgb", predictor=predictor, **options))
        found.append(planar_of(values))
    for maxval in (100, 255, 1000, 65535):
        for samples in (1, 3):
            values = noise(rng, samples, 16) % maxval
            found += [write_pnm(values, maxval), write_pnm(values, maxval, plain=True)]
    for content in found[pillows:]:
        load_image(io.BytesIO(content))
    return found


@pytest.mark.parametrize("cases", [200, pytest.param(100_000, marks=pytest.mark.long)])
def test_mutated_images_are_read_or_refused_in_one_line(tmp_path, originals, cases, capsys):
    rng, path, refused = np.random.default_rng(cases), tmp_path / "image", 0
    for _ in range(cases):
        path.write_bytes(mutated(originals[rng.integers(len(originals))], rng))
        with limited(5), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it got over
            try:
                image = load_image(path, size=16, color=bool(rng.integers(2)))
                assert image.ndim == 3 and max(image.shape[:2]) == 16
                assert np.abs(image).max() <= 1
            except UserError as error:
                refused += 1
                assert str(error).startswith(str(path)) and "\n" not in str(error)
        for line in capsys.readouterr().err.splitlines():
            assert line.startswith(f"warning: {path}: ")
    assert 0 < refused < cases
