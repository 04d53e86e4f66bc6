"""Scripts, each run by its path (`python scripts/fit_image.py`); a package, so that tests import them."""
