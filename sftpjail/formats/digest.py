"""SHA-256. hashlib brings libcrypto with it, so it waits until something is hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib


def sha256(content: bytes = b"") -> hashlib._Hash:
    """Return a hash of some bytes, to which more can be added; see hashlib."""
    import hashlib  # late: see above

    return hashlib.sha256(content)
