"""INFO: Redis' sections, fields and order, filled with what is true here.

What has no meaning for us is the constant that Redis prints when it does not use the feature,
mostly 0: there is no replication, cluster, Lua, pub/sub or eviction. In particular:

- ``used_memory`` is the resident set of the process, as the kernel counts it: Python has no
  allocator that could be asked. So the ratios of fragmentation are 1;
- ``usec`` of commandstats is 0: calls are counted, not timed, and latencystats is empty;
- ``avg_ttl`` of the keyspace is 0: not estimated.

``# kvcore`` is a section of our own; `Instance.info_sections` holds those of others.
"""

from __future__ import annotations

import os
import platform
import resource
import selectors
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from kvcore.admin import memory
from kvcore.command import Family
from kvcore.reply import Verbatim
from kvcore.resp import COMPILED
from kvcore.session import Session
from kvcore.version import REDIS_VERSION, __version__

Fields = dict[str, object]

# Not in the answer to a bare INFO, as in Redis.
EXTRA: Final = ("commandstats", "latencystats")
EVERYTHING: Final = ("all", "everything")
DAY: Final = 86400

command = Family("server")


@command("INFO", -1, "loading stale", complexity="O(1)", acl="@slow @dangerous")
def info(session: Session, argv: list[bytes]) -> object:
    """Returns information and statistics about the server."""
    wanted = {arg.decode("latin-1").lower() for arg in argv[1:]} or {"default"}
    return Verbatim(render(session.engine.instance, wanted))


def render(instance: Any, wanted: set[str]) -> bytes:
    """The sections that are wanted, in Redis' order, whatever the order of asking."""
    parts = []
    for title, section in {**SECTIONS, **instance.info_sections}.items():
        name = title.lower()
        by_default = "default" in wanted and name not in EXTRA
        if name in wanted or by_default or not wanted.isdisjoint(EVERYTHING):
            fields = section(instance) if title in SECTIONS else section()
            lines = "".join([f"{field}:{value}\r\n" for field, value in fields.items()])
            parts.append(f"# {title}\r\n{lines}")
    return "\r\n".join(parts).encode("utf-8", "surrogateescape")


def _server(instance: Any) -> Fields:
    config = instance.config
    now = time.time()
    uptime = int(now - instance.started)
    system = platform.uname()
    return {
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": 0,
        "redis_mode": "standalone",
        "os": f"{system.system} {system.release} {system.machine}",
        "arch_bits": 64 if sys.maxsize > 2**32 else 32,
        "monotonic_clock": time.get_clock_info("monotonic").implementation,
        "multiplexing_api": selectors.DefaultSelector.__name__.removesuffix("Selector").lower(),
        "atomicvar_api": "none",
        "gcc_version": platform.python_compiler(),
        "process_id": os.getpid(),
        "process_supervised": config["supervised"],
        "run_id": instance.run_id,
        "tcp_port": instance.port,
        "server_time_usec": time.time_ns() // 1000,
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime // DAY,
        "hz": config["hz"],
        "configured_hz": config["hz"],
        "lru_clock": int(now) & 0xFFFFFF,
        "executable": sys.executable,
        "config_file": config.path or "",
        "io_threads_active": 0,
    }


def _clients(instance: Any) -> Fields:
    clients = instance.clients.values()
    return {
        "connected_clients": len(clients),
        "cluster_connections": 0,
        "maxclients": instance.config["maxclients"],
        "client_recent_max_input_buffer": max([c.parser.buffered() for c in clients], default=0),
        "client_recent_max_output_buffer": max([c.unsent() for c in clients], default=0),
        "blocked_clients": sum([c.blocked is not None for c in instance.clients.values()]),
        "tracking_clients": 0,
        "clients_in_timeout_table": 0,
    }


def _memory(instance: Any) -> Fields:
    used = memory.resident()
    peak = max(used, memory.peak())
    dataset = max(0, used - memory.AT_START)
    total, most = memory.total(), instance.config["maxmemory"]
    human = memory.human
    nothing = human(0)
    return {
        "used_memory": used,
        "used_memory_human": human(used),
        "used_memory_rss": used,
        "used_memory_rss_human": human(used),
        "used_memory_peak": peak,
        "used_memory_peak_human": human(peak),
        "used_memory_peak_perc": f"{used * 100 / peak:.2f}%",
        "used_memory_overhead": used - dataset,
        "used_memory_startup": memory.AT_START,
        "used_memory_dataset": dataset,
        "used_memory_dataset_perc": "100.00%" if dataset else "0.00%",
        "allocator_allocated": used,
        "allocator_active": used,
        "allocator_resident": used,
        "total_system_memory": total,
        "total_system_memory_human": human(total),
        "used_memory_lua": 0,
        "used_memory_vm_eval": 0,
        "used_memory_lua_human": nothing,
        "used_memory_scripts_eval": 0,
        "number_of_cached_scripts": 0,
        "number_of_functions": 0,
        "number_of_libraries": 0,
        "used_memory_vm_functions": 0,
        "used_memory_vm_total": 0,
        "used_memory_vm_total_human": nothing,
        "used_memory_functions": 0,
        "used_memory_scripts": 0,
        "used_memory_scripts_human": nothing,
        "maxmemory": most,
        "maxmemory_human": human(most),
        "maxmemory_policy": instance.config["maxmemory-policy"],
        "allocator_frag_ratio": "1.00",
        "allocator_frag_bytes": 0,
        "allocator_rss_ratio": "1.00",
        "allocator_rss_bytes": 0,
        "rss_overhead_ratio": "1.00",
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": "1.00",
        "mem_fragmentation_bytes": 0,
        "mem_not_counted_for_evict": 0,
        "mem_replication_backlog": 0,
        "mem_total_replication_buffers": 0,
        "mem_clients_slaves": 0,
        "mem_clients_normal": sum(
            [c.parser.buffered() + c.unsent() for c in instance.clients.values()]
        ),
        "mem_cluster_links": 0,
        "mem_aof_buffer": 0,
        "mem_allocator": "libc",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": len(instance.keyspace.freeing.pending),
        "lazyfreed_objects": instance.keyspace.freeing.freed,
    }


def _persistence(instance: Any) -> Fields:
    child = instance.active_child
    fields: Fields = {
        "loading": int(instance.loading),
        "async_loading": 0,
        "current_cow_peak": child.cow_bytes if child else 0,
        "current_cow_size": child.cow_bytes if child else 0,
        "current_cow_size_age": 0,
        "current_fork_perc": f"{child.done * 100 / max(1, child.total):.2f}" if child else "0.00",
        "current_save_keys_processed": child.done if child else 0,
        "current_save_keys_total": child.total if child else 0,
        "rdb_changes_since_last_save": instance.dirty,
        "rdb_bgsave_in_progress": 0,
        "rdb_last_save_time": instance.last_save,
        "rdb_last_bgsave_status": "ok",
        "rdb_last_bgsave_time_sec": -1,
        "rdb_current_bgsave_time_sec": -1,
        "rdb_saves": 0,
        "rdb_last_cow_size": 0,
        "rdb_last_load_keys_expired": 0,
        "rdb_last_load_keys_loaded": 0,
        "aof_enabled": 0,
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_rewrite_time_sec": -1,
        "aof_current_rewrite_time_sec": -1,
        "aof_last_bgrewrite_status": "ok",
        "aof_rewrites": 0,
        "aof_rewrites_consecutive_failures": 0,
        "aof_last_write_status": "ok",
        "aof_last_cow_size": 0,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
    }
    # What the policy knows replaces the constants; what only it knows follows.
    fields.update(instance.persistence.info())
    if instance.loading:
        fields.update(_loading(instance.loader))
    return fields


def _loading(loader: Any) -> Fields:
    done, total = loader.done, max(loader.total, loader.done)
    elapsed = time.time() - loader.started
    left = elapsed * (total - done) / done if done else 0
    return {
        "loading_start_time": int(loader.started),
        "loading_total_bytes": total,
        "loading_rdb_used_mem": loader.facts.get("rdb_used_mem", 0),
        "loading_loaded_bytes": done,
        "loading_loaded_perc": f"{done * 100 / total if total else 0:.2f}",
        "loading_eta_seconds": int(left),
    }


def _stats(instance: Any) -> Fields:
    engine, keyspace, rates = instance.engine, instance.keyspace, instance.rates
    return {
        "total_connections_received": instance.connections_received,
        "total_commands_processed": engine.processed,
        "instantaneous_ops_per_sec": int(rates.per_second(0)),
        "total_net_input_bytes": engine.received,
        "total_net_output_bytes": engine.sent,
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": f"{rates.per_second(1) / 1024:.2f}",
        "instantaneous_output_kbps": f"{rates.per_second(2) / 1024:.2f}",
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": instance.rejected_connections,
        "sync_full": 0,
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_keys": keyspace.expired,
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "expire_cycle_cpu_milliseconds": 0,
        "evicted_keys": keyspace.evicted,
        "evicted_clients": 0,
        "total_eviction_exceeded_time": 0,
        "current_eviction_exceeded_time": 0,
        "keyspace_hits": keyspace.hits,
        "keyspace_misses": keyspace.misses,
        "pubsub_channels": 0,
        "pubsub_patterns": 0,
        "pubsubshard_channels": 0,
        "latest_fork_usec": instance.last_fork_usec,
        "total_forks": instance.forks,
        "migrate_cached_sockets": 0,
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
        "tracking_total_keys": 0,
        "tracking_total_items": 0,
        "tracking_total_prefixes": 0,
        "unexpected_error_replies": 0,
        "total_error_replies": sum(engine.errors.values()),
        "dump_payload_sanitizations": 0,
        "total_reads_processed": engine.reads,
        "total_writes_processed": engine.writes,
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
    }


def _replication(instance: Any) -> Fields:
    return {
        "role": "master",
        "connected_slaves": 0,
        "master_failover_state": "no-failover",
        "master_replid": instance.run_id,
        "master_replid2": "0" * 40,
        "master_repl_offset": 0,
        "second_repl_offset": -1,
        "repl_backlog_active": 0,
        "repl_backlog_size": instance.config["repl-backlog-size"],
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    }


def _cpu(instance: Any) -> Fields:
    process = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    main = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    return {
        "used_cpu_sys": f"{process.ru_stime:.6f}",
        "used_cpu_user": f"{process.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        "used_cpu_sys_main_thread": f"{main.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{main.ru_utime:.6f}",
    }


def _nothing(instance: Any) -> Fields:
    return {}


def _commandstats(instance: Any) -> Fields:
    return {
        f"cmdstat_{one.name}": f"calls={one.calls},usec=0,usec_per_call=0.00,"
        f"rejected_calls={one.rejected},failed_calls={one.failed}"
        for one in instance.engine.commands.everything()
        if one.calls or one.rejected or one.failed
    }


def _errorstats(instance: Any) -> Fields:
    errors = instance.engine.errors
    return {f"errorstat_{code}": f"count={errors[code]}" for code in sorted(errors)}


def _cluster(instance: Any) -> Fields:
    return {"cluster_enabled": 0}


def _keyspace(instance: Any) -> Fields:
    return {
        f"db{db.index}": f"keys={db.entries.count},expires={db.expires.count},avg_ttl=0"
        for db in instance.keyspace.databases
        if db.entries.count
    }


def _kvcore(instance: Any) -> Fields:
    return {
        "kvcore_version": __version__,
        "persistence": instance.policy,
        "compiled": "yes" if COMPILED else "no",
        "python_version": platform.python_version(),
        "data_directory": instance.storage.describe(),
    }


SECTIONS: Final[dict[str, Callable[[Any], Fields]]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "CPU": _cpu,
    "Modules": _nothing,
    "Commandstats": _commandstats,
    "Errorstats": _errorstats,
    "Latencystats": _nothing,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
    "kvcore": _kvcore,
}
