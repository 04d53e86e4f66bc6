"""The errors that a user can cause: one line each, shown by the scripts without a traceback."""


class UserError(ValueError):
    """What was wrong, its value, and what is allowed, in one line."""
