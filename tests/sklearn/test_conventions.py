"""scikit-learn's own checks of estimators: all of them pass, without exceptions."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from tinykan.sklearn import KANClassifier, KANRegressor

# In every test run, on small networks. The others, most of which fit several times, are long.
QUICK = {
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_fit_check_is_fitted",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_valid_tag_types",
}


def checks(quick: bool, **parameters: object) -> list:
    return [
        pytest.param(*pair, id=f"{type(pair[0]).__name__}-{pair[1].func.__name__}")
        for estimator in (KANRegressor(**parameters), KANClassifier(**parameters))
        for pair in estimator_checks_generator(estimator)
        if not quick or pair[1].func.__name__ in QUICK
    ]


@pytest.mark.parametrize(("estimator", "check"), checks(quick=True, hidden=4, steps=20))
def test_conventions_of_small_networks(estimator, check):
    check(estimator)


@pytest.mark.long
@pytest.mark.parametrize(("estimator", "check"), checks(quick=False))
def test_all_conventions(estimator, check):
    check(estimator)
