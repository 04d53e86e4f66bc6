"""`tinykan export` writes what the functions of the wing give."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinykan import KAN, Siren, load_image, save, save_image
from tinykan.commands.export import Config, main
from tinykan.errors import UserError
from tinykan.export import lowered
from tinykan.export.c import c_source
from tinykan.export.page import page
from tinykan.export.shader import glsl_source, wgsl_source


@pytest.fixture
def run(tmp_path):
    """A run's folder, as `fit-image` leaves it."""
    save(Siren([2, 4, 1]), tmp_path / "model.safetensors")
    rng = np.random.default_rng(0)
    save_image(rng.uniform(-1, 1, (6, 8)).astype(np.float32), tmp_path / "cat.png")
    (tmp_path / "config.json").write_text(json.dumps({"image": str(tmp_path / "cat.png")}))
    return tmp_path


@pytest.mark.parametrize("source", [glsl_source, wgsl_source])
def test_shaders(run, source, capsys):
    kind = source.__name__.split("_")[0]
    main(Config(run=str(run), to=kind))
    program = lowered(Siren([2, 4, 1]))
    assert (run / f"model.{kind}").read_text() == source(program)
    assert f"in {run / f'model.{kind}'}" in capsys.readouterr().out
    file = str(run / "a.txt")
    main(Config(run=str(run / "model.safetensors"), to=kind, out=file, name="cat", main=True))
    assert (run / "a.txt").read_text() == source(program, "cat", main=True)


def test_c(run):
    main(Config(run=str(run), to="c", name="cat", main=True))
    written = (run / "model.c").read_text()
    expected = c_source(lowered(Siren([2, 4, 1])), "cat", main=True, version="0")
    assert written.splitlines()[1:] == expected.splitlines()[1:]


def test_a_page_of_a_run_has_its_image(run):
    main(Config(run=str(run)))
    expected = page(lowered(Siren([2, 4, 1])), "cat", [load_image(run / "cat.png")])
    assert (run / "model.html").read_text() == expected


def test_a_page_of_slices(tmp_path):
    save(KAN([3, 2, 1]), tmp_path / "cat.safetensors")
    file = str(tmp_path / "cat.safetensors")
    with pytest.raises(UserError, match="the page needs to know how many"):
        main(Config(run=file))
    main(Config(run=file, slices=5))
    assert (tmp_path / "cat.html").read_text() == page(lowered(KAN([3, 2, 1])), "cat", slices=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"main": True}, "--main and --name are of c, glsl and wgsl"),
        ({"name": "cat"}, "--main and --name are of c, glsl and wgsl"),
        ({"to": "glsl", "slices": 3}, "--slices 3 is of html"),
    ],
)
def test_options_that_do_not_go_together(run, options, message):
    with pytest.raises(UserError, match=message) as raised:
        main(Config(run=str(run), **options))
    assert raised.value.status == 2
