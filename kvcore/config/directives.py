"""Every directive of Redis 7.2 (its config.c), and kvcore's own.

Names, defaults, bounds, and what may change at runtime are Redis'. Those of the last group are
accepted and kept, so that a redis.conf and its tools keep working, but do nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from kvcore.codec.rdb import VERSION, WRITTEN
from kvcore.config.options import (
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    UINT_MAX,
    ULONG_MAX,
    Bind,
    Bool,
    BufferLimits,
    Directory,
    Enum,
    Flags,
    Int,
    KeyspaceEvents,
    Kind,
    Memory,
    Octal,
    OomScores,
    Option,
    Percentiles,
    ReplicaOf,
    Rules,
    SavePoints,
    String,
)
from kvcore.errors import ConfigError

MB: Final = 1 << 20

# Directives that older files may hold, with one value; they are read over, as Redis does.
DEPRECATED: Final = frozenset(
    {"list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"}
)

# Of strftime, what is written in digits and of fixed width.
_TIME_FIELDS: Final = ("Y", "y", "m", "d", "j", "H", "M", "S")

BOOL: Final = Bool()
COUNT: Final = Int()  # 0..INT_MAX
LONG: Final = Int(0, LONG_MAX)
MEMORY: Final = Memory()
PORT: Final = Int(0, 65535)
STRING: Final = String()
SIGNAL_FLAGS: Final = ("default", "save", "nosave", "now", "force")


def _plain_name(name: str, what: str) -> String:
    """A `String` that is no path, so that the file stays in its directory."""

    def check(value: str) -> None:
        if "/" in value:
            raise ConfigError(f"{name} can't be a path, just a {what}")
        if not value and name != "dbfilename":
            raise ConfigError(f"{name} can't be empty")

    return String(check)


def _check_snapshot_filename(value: str) -> None:
    """A plain name with fields of digits, so that it can be told which files were named so."""
    if "/" in value:
        raise ConfigError("snapshot-filename can't be a path, just a filename")
    if not value:
        return
    fields = re.findall(r"%.?", value)
    if not fields or not all(field[1:] in _TIME_FIELDS for field in fields):
        known = " ".join("%" + field for field in _TIME_FIELDS)
        raise ConfigError(f"snapshot-filename takes the fields {known}, at least one")
    if not value.endswith(".rdb") or value.startswith("temp-"):
        raise ConfigError("snapshot-filename must end in .rdb, and not begin with temp-")


def _check_signal(flags: tuple[str, ...]) -> None:
    if "save" in flags and "nosave" in flags:
        raise ConfigError("shutdown options SAVE and NOSAVE can't be used simultaneously")


def _check_hostname(name: str) -> None:
    if len(name) >= 256:
        raise ConfigError("Hostnames must be less than 256 characters")
    if not re.fullmatch(r"[a-zA-Z0-9.-]*", name):
        raise ConfigError("Hostnames may only contain alphanumeric characters, hyphens or dots")


def _check_node_name(name: str) -> None:
    if re.search(r"[!#$%&()*+.:;<>?@\[\]^{|}~]", name):
        raise ConfigError("Announced human node name contained invalid character")


_TITLE_VARIABLES: Final = frozenset(
    {"title", "listen-addr", "server-mode", "port", "tls-port", "config-file", "unixsocket"}
)
_VARIABLE: Final = re.compile(r"\{\{|\{([^}]*)\}?")


def _check_title(template: str) -> None:
    """A title has to show something; ``{{`` stands for a brace (Redis: sdstemplate)."""
    rest = template.replace("{title}", "").replace("{server-mode}", "")  # both may be empty
    for variable in _VARIABLE.finditer(template):
        name = variable[1]
        if name is not None and not (name in _TITLE_VARIABLES and variable[0].endswith("}")):
            rest = ""
    if not rest.strip(" "):
        raise ConfigError("template format is invalid or contains unknown variables")


def _enum(name: str, *names: str, mutable: bool = True) -> Option:
    """An option that is one of `names`, the first by default."""
    return Option(name, Enum(names), names[0], mutable=mutable)


def _kvcore() -> Iterator[Option]:
    yield Option("persistence", STRING, "", denied_while_loading=True)
    yield Option("load-from", STRING, "", mutable=False)
    yield _enum("snapshot-method", "auto", "fork", "inprocess")


def _network() -> Iterator[Option]:
    yield Option("bind", Bind(), ("*", "-::*"))
    yield Option("port", PORT, 6379)
    yield Option("protected-mode", BOOL, True)
    yield Option("tcp-backlog", COUNT, 511, mutable=False)
    yield Option("tcp-keepalive", COUNT, 300)
    yield Option("timeout", COUNT, 0)
    yield Option("unixsocket", STRING, "", mutable=False)
    yield Option("unixsocketperm", Octal(), 0, mutable=False)
    yield Option("maxclients", Int(1, UINT_MAX), 10000)
    yield Option("client-output-buffer-limit", BufferLimits(), BUFFER_LIMITS)
    yield Option("client-query-buffer-limit", Memory(MB), 1024 * MB)
    yield Option("maxmemory-clients", Memory(-100, percent=True), 0)
    yield Option("proto-max-bulk-len", Memory(MB), 512 * MB)
    yield Option("tls-port", PORT, 0)
    yield Option("tls-auth-clients", Enum(("no", "yes", "optional")), "yes")
    yield Option("tls-prefer-server-ciphers", BOOL, False)
    yield Option("tls-session-caching", BOOL, True)
    yield Option("tls-session-cache-size", COUNT, 20 * 1024)
    yield Option("tls-session-cache-timeout", COUNT, 300)
    for name in ("cert-file", "key-file", "dh-params-file", "ca-cert-file", "ca-cert-dir"):
        yield Option(f"tls-{name}", STRING, "")
    yield Option("tls-key-file-pass", STRING, "", sensitive=True)
    for name in ("protocols", "ciphers", "ciphersuites"):
        yield Option(f"tls-{name}", STRING, "")


BUFFER_LIMITS: Final = (
    ("normal", 0, 0, 0),
    ("replica", 256 * MB, 64 * MB, 60),
    ("pubsub", 32 * MB, 8 * MB, 60),
)


def _process() -> Iterator[Option]:
    yield Option("daemonize", BOOL, False, mutable=False)
    yield Option("supervised", SUPERVISED, "no", mutable=False)
    yield Option("pidfile", STRING, "", mutable=False)
    yield Option("loglevel", LOGLEVELS, "notice")
    yield Option("logfile", STRING, "", mutable=False)
    yield Option("syslog-enabled", BOOL, False, mutable=False)
    yield Option("syslog-ident", STRING, "redis", mutable=False)
    yield Option("syslog-facility", FACILITIES, "local0", mutable=False)
    yield Option("always-show-logo", BOOL, False, mutable=False)
    yield Option("databases", Int(1), 16, mutable=False)
    yield Option("hz", Int(clamp=(1, 500)), 10)
    yield Option("dynamic-hz", BOOL, True)
    yield Option("shutdown-timeout", COUNT, 10)
    yield Option("shutdown-on-sigint", Flags(SIGNAL_FLAGS, _check_signal), ())
    yield Option("shutdown-on-sigterm", Flags(SIGNAL_FLAGS, _check_signal), ())


SUPERVISED: Final = Enum(("upstart", "systemd", "auto", "no"))
LOGLEVELS: Final = Enum(("debug", "verbose", "notice", "warning", "nothing"))
FACILITIES: Final = Enum(("user", *[f"local{number}" for number in range(8)]))


def _security() -> Iterator[Option]:
    yield Option("requirepass", STRING, "", sensitive=True)
    yield Option("aclfile", STRING, "", mutable=False)
    yield Option("acllog-max-len", LONG, 128)
    yield Option("acl-pubsub-default", Enum(("allchannels", "resetchannels")), "resetchannels")
    for what in ("protected-configs", "debug-command", "module-command"):
        yield _enum(f"enable-{what}", "no", "yes", "local", mutable=False)
    yield Option("user", Rules(1, INT_MAX), (), file_only=True)
    yield Option("rename-command", Rules(2, 2), (), file_only=True)


def _persistence() -> Iterator[Option]:
    yield Option("save", SavePoints(), ((3600, 1), (300, 100), (60, 10000)))
    yield Option("dir", Directory(), "", protected=True, denied_while_loading=True)
    yield Option("dbfilename", _plain_name("dbfilename", "filename"), "dump.rdb", protected=True)
    kind = String(_check_snapshot_filename)
    yield Option("snapshot-filename", kind, "", protected=True)
    yield Option("snapshot-keep", COUNT, 0)
    yield Option("rdbcompression", BOOL, True)
    yield Option("rdbchecksum", BOOL, True, mutable=False)
    yield Option("rdb-version", Int(WRITTEN[0], WRITTEN[-1]), VERSION)
    yield Option("rdb-del-sync-files", BOOL, False)
    yield Option("rdb-save-incremental-fsync", BOOL, True)
    yield Option("rdb-key-save-delay", Int(INT_MIN), 0, hidden=True)
    yield Option("key-load-delay", Int(INT_MIN), 0, hidden=True)
    yield Option("loading-process-events-interval-bytes", Int(1024), 2 * MB, hidden=True)
    yield _enum("sanitize-dump-payload", "no", "yes", "clients")
    yield Option("stop-writes-on-bgsave-error", BOOL, True)
    yield Option("appendonly", BOOL, False, denied_while_loading=True)
    name = _plain_name("appendfilename", "filename")
    yield Option("appendfilename", name, "appendonly.aof", mutable=False)
    name = _plain_name("appenddirname", "dirname")
    yield Option("appenddirname", name, "appendonlydir", mutable=False)
    yield _enum("appendfsync", "everysec", "always", "no")
    yield Option("no-appendfsync-on-rewrite", BOOL, False)
    yield Option("auto-aof-rewrite-percentage", COUNT, 100)
    yield Option("auto-aof-rewrite-min-size", MEMORY, 64 * MB)
    yield Option("aof-load-truncated", BOOL, True)
    yield Option("aof-use-rdb-preamble", BOOL, True)
    yield Option("aof-timestamp-enabled", BOOL, False)
    yield Option("aof-rewrite-incremental-fsync", BOOL, True)
    yield Option("aof-disable-auto-gc", BOOL, False, hidden=True)
    for what in ("aof_rewrite", "bgsave"):
        yield _cpus(what)


def _cpus(what: str) -> Option:
    name = f"{what}_cpulist"
    return Option(name, STRING, "", aliases=(name.replace("_", "-"),), mutable=False)


def _keyspace() -> Iterator[Option]:
    yield Option("maxmemory", Memory(0, ULONG_MAX), 0)
    yield Option("maxmemory-policy", POLICIES, "noeviction")
    yield Option("maxmemory-samples", Int(1), 5)
    yield Option("maxmemory-eviction-tenacity", Int(0, 100), 10)
    yield Option("lfu-log-factor", COUNT, 10)
    yield Option("lfu-decay-time", COUNT, 1)
    yield Option("active-expire-effort", Int(1, 10), 1)
    for what in ("eviction", "expire", "server-del", "user-del", "user-flush"):
        yield Option(f"lazyfree-lazy-{what}", BOOL, False)
    yield Option("notify-keyspace-events", KeyspaceEvents(), "")
    for family in ("hash", "zset"):
        entries = f"{family}-max-ziplist-entries"
        value = f"{family}-max-ziplist-value"
        count = 512 if family == "hash" else 128
        yield Option(f"{family}-max-listpack-entries", LONG, count, aliases=(entries,))
        yield Option(f"{family}-max-listpack-value", MEMORY, 64, aliases=(value,))
    yield Option("set-max-intset-entries", LONG, 512)
    yield Option("set-max-listpack-entries", LONG, 128)
    yield Option("set-max-listpack-value", LONG, 64)
    size = "list-max-ziplist-size"
    yield Option("list-max-listpack-size", Int(INT_MIN), -2, aliases=(size,))
    yield Option("list-compress-depth", COUNT, 0)
    yield Option("hll-sparse-max-bytes", MEMORY, 3000)
    yield Option("stream-node-max-bytes", MEMORY, 4096)
    yield Option("stream-node-max-entries", LONG, 100)


POLICIES: Final = Enum(
    (
        *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
        *("allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"),
    )
)


def _observation() -> Iterator[Option]:
    yield Option("slowlog-log-slower-than", Int(-1, LONG_MAX), 10000)
    yield Option("slowlog-max-len", LONG, 128)
    yield Option("latency-monitor-threshold", LONG, 0)
    yield Option("latency-tracking", BOOL, True)
    yield Option("latency-tracking-info-percentiles", Percentiles(), (50.0, 99.0, 99.9))
    yield Option("busy-reply-threshold", LONG, 5000, aliases=("lua-time-limit",))
    yield Option("tracking-table-max-keys", LONG, 1000000)


def _cluster() -> Iterator[Option]:
    yield Option("cluster-enabled", BOOL, False, mutable=False)
    yield Option("cluster-config-file", STRING, "nodes.conf", mutable=False)
    yield Option("cluster-port", PORT, 0, mutable=False)
    yield Option("cluster-node-timeout", LONG, 15000)
    yield Option("cluster-ping-interval", LONG, 1000, hidden=True)
    yield Option("cluster-migration-barrier", COUNT, 1)
    yield _with_slave("cluster-replica-validity-factor", COUNT, 10)
    yield _with_slave("cluster-replica-no-failover", BOOL, False)
    yield Option("cluster-allow-replica-migration", BOOL, True)
    yield Option("cluster-require-full-coverage", BOOL, True)
    yield Option("cluster-allow-reads-when-down", BOOL, False)
    yield Option("cluster-allow-pubsubshard-when-down", BOOL, True)
    yield Option("cluster-link-sendbuf-limit", Memory(0, ULONG_MAX), 0)
    yield Option("cluster-announce-ip", STRING, "")
    yield Option("cluster-announce-hostname", String(_check_hostname), "")
    yield Option("cluster-announce-human-nodename", String(_check_node_name), "")
    for port in ("port", "tls-port", "bus-port"):
        yield Option(f"cluster-announce-{port}", PORT, 0)
    yield _enum("cluster-preferred-endpoint-type", "ip", "hostname", "unknown-endpoint")
    yield Option("tls-cluster", BOOL, False)


def _replication() -> Iterator[Option]:
    yield Option("replicaof", ReplicaOf(), None, aliases=("slaveof",), mutable=False)
    yield Option("masterauth", STRING, "", sensitive=True)
    yield Option("masteruser", STRING, "", sensitive=True)
    for name, default in (
        ("serve-stale-data", True),
        ("read-only", True),
        ("ignore-maxmemory", True),
        ("lazy-flush", False),
    ):
        yield _with_slave(f"replica-{name}", BOOL, default)
    yield _with_slave("replica-priority", COUNT, 100)
    yield _with_slave("replica-announce-ip", STRING, "")
    yield _with_slave("replica-announce-port", PORT, 0)
    yield Option("replica-announced", BOOL, True)
    yield Option("replica-ignore-disk-write-errors", BOOL, False)
    yield _with_slave("min-replicas-to-write", COUNT, 0)
    yield _with_slave("min-replicas-max-lag", COUNT, 10)
    yield _with_slave("repl-ping-replica-period", Int(1), 10)
    yield Option("repl-timeout", Int(1), 60)
    yield Option("repl-backlog-size", Memory(1), MB)
    yield Option("repl-backlog-ttl", LONG, 3600)
    yield Option("repl-disable-tcp-nodelay", BOOL, False)
    yield Option("repl-diskless-sync", BOOL, True)
    yield Option("repl-diskless-sync-delay", COUNT, 5)
    yield Option("repl-diskless-sync-max-replicas", COUNT, 0)
    diskless_load = Enum(("disabled", "on-empty-db", "swapdb"))
    yield Option("repl-diskless-load", diskless_load, "disabled", denied_while_loading=True)
    yield _enum("propagation-error-behavior", "ignore", "panic", "panic-on-replicas")
    yield Option("tls-replication", BOOL, False)
    yield Option("tls-client-cert-file", STRING, "")
    yield Option("tls-client-key-file", STRING, "")
    yield Option("tls-client-key-file-pass", STRING, "", sensitive=True)


def _with_slave(name: str, kind: Kind, default: object) -> Option:
    """An option that is also known by the name that it had before replicas were called so."""
    return Option(name, kind, default, aliases=(name.replace("replica", "slave"),))


def _machine() -> Iterator[Option]:
    yield Option("io-threads", Int(1, 128), 1, mutable=False)
    yield Option("io-threads-do-reads", BOOL, False, mutable=False)
    for what in ("server", "bio"):
        yield _cpus(what)
    yield Option("activedefrag", Bool(NO_DEFRAGMENTATION), False)
    yield Option("active-defrag-cycle-min", Int(1, 99), 1)
    yield Option("active-defrag-cycle-max", Int(1, 99), 25)
    yield Option("active-defrag-threshold-lower", Int(0, 1000), 10)
    yield Option("active-defrag-threshold-upper", Int(0, 1000), 100)
    yield Option("active-defrag-ignore-bytes", Memory(1), 100 * MB)
    yield Option("active-defrag-max-scan-fields", Int(1, LONG_MAX), 1000)
    yield Option("activerehashing", BOOL, True)
    yield Option("jemalloc-bg-thread", BOOL, True)
    yield Option("disable-thp", BOOL, True, mutable=False)
    oom = Enum(("no", "yes", "relative", "absolute"), {"relative": "yes"})
    yield Option("oom-score-adj", oom, "no")
    yield Option("oom-score-adj-values", OomScores(), (0, 200, 800))
    yield Option("bind-source-addr", STRING, "")
    yield Option("socket-mark-id", Int(0, UINT_MAX), 0, mutable=False)
    yield Option("crash-log-enabled", BOOL, True)
    yield Option("crash-memcheck-enabled", BOOL, True)
    yield Option("use-exit-on-panic", BOOL, False, hidden=True)
    yield Option("watchdog-period", COUNT, 0, hidden=True)
    yield Option("ignore-warnings", STRING, "")
    yield Option("set-proc-title", BOOL, True, mutable=False)
    template = "{title} {listen-addr} {server-mode}"
    yield Option("proc-title-template", String(_check_title), template)
    yield Option("locale-collate", STRING, "")
    yield Option("lua-enable-deprecated-api", BOOL, False, mutable=False, hidden=True)
    yield Option("loadmodule", Rules(1, INT_MAX), (), file_only=True)


NO_DEFRAGMENTATION: Final = (
    "Active defragmentation cannot be enabled: it requires a Redis server compiled with a "
    "modified Jemalloc like the one shipped by default with the Redis source distribution"
)


def _all() -> Iterator[Option]:
    yield from _kvcore()
    yield from _network()
    yield from _process()
    yield from _security()
    yield from _persistence()
    yield from _keyspace()
    yield from _observation()
    for group in (_cluster(), _replication(), _machine()):
        for option in group:
            yield attrs.evolve(option, served=False)


OPTIONS: Final = tuple(_all())
