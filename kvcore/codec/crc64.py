"""The checksum of RDB files and DUMP payloads: CRC-64 with Jones' polynomial, as Redis' crc64.c.

Unlike most CRCs, it starts at 0 and inverts nothing: ``crc64(b"123456789") == 0xe9c6d914c4b8d9ca``.
"""

from __future__ import annotations

from typing import Final

from anycrc import Model  # type: ignore[import-untyped]

_MODEL: Final = Model("CRC64-REDIS")


def crc64(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """The checksum of `data` after what gave `crc`: ``crc64(b, crc64(a)) == crc64(a + b)``."""
    result: int = _MODEL.calc(data, crc)
    return result
