"""SHA-256, from a small C module of Python's: hashlib brings libcrypto with it, 3 milliseconds."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol


class Hash(Protocol):
    """A hash of some bytes, to which more can be added; see hashlib."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the hash of what came so far, as 64 hexadecimal digits."""


def sha256(content: bytes = b"") -> Hash:
    """Return a hash of some bytes."""
    for name in ("_sha2", "_sha256"):  # since Python 3.12, and before
        try:
            made: Hash = import_module(name).sha256(content)
        except ImportError:
            continue
        return made
    import hashlib  # late: see above

    return hashlib.sha256(content)
