"""Files in users' directories, which their owners can replace at any time."""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from ..errors import SftpJailError
from ..formats import fixes
from ..model import OTHERS_WRITE, components, inside
from ..system.files import DIRECTORY, PLAIN, open_parent
from .accounts import People
from .files import Files


class Owned:
    """Read files in users' directories without following links that users made."""

    def __init__(self, files: Files, people: People) -> None:
        self.files = files
        self.lstat, self.trusted_path = files.lstat, files.trusted_path
        self.owner_name = people.owner_name

    def read(self, path: str, uid: int, home: str = "/", limit: int = 1 << 20) -> bytes | None:
        """Return the content of a file in a user's directory, or None if it does not exist.

        The path is walked without following a link that a user could have made. The file must be a
        regular one with a single name that belongs to the user or root, so that a link to
        /etc/shadow gives an error and not its content. A file that third parties can write is
        refused, because sshd would not trust it either (safe_path in misc.c).

        Args:
            path: the file.
            uid: its owner.
            home: third parties must not be able to write in the directories from here to the file;
                "/" skips this check.
            limit: in bytes; a larger file is refused.

        Raises:
            SftpJailError: it exists and is not such a file.
        """
        wide = self._wide_directory(path, home)
        fd = self._open_owned(path)
        if fd is None:
            return None
        try:
            found = self.files.fstat(fd)
            regular = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if not regular or found.st_uid not in (0, uid):
                wrong = f"it is not a file of uid {uid} with one name"
                raise SftpJailError(f"will not read {path}: {wrong}")
            if found.st_mode & OTHERS_WRITE:
                wide = path
            if wide:
                fix = fixes.on(wide, self, "chmod go-w {}")
                fix = fix or fixes.as_owner(wide, self, "chmod", "go-w", wide)
                raise SftpJailError(f"will not read {path}: others can write {wide}", fix)
            if found.st_size > limit:
                raise SftpJailError(f"will not read {path}: it has more than {limit} bytes")
            return os.read(fd, limit)
        finally:
            os.close(fd)

    def _open_owned(self, path: str) -> int | None:
        """Open PATH for reading without following a link; return None if it does not exist."""
        try:
            directory, name = open_parent(self.files.root + path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            why = "is a link or not a directory" if error.errno == errno.ELOOP else error.strerror
            raise SftpJailError(f"cannot read {path}: a directory on the way {why}") from error
        try:
            return os.open(name, PLAIN, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SftpJailError(f"cannot read {path}: {error.strerror}") from error
        finally:
            os.close(directory)

    def _wide_directory(self, path: str, home: str) -> str:
        """Return the first directory from a home to PATH that third parties can write, or ""."""
        if home == "/":
            return ""
        for directory in components(posixpath.dirname(path)):
            found = self.files.stat(directory)
            if found and found.st_mode & OTHERS_WRITE and inside(directory, home):
                return directory
        return ""

    def names(self, path: str) -> list[str]:
        """Return the names in a user's directory, following no link of the user, or none."""
        try:
            directory, name = open_parent(self.files.root + path)
        except (OSError, SftpJailError):
            return []
        try:
            fd = os.open(name, DIRECTORY, dir_fd=directory)
        except OSError:
            return []
        finally:
            os.close(directory)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)
