"""The programs of the documentation's pages run, and print what the pages say they print."""

from __future__ import annotations

import re

import pytest

from scripts import pages
from tests.helpers import ROOT, assert_same_output, some
from tinykan import UserError


@pytest.mark.parametrize("page", some(pages.PAGES, "how-to/save.md"))
def test_the_output_on_a_page(page, tmp_path):
    found, outputs = pages.blocks(page), pages.run_page(page, tmp_path)
    assert found and any(block.printed for block in found)
    for block, printed in zip(found, outputs, strict=True):
        if block.language == "python" or block.printed:
            assert_same_output(printed, block.printed or "")
    folder = pages.PAGES[page].parent
    for name in re.findall(r"!\[.*?\]\((.*?)\)", pages.PAGES[page].read_text()):
        assert (folder / name).exists() and (tmp_path / (folder / name).name).exists()


def test_every_program_of_a_page_is_run():
    """No code is left out because its block is written in another way."""
    for page, path in pages.PAGES.items():
        fences = re.findall(r"^```(\w+)", path.read_text(), re.MULTILINE)
        run = [block.language for block in pages.blocks(page)]
        assert [language for language in fences if language != "console"] == run, page


def test_a_program_that_fails_is_named(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```sh\ntinykan render none\n```\n")
    monkeypatch.setitem(pages.PAGES, "page.md", page)
    with pytest.raises(UserError, match="no such file"):
        pages.run_page("page.md", tmp_path)


def test_an_unknown_page_names_the_others():
    with pytest.raises(UserError, match=r"unknown page 'tutorials.md'; choose from tutorial.md, "):
        pages.blocks("tutorials.md")


def test_the_reference_has_every_public_name():
    """Of the package by its own entry, of the wings by the entry of the wing."""
    import tinykan

    reference = ROOT / "docs" / "reference"
    entries = re.findall(r"^::: (\S+)", (reference / "index.md").read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(f"tinykan.{name}" for name in tinykan.__all__)
    wings = {path.parent.name for path in (ROOT / "tinykan").glob("*/__init__.py")}
    for wing in wings - {"commands", "kernels", "variants"}:  # for shells, internal, and in tinykan
        assert f"\n::: tinykan.{wing}\n" in (reference / f"{wing}.md").read_text()
