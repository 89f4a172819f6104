"""Names for what is cached: a short hash of everything the cached thing depends on.

hashlib loads OpenSSL (4 ms); BLAKE2 (RFC 7693) is a module of its own in CPython.
"""

from __future__ import annotations

from _blake2 import blake2b

DIGEST_BYTES = 8


def stamp(*parts: object, digest_bytes: int = DIGEST_BYTES) -> str:
    """Return hexadecimal digits that differ when any part's text differs."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=digest_bytes).hexdigest()
