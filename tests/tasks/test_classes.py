"""Confusion matrices against scikit-learn's, and their picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as reference

from tinykan import UserError
from tinykan.runs.figures import confusion_figure
from tinykan.tasks import confusion

RNG = np.random.default_rng(0)
ANIMALS = np.array(["dog", "cat", "eel", "bee"])


@pytest.mark.parametrize("kind", [np.int64, np.uint8, str, bool, float])
@pytest.mark.parametrize("count", [1, 40, 1000])
def test_counts_and_shares_are_scikit_learns(kind, count):
    true, predicted = RNG.integers(0, 2 if kind is bool else 4, (2, count))
    if kind is str:
        true, predicted = ANIMALS[true], ANIMALS[predicted]
    true, predicted = true.astype(kind), predicted.astype(kind)
    found = confusion(predicted, true)
    np.testing.assert_array_equal(found.counts, reference.confusion_matrix(true, predicted))
    assert found.names == [str(c) for c in np.unique(np.r_[true, predicted]).tolist()]
    assert found.accuracy == pytest.approx(reference.accuracy_score(true, predicted), rel=1e-14)
    present = np.isin(np.unique(np.r_[true, predicted]), true)
    recalls = reference.recall_score(true, predicted, average=None, zero_division=np.nan)
    np.testing.assert_allclose(found.class_accuracies, recalls, rtol=1e-14)
    np.testing.assert_allclose(found.shares[present].sum(axis=1), 1, rtol=1e-14)
    assert np.isnan(found.shares[~present]).all()


def test_outputs_of_a_network_are_classes_by_their_largest():
    true, outputs = RNG.integers(0, 3, 50), RNG.normal(size=(50, 4))
    found = confusion(outputs, true[:, None], ANIMALS)
    expected = reference.confusion_matrix(true, outputs.argmax(axis=1), labels=range(4))
    np.testing.assert_array_equal(found.counts, expected)
    assert found.names == ANIMALS.tolist()


def test_a_table_has_every_count_in_its_place():
    lines = str(confusion(["b", "b", "a"], ["a", "b", "a"], ["first", "second class"])).split("\n")
    assert lines[0].split() == [
        "true",
        "\\",
        "predicted",
        "first",
        "second",
        "class",
        "rows",
        "accuracy",
    ]
    assert lines[1].split() == ["first", "1", "1", "2", "50.0%"]
    assert lines[2].split() == ["second", "class", "0", "1", "1", "100.0%"]
    assert lines[3].split() == ["all", "1", "2", "3", "66.7%"]
    assert len({len(line) for line in lines}) == 1
    assert str(confusion([1, 1], [1, 1], ["a", "b"])).split("\n")[1].split()[-1] == "-"


@pytest.mark.parametrize(
    ("predicted", "true", "names", "message"),
    [
        ([0, 1], [0, 1, 1], None, "both must be as many"),
        ([], [], None, r"predictions of shape \(0,\) for classes of shape \(0,\)"),
        ([0, 1], [[0, 1], [1, 0]], None, r"classes of shape \(2, 2\): classes are \[n\]"),
        ([0, 1], [0, 2], ["a", "b"], "2 names for 3 classes"),
        (np.eye(2), [0, 2], None, "class 2 for 2 outputs: 0 to 1 are needed"),
        (np.eye(2), [0, -1], None, "class -1 for 2 outputs: 0 to 1 are needed"),
        (np.eye(2), [0, 1], ["a"], "1 names for 2 classes"),
        (["x", "y"], ["x", "x"], ["a", "b", "c"], "3 names for 2 classes"),
    ],
)
def test_what_is_no_classification_is_one_line(predicted, true, names, message):
    with pytest.raises(UserError, match=message) as error:
        confusion(predicted, true, names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a very long name", "b", "another long one"]])
def test_the_picture_has_counts_shares_and_names(names, tmp_path):
    true = np.repeat([0, 1, 2], [1000, 4, 1])
    predicted = true.copy()
    predicted[[0, 1000]] = 2
    figure = confusion_figure(confusion(predicted, true, names))
    axis = figure.axes[0]
    texts = {t.get_position(): t.get_text() for t in axis.texts}
    assert texts == {
        (0, 0): "999\n99.9%", (2, 0): "1\n0.1%", (1, 1): "3\n75%", (2, 1): "1\n25%",
        (2, 2): "1\n100%",
    }  # fmt: skip
    assert [t.get_text() for t in axis.get_xticklabels()] == names
    totals = [f"{name} ({n})" for name, n in zip(names, (1000, 4, 1), strict=True)]
    assert [t.get_text() for t in axis.get_yticklabels()] == totals
    assert axis.get_title() == "accuracy 99.8%"
    figure.savefig(tmp_path / "confusion.png", dpi=110)
    boxes = [t.get_window_extent() for t in axis.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
