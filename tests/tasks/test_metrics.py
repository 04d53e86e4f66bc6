"""Metrics against SciPy's filters and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tinykan import UserError
from tinykan.tasks import metrics


def test_psnr_of_a_known_error():
    target = np.zeros((4, 4, 1))
    assert metrics.psnr(target + 0.2, target) == pytest.approx(20.0)  # 0.1 of the range [0, 1]
    assert metrics.psnr(target, target) == math.inf
    assert metrics.mse(target + 0.2, target) == pytest.approx(0.04)


def test_ssim_matches_its_definition_with_scipys_gaussian():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (24, 31, 3))
    noisy = np.clip(target + rng.normal(0, 0.3, target.shape), -1, 1)

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=3.5, axes=(0, 1))[5:-5, 5:-5]

    x, y = (noisy + 1) / 2, (target + 1) / 2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert metrics.ssim(noisy, target) == pytest.approx(expected.mean(), abs=1e-12)


def test_metrics_do_not_depend_on_the_bands(monkeypatch):
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (70, 40, 3))
    noisy = target + rng.normal(0, 0.3, target.shape)
    whole = metrics.mse(noisy, target), metrics.ssim(noisy, target)
    monkeypatch.setattr(metrics, "ROWS", 7)
    assert (metrics.mse(noisy, target), metrics.ssim(noisy, target)) == pytest.approx(whole)


@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 9, 1), (12, 12, 3)])
def test_ssim_of_equal_images_of_any_size_is_one(shape):
    image = np.random.default_rng(0).uniform(-1, 1, shape)
    assert metrics.ssim(image, image) == pytest.approx(1.0)


@pytest.mark.parametrize("score", [metrics.mse, metrics.psnr, metrics.ssim])
@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 3), (1, 12, 1), (12, 13, 1)])
def test_scores_of_different_shapes_are_refused(score, shape):
    with pytest.raises(UserError, match=r"target of shape \(12, 12, 1\)"):
        score(np.zeros(shape), np.zeros((12, 12, 1)))
