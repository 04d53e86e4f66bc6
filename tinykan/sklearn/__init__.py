"""Estimators with scikit-learn's conventions (needs scikit-learn, of the `sklearn` extra):
`KANRegressor` and `KANClassifier`, for tables of any scale, in pipelines, cross-validation and
searches of parameters. Inside the package, `import sklearn` is scikit-learn."""

from tinykan.errors import need

need("sklearn", extra="sklearn", purpose="tinykan.sklearn")

from tinykan.sklearn.estimators import KANClassifier, KANRegressor  # noqa: E402

__all__ = ["KANClassifier", "KANRegressor"]
