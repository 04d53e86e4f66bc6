"""A lock on a file, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

from tinykan.errors import warn

# What file systems say that have no locks, such as some network shares.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class FileLock:
    """Made and held from the beginning. Raises BlockingIOError if another process, or another
    FileLock of this one, holds it, and OSError if the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._file: BinaryIO | None = path.open("ab")
            try:
                _lock(self._file.fileno())
            except OSError as error:
                if error.errno in UNSUPPORTED:
                    warn(f"{path.parent} cannot be locked; see that no other run uses it")
                    return
                self._file.close()
                raise
            if self._is_in_place(self._file):
                return
            self._file.close()  # its last holder has just removed it

    def release(self) -> None:
        """Removes the file and ends the lock; does nothing the second time."""
        if self._file is not None:
            # First: whoever opened it before sees that it has gone. Windows keeps files in use.
            with contextlib.suppress(OSError):
                if self._is_in_place(self._file):
                    self.path.unlink()
            self._file.close()
            self._file = None

    def _is_in_place(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
