"""CPU per request beside redis-server: redis-benchmark's default tests, one run, same machine.

    python benchmarks/requests.py [--pipeline 1 16] [--requests 200000] [--rounds 3]

Both servers run at once and take turns, test by test. What counts is the CPU time that the
kernel charges the server for one request (machines are noisy; wall time is not to be believed), as
the ratio kvcore / redis-server: the median of the rounds, and the geometric mean over the tests.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from servers import BenchServer, kvcore_server, redis_server

TESTS = ["ping_inline", "ping_mbulk", "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd", "zpopmin", "lrange_100", "lrange_300", "lrange_500", "lrange_600", "mset"]

# A list of 600 small elements makes a reply of 6 KB: fewer of them tell as much.
SLOWER = {"lrange_100": 4, "lrange_300": 10, "lrange_500": 16, "lrange_600": 20, "mset": 4}


def measure(server: BenchServer, test: str, requests: int, pipeline: int, clients: int) -> float:
    """CPU microseconds of the server per request of one redis-benchmark test."""
    requests = max(1000, requests // SLOWER.get(test, 1))
    before = server.cpu()
    subprocess.run(
        [
            *("redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(requests)),
            *("-P", str(pipeline), "-c", str(clients), "-q"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return (server.cpu() - before) / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument(
        "--options", default="--save ''", help="directives for both servers, one string"
    )
    args = parser.parse_args()
    options = ["" if word == "''" else word for word in args.options.split()]
    ratios: list[float] = []
    with redis_server(*options) as redis, kvcore_server(*options) as ours:
        print(f"{'test':14}{'P':>4}{'redis us':>10}{'kvcore us':>11}{'ratio':>8}")
        for pipeline in args.pipeline:
            for test in args.tests:
                pairs = []
                for _ in range(args.rounds):
                    theirs = measure(redis, test, args.requests, pipeline, args.clients)
                    own = measure(ours, test, args.requests, pipeline, args.clients)
                    pairs.append((own / theirs, theirs, own))
                ratio, theirs, own = sorted(pairs)[len(pairs) // 2]
                ratios.append(ratio)
                print(f"{test:14}{pipeline:4}{theirs:10.2f}{own:11.2f}{ratio:8.2f}", flush=True)
    print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")
    print(f"worst: {max(ratios):.2f}")


if __name__ == "__main__":
    main()
