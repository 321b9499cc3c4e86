"""DEBUG DIGEST exactly as Redis 7.0 computes it (debug.c, computeDatasetDigest).

A digest is 20 bytes. `xor` is for elements whose order means nothing, `mix` for sequences.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

from kvcore.keyspace import Database, Keyspace
from kvcore.packed import Packed

ZERO: Final = bytes(20)


def xor(digest: bytes, data: bytes) -> bytes:
    """``digest`` XOR SHA1(data): the same whatever the order of calls."""
    return (int.from_bytes(digest, "big") ^ int.from_bytes(sha1(data).digest(), "big")).to_bytes(
        20, "big"
    )


def mix(digest: bytes, data: bytes) -> bytes:
    """SHA1(digest XOR SHA1(data)): depends on the order of calls."""
    return sha1(xor(digest, data)).digest()


def of_value(db: Database, key: bytes, value: object, digest: bytes = ZERO) -> bytes:
    """DEBUG DIGEST-VALUE of one key."""
    types = db.keyspace.types
    if isinstance(value, Packed):
        value = types.unpack(value, key)
    datatype = types.of(value)
    digest = mix(digest, datatype.number.to_bytes(4, "big"))
    digest = datatype.digest(value, digest)
    return xor(digest, b"!!expire!!") if db.expiry(key) >= 0 else digest


def of_keyspace(keyspace: Keyspace) -> bytes:
    """DEBUG DIGEST of all databases."""
    final = ZERO
    for db in keyspace.databases:
        if db.entries.count == 0:
            continue
        final = mix(final, db.index.to_bytes(4, "big"))
        for key, value in db.entries.items():
            final = xor(final, of_value(db, key, value, mix(ZERO, key)))
    return final
