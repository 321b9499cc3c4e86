"""All benchmarks beside redis-server, or some: one page with tables and plots.

    python benchmarks/run.py [--quick | --full] [--fully growth] [--only requests,memory] [--out F]

Needs redis-server, redis-benchmark and strace (apt-get install redis-server redis-tools strace),
requirements-bench.txt, and kvcore with its plugins installed; compiled, if that is what you want to
know (KVCORE_COMPILE=1 pip install). Exits with 1 if something failed; a figure that misses what is
asked is only told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import big
import durability
import embedded
import files
import growth
import memory
import per_request
import policies
import small
import snapshots
from report import Effort, Part, Run, arguments, markdown, progress, surroundings, verdicts, write

PARTS: dict[str, Run] = {
    "requests": per_request.run,
    "big": big.run,
    "embedded": embedded.run,
    "files": files.run,
    "memory": memory.run,
    "small": small.run,
    "growth": growth.run,
    "snapshots": snapshots.run,
    "durability": durability.run,
    "policies": policies.run,
}


def measure(names: list[str], effort: Effort, fully: list[str]) -> Iterator[Part]:
    """The parts, one after the other; what ends one of them does not end the others."""
    for name in names:
        progress(f"=== {name}")
        try:
            yield PARTS[name](Effort(full=True) if name in fully else effort)
        except Exception as error:
            yield Part(name, "", [], [], [], [f"{type(error).__name__}: {error}"])


def page_of(parts: list[Part]) -> str:
    targets = [target for part in parts for target in part.targets]
    met = sum(target.met for target in targets)
    pieces = ["# Benchmarks", surroundings()]
    pieces += [f"Met: {met} of {len(targets)}.", verdicts(targets)] if targets else []
    pieces += [markdown(part) for part in parts]
    return "\n\n".join(pieces)


def main() -> int:
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--fully", default="", help="parts that are measured as with --full")
    parser.set_defaults(out=Path("docs/benchmarks"))
    args = parser.parse_args()
    names = args.only.split(",")
    fully = args.fully.split(",") if args.fully else []
    unknown = {*names, *fully} - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(PARTS)})")
    parts = []
    for part in measure(names, Effort(args.quick, args.full), fully):
        parts.append(part)
        write(page_of(parts), parts, args.out)  # what is measured is not lost if the rest is
    print(page_of(parts))
    return 1 if any(part.failures for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
