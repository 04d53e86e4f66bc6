"""Tests, in the layout of the package: a file for each file of the core, a folder for each wing."""
