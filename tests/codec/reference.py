"""A redis-server that tells the codecs' tests what is right."""

from __future__ import annotations

import redis

from kvcore.codec.crc64 import crc64

#: The highest RDB version that Redis 7.0 takes in RESTORE.
RDB_VERSION = 10

#: Keep values packed far beyond the defaults, and check in depth what is restored.
OPTIONS = [
    *("--sanitize-dump-payload", "yes"),
    *("--list-max-listpack-size", "-5"),
    *("--hash-max-listpack-entries", "1000"),
    *("--hash-max-listpack-value", "10000000"),
    *("--set-max-intset-entries", "5000"),
]


class Reference:
    """Sends commands; replies come as they are, errors as their text."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def __call__(self, *argv: bytes | str | int) -> object:
        try:
            return self._client.execute_command(*argv)
        except redis.ResponseError as error:
            return str(error)

    def dump(self, key: str) -> tuple[int, bytes]:
        """Type code and body of `key`'s DUMP payload."""
        payload = self("DUMP", key)
        assert isinstance(payload, bytes)
        assert int.from_bytes(payload[-8:], "little") == crc64(payload[:-8])
        return payload[0], payload[1:-10]

    def restore(self, key: str, type_code: int, body: bytes) -> object:
        """Put the value of an RDB type code and body into `key`; the reply of RESTORE."""
        payload = bytes([type_code]) + body + RDB_VERSION.to_bytes(2, "little")
        checksum = crc64(payload).to_bytes(8, "little")
        return self("RESTORE", key, 0, payload + checksum, "REPLACE")
