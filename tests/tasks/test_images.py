"""Sampling, rendering and writing images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Context, Tensor, dtypes

from tinykan import (
    MLP,
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


@pytest.mark.parametrize("shape", [(9, 13), (10, 14)])
def test_bicubic_enlargement_is_exact_on_quadratics(shape):
    """Keys 1981, sec. IV: third-order convergence, so inside the image, squares are met."""
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    image = (0.3 * x**2 - 0.1 * x * y + 0.2 * y**2 + x - y)[..., None].astype(float)
    enlarged = bicubic(image[::2, ::2], shape)
    assert enlarged.shape == image.shape
    np.testing.assert_allclose(enlarged[2:-4, 2:-4], image[2:-4, 2:-4], atol=1e-12)
    np.testing.assert_array_equal(enlarged[::2, ::2], image[::2, ::2])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 2), np.float32), r"shape \(4, 5, 2\)"),
        (np.zeros((4, 5, 3, 1), np.float32), r"shape \(4, 5, 3, 1\)"),
        (np.zeros((0, 5, 1), np.float32), r"shape \(0, 5, 1\)"),
        (np.zeros(5, np.float32), r"shape \(5,\)"),
        (np.zeros((4, 5, 3), np.uint8), "type uint8: floats in"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, image, message):
    for use in (lambda: pixel_sampler(image, 4, 0), lambda: save_image(image, tmp_path / "a.png")):
        with pytest.raises(UserError, match=message):
            use()


def test_an_image_of_two_dimensions_has_one_channel(tmp_path):
    flat = gray(RAMP)[..., 0].astype(np.float64)
    x, y = pixel_sampler(flat, 8, 0)(at(0))
    assert x.shape == (8, 2) and y.shape == (8, 1) and y.dtype == dtypes.float32
    save_image(flat, tmp_path / "a.png")
    np.testing.assert_allclose(load_image(tmp_path / "a.png"), gray(RAMP), atol=1e-6)
    with pytest.raises(UserError, match="finite"):
        pixel_sampler(np.full((3, 3), np.nan), 4, 0)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4.5, 4)])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(UserError, match="must be a whole number"):
        render(lambda points: points[:, :1], *size)
