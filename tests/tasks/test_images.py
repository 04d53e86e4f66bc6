"""Images of every odd kind, and damaged ones; sampling and rendering."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tinygrad import Context, Tensor, dtypes

from tests.helpers import limited, mutated
from tinykan import (
    MLP,
    ImageError,
    Predictor,
    UserError,
    load_image,
    pixel_sampler,
    render,
    save_image,
)
from tinykan.tasks.images import bicubic, coordinates, interpolate, render_rows

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 3 rows, 4 columns, 0 to 220


def at(step: int) -> Tensor:
    return Tensor([step], dtype=dtypes.int32)


def gray(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[..., None] / 127.5 - 1


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
    image = load_image(path, color=color)
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
    monkeypatch.setattr("tinykan.tasks.images.MAX_PIXELS", 4)
    with pytest.raises(ImageError, match="too large"):
        load_image(path)


def test_saving_rounds_to_eight_bits(tmp_path):
    for channels in (1, 3):
        image = np.random.default_rng(0).uniform(-1, 1, (5, 6, channels)).astype(np.float32)
        save_image(image, tmp_path / "out.png")
        again = load_image(tmp_path / "out.png", color=channels == 3)
        np.testing.assert_allclose(again, image, atol=0.5 / 127.5 + 1e-6)


@given(
    st.lists(
        st.tuples(st.floats(0, 3, width=32), st.floats(0, 2, width=32)), min_size=4, max_size=4
    )
)
def test_interpolation_is_bilinear(points):
    values = RAMP.astype(np.float32).reshape(-1, 1)
    position = np.array(points, dtype=np.float32)
    with Context(SPLIT_REDUCEOP=0):
        found = interpolate(Tensor(values), Tensor(position), 4, 3).numpy()[:, 0]
    # The ramp is linear, so interpolation is exact but for rounding of numbers up to 220.
    np.testing.assert_allclose(found, position @ [20, 80], atol=1e-4)


@pytest.mark.parametrize("between", [False, True])
def test_sampler_draws_what_is_there(between):
    image = gray(RAMP)
    sample = pixel_sampler(image, 512, seed=0, between=between)
    with Context(SPLIT_REDUCEOP=0):
        points, values = (t.numpy() for t in sample(at(3)))
    column, row = (points[:, 0] + 1) * 1.5, points[:, 1] + 1
    np.testing.assert_allclose(values[:, 0], (20 * column + 80 * row) / 127.5 - 1, atol=1e-5)
    cells = np.unique(np.stack([column, row], axis=-1).round(4), axis=0)
    assert len(cells) > 500 if between else len(cells) == 12
    assert points.min() >= -1 and points.max() <= 1


def test_samples_depend_on_the_step_and_the_seed_alone():
    image = gray(RAMP)

    def draw(seed: int, step: int) -> np.ndarray:
        return pixel_sampler(image, 64, seed, between=True)(Tensor([step], dtype=dtypes.int32))[
            0
        ].numpy()

    assert (draw(0, 5) == draw(0, 5)).all()
    assert (draw(0, 5) != draw(0, 6)).mean() > 0.99
    assert (draw(0, 5) != draw(1, 5)).mean() > 0.99


def test_rendering_at_any_size_in_bounded_pieces():
    model = MLP([2, 4, 3])
    predict = Predictor(model, chunk=50)
    image = render(predict, 17, 9)
    assert image.shape == (9, 17, 3)
    expected = model(Tensor(coordinates(17, 9))).numpy().reshape(9, 17, 3)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    assert max(len(rows) for rows in render_rows(predict, 17, 9, chunk=50)) == 50


def test_coordinates_run_from_the_first_center_to_the_last():
    points = coordinates(3, 2)
    expected = [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]
    np.testing.assert_array_equal(points, expected)


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F")


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    """A small image in every format that Pillow both writes and reads, in each mode it takes."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of a format
    Image.init()
    rng, found = np.random.default_rng(0), []
    noise = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    for form in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in MODES:
            buffer = io.BytesIO()
            try:
                noise.convert(mode).save(buffer, form)
                Image.open(io.BytesIO(buffer.getvalue())).load()
            except Exception:
                continue  # not a combination that Pillow writes
            found.append(buffer.getvalue())
    assert len(found) > 40
    return found


@pytest.mark.parametrize("cases", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_images_are_read_or_refused_in_one_line(tmp_path, originals, cases):
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
    assert 0 < refused < cases


@pytest.mark.parametrize("shape", [(9, 13), (10, 14)])
def test_bicubic_enlargement_is_exact_on_quadratics(shape):
    """Keys 1981, sec. IV: third-order convergence, so inside the image, squares are met."""
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    image = (0.3 * x**2 - 0.1 * x * y + 0.2 * y**2 + x - y)[..., None].astype(float)
    enlarged = bicubic(image[::2, ::2], shape)
    assert enlarged.shape == image.shape
    np.testing.assert_allclose(enlarged[2:-4, 2:-4], image[2:-4, 2:-4], atol=1e-12)
    np.testing.assert_array_equal(enlarged[::2, ::2], image[::2, ::2])
