"""The command line as a property: parsed, or refused in one line."""

from __future__ import annotations

import io
import sys

from hypothesis import given
from hypothesis import strategies as st

from tinykan.commands.fit_image import Config
from tinykan.runs.command_line import parse

arguments = st.lists(
    st.one_of(
        st.sampled_from(
            ["--steps", "--lr", "--model", "--seed", "--out", "--resume", "--basis", "camera.png"]
        ),
        st.sampled_from(["0", "-1", "1e400", "nan", "siren", "", "--", "\0", "9" * 30, "é"]),
        st.text(max_size=6),
    ),
    max_size=6,
)


@given(arguments)
def test_command_lines_are_parsed_or_refused_in_one_line(arguments):
    stderr, sys.stderr = sys.stderr, io.StringIO()
    stdout, sys.stdout = sys.stdout, io.StringIO()
    try:
        assert isinstance(parse(Config, arguments), Config)
    except SystemExit as end:
        lines = sys.stderr.getvalue()
        assert end.code == 0 or (end.code == 2 and lines.count("\n") == 1 and lines[:-1].strip())
    finally:
        sys.stderr, sys.stdout = stderr, stdout
