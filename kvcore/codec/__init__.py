"""Bytes to values and back: the formats of Redis' files and payloads, and nothing else.

Every module here is a pure function of bytes: no keyspace, no files, no clock. The package
imports nothing of kvcore but `kvcore.errors`, so that any layer and any plugin may use it.

==============  ==================================================================
`numbers`       integers, doubles and long doubles, as Redis reads and prints them
`rdb`           `Reader` and `Writer`: lengths, strings, numbers and the checksum
                that RDB files, DUMP payloads and the AOF's preamble are made of
`listpack`      small lists, hashes, sets and sorted sets since Redis 7.0
`ziplist`       the same before 7.0
`zipmap`        small hashes before Redis 2.6; read only
`intset`        small sets of integers
`lzf`, `crc64`  the compression of strings and the checksum of a file
==============  ==================================================================

Which type code stands for which format, and what a value is made of, belongs to the data
types (``families/<name>/rdb.py``); header, opcodes and trailer of a file to the plugins.

Data may come from anyone (RESTORE, a file from elsewhere), so every length is checked before
it is believed, and memory grows with the bytes that are there, never with a length that they
claim. The packed formats raise `ValueError` naming reason and position; `rdb.Reader`, which
knows the file, raises `kvcore.errors.CorruptData`.
"""
