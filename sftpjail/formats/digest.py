"""SHA-256, from a small C module of Python's: hashlib brings libcrypto with it, 3 milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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
    return _constructor()(content)


@cache
def _constructor() -> Callable[[bytes], Hash]:
    for name in ("_sha2", "_sha256", "hashlib"):  # since Python 3.12, before, and always
        try:
            found: Callable[[bytes], Hash] = import_module(name).sha256
        except ImportError:
            continue
        return found
    raise AssertionError("Python has no hashlib")
