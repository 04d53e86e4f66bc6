"""Scripts, each run by its path; a package, so that tests can import them."""
