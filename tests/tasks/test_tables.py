"""Tables in text files: what is read has the values that were written, and what cannot be known is
one line."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import mutated
from tinykan import UserError
from tinykan.tasks.tables import read_table

VALUES = np.array([[0.27, -0.46, 1.5], [-0.91, 2.0, -3e-5], [0.5, 0.25, 4.0]])
PLAIN = "0.27,-0.46,1.5\n-0.91,2.0,-3e-5\n0.5,0.25,4.0\n"
NAMED = "a,b,y\n" + PLAIN
QUOTED = '"' + NAMED.strip().replace(",", '","').replace("\n", '"\n"') + '"\n'
INDEXED = ",a,b,y\n0,0.27,-0.46,1.5\n1,-0.91,2,-3e-5\n2,.5,.25,4\n"


def read(tmp_path, content: str | bytes, **options):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


def refusal(tmp_path, content: str | bytes, **options) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, content, **options)
    text = str(error.value)
    assert "\n" not in text and "table.csv" in text
    return text


READ = {
    "plain": NAMED,
    "byte-order mark": "\ufeff" + NAMED,
    "UTF-16": NAMED.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + NAMED.encode("utf-16-be"),
    "UTF-32": NAMED.encode("utf-32"),
    "quoted names": '"a","b","y"\n' + PLAIN,
    "everything quoted": QUOTED,
    "single quotes": QUOTED.replace('"', "'"),
    "blanks after commas": NAMED.replace(",", ", "),
    "blanks before commas": NAMED.replace(",", " ,"),
    "semicolons": NAMED.replace(",", ";"),
    "tabs": NAMED.replace(",", "\t"),
    "bars": NAMED.replace(",", "|"),
    "blanks": NAMED.replace(",", " "),
    "aligned by blanks": "  a    b    y\n 0.27 -0.46 1.5 \n-0.91   2   -3e-5\n .5 0.25 4.0",
    "aligned by tabs": NAMED.replace(",", "\t\t"),
    "decimal commas": NAMED.replace(",", ";").replace(".", ","),
    "decimal commas and tabs": NAMED.replace(",", "\t").replace(".", ","),
    "decimal commas and blanks": NAMED.replace(",", " ").replace(".", ","),
    "declared by Excel": "sep=;\n" + NAMED.replace(",", ";"),
    "Windows": NAMED.replace("\n", "\r\n"),
    "old Macintosh": NAMED.replace("\n", "\r"),
    "no last end": NAMED[:-1],
    "comments": "# by the lab, in 2020\n#\n" + NAMED + "# the end\n",
    "empty lines": "\n" + NAMED.replace("\n", "\n\n") + "\n \n",
    "empty rows of a spreadsheet": NAMED + ",,\n,,\n",
    "separators at the ends": NAMED.replace("\n", ",\n"),
    "separators at the ends of numbers": "a,b,y\n" + PLAIN.replace("\n", ",\n"),
    "pandas' index": INDEXED,
    "an index from 1": '"","a","b","y"\n1,0.27,-0.46,1.5\n2,-0.91,2,-3e-5\n3,.5,.25,4\n',
    "the index of a selection": ",a,b,y\n7,0.27,-0.46,1.5\n2,-0.91,2,-3e-5\n31,.5,.25,4\n",
    "an index that was read as a column": "Unnamed: 0" + INDEXED,
    "R": '"a" "b" "y"\n"1" 0.27 -0.46 1.5\n"2" -0.91 2 -3e-05\n"3" 0.5 0.25 4\n',
    "NumPy's names": "# a b y\n2.7e-01 -4.6e-01 1.5e+00\n-0.91 2 -3e-05\n0.5 0.25 4\n",
    "a constant column": "a,c,b,y\n0.27,3,-0.46,1.5\n-0.91,3,2,-3e-5\n.5,3,.25,4\n",
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_written_is_read(tmp_path, kind):
    table = read(tmp_path, READ[kind])
    np.testing.assert_array_equal(table.x, VALUES[:, :2])
    np.testing.assert_array_equal(table.y, VALUES[:, 2:])
    assert (table.inputs, table.target) == (["a", "b"], "y")
    assert table.x.dtype == table.y.dtype == np.float64


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("plain", ""),
        ("comments", ""),
        ("pandas' index", "left out, the first column, which has no name and numbers the rows"),
        ("R", "left out, the numbers of the rows"),
        ("NumPy's names", "names from the comment in row 1: a, b, y"),
        ("a constant column", "left out, the same in every row: c"),
    ],
)
def test_what_was_done_beside_reading_is_said_in_one_line(tmp_path, capsys, kind, said):
    read(tmp_path, READ[kind])
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == bool(said)


def test_without_a_header_no_row_is_lost(tmp_path, capsys):
    table = read(tmp_path, PLAIN)
    np.testing.assert_array_equal(table.x, VALUES[:, :2])
    assert (table.inputs, table.target) == (["x1", "x2"], "y")
    assert "no header: the columns are named x1, x2, y" in capsys.readouterr().err


def test_columns_that_pandas_numbers_are_names(tmp_path):
    table = read(tmp_path, ",0,1,2\n0,0.27,-0.46,1.5\n1,-0.91,2,-3e-5\n2,.5,.25,4\n")
    np.testing.assert_array_equal(np.hstack([table.x, table.y]), VALUES)
    assert (table.inputs, table.target) == (["x0", "x1"], "x2")


def test_the_target_may_be_any_column(tmp_path):
    table = read(tmp_path, NAMED, target="a")
    np.testing.assert_array_equal(table.x, VALUES[:, 1:])
    np.testing.assert_array_equal(table.y, VALUES[:, :1])
    assert (table.inputs, table.target) == (["b", "y"], "a")
    assert "no column 'c'; choose from 'a', 'b', 'y'" in refusal(tmp_path, NAMED, target="c")


@pytest.mark.parametrize(
    ("names", "safe"),
    [
        ("E,lambda,I", ["E_", "lambda_"]),
        ("pi,S,y", ["pi_", "S_"]),
        ("beta,max,y", ["beta_", "max_"]),
        ("drag (N),2nd,y", ["drag_N", "x2nd"]),
        ("a b,a-b,y", ["a_b", "a_b_"]),
        ("a b,a_b,y", ["a_b_", "a_b"]),
        ("2019,2020,y", ["x2019", "x2020"]),
        ("λ,température,y", ["λ", "température"]),
        ('"two\nlines",%,y', ["two_lines", "x"]),
        ("x2,,y", ["x2", "x2_"]),
    ],
)
def test_names_are_what_a_formula_can_have(tmp_path, names, safe):
    import sympy

    table = read(tmp_path, names + "\n" + PLAIN)
    np.testing.assert_array_equal(table.x, VALUES[:, :2])
    assert table.inputs == safe
    for name in [*table.inputs, table.target]:
        assert sympy.sympify(name) == sympy.Symbol(name)
    first, second = map(sympy.Symbol, safe)
    expression = first**2 + 0.5 * second * sympy.sin(first)
    assert sympy.sympify(str(expression)) == expression


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        (",,\n,,\n", "the file is empty"),
        ("a,b,y\n", "no row of numbers"),
        ("a,b,y\n1,2,3\n", "1 row of numbers; at least 2"),
        ("y\n1\n2\n", "one column"),
        (",y\n0,1\n1,2\n", "one column beside the index"),
        ("a,a,y\n1,2,3\n4,5,6\n", "columns of the same name, 'a'"),
        ("a,y,a,y\n1,2,3,4\n4,5,6,7\n", "columns of the same name, 'a', 'y'"),
        (NAMED + "1,2\n", "row 5 has 2 values for 3 columns separated by a comma"),
        (NAMED + "1,2,3,4\n", "row 5 has 4 values for 3 columns"),
        (
            "# by me\n\na,b,y\n1,2,3\n1,,3\n",
            "a value is missing, the first is '' in row 5, column 'b'",
        ),
        ("a,b,y\n1,NA,3\n?,2,3\n1,2,nan\n", "3 values are missing, the first is 'NA' in row 2"),
        ("1,NA,3\n1,2,3\n", "a value is missing, the first is 'NA' in row 1, column 'x2'"),
        ("a,b,y\n1,null,3\n4,5,6\n", "a value is missing"),
        ("a,b,y\n1,2,3\n4,five,6\n", "'five' in row 3, column 'b' is not a number"),
        ("a,b,y\n1,2,3\n4,1_000,6\n", "'1_000' in row 3"),
        ("a,b,y\n1,2,3\n4,٣,6\n", "'٣' in row 3, column 'b' is not a number"),
        ("a,b,y\n1,2,3\n4,inf,6\n", "'inf' in row 3, column 'b' is not a number"),
        ("a,b,y\n1,2,3\n4,1e999,6\n", "'1e999' in row 3, column 'b' is too large"),
        ("0.5,o.7,1.2\n1,2,3\n", "row 1 is neither names nor numbers: it has 0.5 beside 'o.7'"),
        ('a,b,y\n"1,234.5",2,3\n4,5,6\n', "'1,234.5' in row 2, column 'a'; write it as 1234.5"),
        ('a,b,y\n"1,5",2,3\n"2,5",5,6\n', "a decimal comma where commas separate the columns"),
        ("a;b;y\n1.234,5;2,5;3\n4;5;6\n", "'1.234,5' in row 2"),
        ("a;b;y\n1'234;2;3\n4;5;6\n", '"1\'234" in row 2'),
        ("a;b;y\n1,5;2;3\n4;5.5;6\n", "a decimal comma ('1,5' in row 2, column 'a') and a decimal"),
        ("a;b;y\n1,234;5;6\n7;2,345;9\n", "a thousands separator or a decimal comma in '1,234'"),
        ("a;b;y\n1,234,567;5;6\n7;2,345;9\n", "a thousands separator"),
        ("a,b,y\n1,2,3\n4,5,3\n", "the target y is 3 in every row; there is no formula"),
        ("a,b,y\n1,2,3\n1,2,4\n", "every input is constant: a, b"),
        ('a,b,y\n1,"2,3\n4,5,6\n', "not a readable table of numbers (row 3"),
        (b"a,b,y\n1,2\0,3\n", "a binary file"),
        (NAMED.encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("température,y\n1,2\n3,4\n".encode("latin-1"), "not a text in UTF-8 (byte 0xe9)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text in UTF-8"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_line(tmp_path, content, message):
    assert message in refusal(tmp_path, content)


def test_what_is_no_file_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", f"{tmp_path}/a\0b"):
        with pytest.raises(UserError, match="not a readable file") as error:
            read_table(path)
        assert "\n" not in str(error.value)


# The module csv writes with these, in this encoding, with this in the place of the decimal point.
DIALECTS = {
    "excel": ({}, "utf-8", "."),
    "excel-tab": ({"dialect": "excel-tab"}, "utf-8", "."),
    "unix": ({"dialect": "unix"}, "utf-8", "."),
    "Excel's UTF-8": ({"quoting": csv.QUOTE_NONNUMERIC}, "utf-8-sig", "."),
    "Excel's Unicode": ({"delimiter": "\t"}, "utf-16", "."),
    "semicolons": ({"delimiter": ";"}, "utf-8", "."),
    "European": ({"delimiter": ";"}, "utf-8-sig", ","),
    "European, tabs": ({"delimiter": "\t", "lineterminator": "\n"}, "utf-8", ","),
    "bars": ({"delimiter": "|", "lineterminator": "\r"}, "utf-8", "."),
    "blanks": ({"delimiter": " ", "lineterminator": "\n"}, "utf-8", "."),
}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text('abcXYZEI λ(%)[]/,;|\t"^2', min_size=1, max_size=8).filter(
    lambda name: any(c.isalpha() for c in name)
)


@st.composite
def tables(draw) -> tuple[list[str], np.ndarray]:
    """Names and numbers `[rows, columns]`, no column constant."""
    columns, rows = draw(st.integers(2, 4)), draw(st.integers(2, 5))
    names = draw(st.lists(NAMES, min_size=columns, max_size=columns, unique_by=str.strip))
    values = draw(st.lists(NUMBERS, min_size=rows * columns, max_size=rows * columns))
    found = np.array(values).reshape(rows, columns)
    assume((found != found[0]).any(axis=0).all())
    return names, found


def assert_read(path, names: list[str], values: np.ndarray) -> None:
    table = read_table(path)
    np.testing.assert_array_equal(np.hstack([table.x, table.y]), values)
    found = [*table.inputs, table.target]
    assert len(set(found)) == len(names) and all(name.isidentifier() for name in found)
    kept = [(name, new) for name, new in zip(names, found, strict=True) if name in ("a", "X", "λ")]
    assert all(name == new for name, new in kept)


EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(2000, marks=pytest.mark.long)])


@EXAMPLES
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.filterwarnings("ignore")
def test_round_trips_in_ten_dialects(tmp_path, dialect, examples):
    keywords, encoding, point = DIALECTS[dialect]
    path = tmp_path / "table.csv"

    @settings(max_examples=examples)
    @given(tables(), st.booleans())
    def check(table, header):
        names, values = table
        if dialect == "blanks":  # csv does not quote tabs
            names = [name.replace("\t", "^") for name in names]
            assume(len(set(names)) == len(names))
        texts = [[repr(float(value)).replace(".", point) for value in row] for row in values]
        if point == ",":  # with three decimals all numbers might be thousands
            assume(any(len(t.partition(",")[2]) != 3 for row in texts for t in row if "," in t))
        file = io.StringIO(newline="")
        csv.writer(file, **keywords).writerows(([names] if header else []) + texts)
        path.write_bytes(file.getvalue().encode(encoding))
        plain = [*(f"x{n + 1}" for n in range(len(names) - 1)), "y"]
        assert_read(path, names if header else plain, values)

    check()


@EXAMPLES
@pytest.mark.parametrize("separator", [" ", ",", ";", "\t"])
def test_round_trips_of_numpy(tmp_path, separator, examples):
    path = tmp_path / "table.csv"

    @settings(max_examples=examples)
    @given(tables(), st.sampled_from(["# ", "", None]))
    def check(table, comments):
        names, values = [f"v{n}" for n in range(table[1].shape[1])], table[1]
        header = {} if comments is None else {"header": separator.join(names), "comments": comments}
        np.savetxt(path, values, fmt="%.17g", delimiter=separator, **header)
        assert_read(path, names, values)
        if header:
            assert [*(found := read_table(path)).inputs, found.target] == names

    check()


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_damaged_tables_are_read_or_refused_in_one_line(tmp_path, count):
    rng, path, kinds = np.random.default_rng(0), tmp_path / "table.csv", list(READ.values())
    for _ in range(count):
        content = kinds[rng.integers(len(kinds))]
        path.write_bytes(mutated(content.encode() if isinstance(content, str) else content, rng))
        try:
            table = read_table(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(table.x).all() and np.isfinite(table.y).all()
            assert table.y.shape == (len(table.x), 1) and len(table.inputs) == table.x.shape[1] > 0
