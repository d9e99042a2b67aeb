"""redis-benchmark: every reply is right or the run fails. The rates are printed; nothing asserts them."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from checks import PROFILE, check, finish, server  # noqa: E402
from resp import Connection  # noqa: E402

PORT = server("start", "benchmark")
REQUESTS = 100_000 if PROFILE == "release" else 20_000


def benchmark(tests, *options):
    """Runs it; an error line of its own, or of the server in its output, is a failure."""
    done = subprocess.run(
        ["redis-benchmark", "-p", str(PORT), "-q", "-n", str(REQUESTS), "-d", "100", "-c", "50", *options]
        + (["-t", tests] if tests else []),
        capture_output=True,
        text=True,
        timeout=900,
    )
    # It shows its progress by carriage returns; the last state of each line is the result.
    results = re.findall(r"(?:^|[\r\n])([^\r\n]+): ([0-9.]+) requests per second", done.stdout)
    for name, rate in results:
        print(f"#   {name.strip()}: {float(rate):.0f}/s")
    said = done.stdout + done.stderr
    if done.returncode or re.search(r"error|ERR|WARN|failed", said):
        raise AssertionError(f"status {done.returncode}: {said[-1500:]}")
    wanted = len(tests.split(",")) if tests else 1
    if len(results) < wanted:
        raise AssertionError(f"{len(results)} results, not {wanted}: {said[-1500:]}")


def counted():
    """What was written is there."""
    connection = Connection(PORT)
    value = int(connection.call("GET", "counter:__rand_int__"))
    if value < REQUESTS:
        raise AssertionError(f"{value} increments were kept of at least {REQUESTS} acknowledged")


check(f"redis-benchmark: set, get, incr, mset, {REQUESTS} requests, 50 clients", benchmark, "set,get,incr,mset")
check("redis-benchmark: increments are all there", counted)
check("redis-benchmark: random keys", benchmark, "set,get,incr,mset", "-r", "100000")
check("redis-benchmark: pipelines of 16", benchmark, "set,get,incr,mset", "-P", "16", "-r", "100000")
check("redis-benchmark: hset", benchmark, "hset", "-r", "100000")
check("redis-benchmark: hset, pipelines of 16", benchmark, "hset", "-P", "16", "-r", "100000")
check("redis-benchmark: ping, RESP3", benchmark, "ping_inline,ping_mbulk", "-3")
check("redis-benchmark: a command of choice", benchmark, "", "GETEX", "key:__rand_int__", "EX", "1000")
finish()
