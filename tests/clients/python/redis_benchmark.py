"""redis-benchmark: every test that it knows, alone and in pipelines, must run without an error.

Not a measurement: few requests, and only the names of the tests and the absence of errors count.
"""

import re
import subprocess

import case as t
from case import PORT, REDIS_PORT, case, same


def benchmark(*words, port=PORT):
    """The names of the tests that ran; fails on an error."""
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-n", "2000", "-c", "10", "--csv", *words],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    text = done.stdout + done.stderr
    if done.returncode != 0 or "error" in text.lower():
        raise t.Failed(f"{words}: exit code {done.returncode}: {text[-400:]}")
    rows = re.findall(r'^"([^"]+)","([\d.]+)"', done.stdout, re.MULTILINE)
    slow = [name for name, rate in rows if not float(rate) > 0]
    same(slow, [], f"{words}: tests without a request")
    return [name for name, _ in rows]


@case
def every_test():
    names = benchmark()
    same(len(names) > 15, True, f"{len(names)} tests were seen")
    same(names, benchmark(port=REDIS_PORT), "the tests that direct Redis ran")


@case
def every_test_in_pipelines_of_16():
    same(len(benchmark("-P", "16", "-r", "1000")) > 15, True, "tests were seen")


@case
def every_test_in_resp3():
    same(len(benchmark("-3")) > 15, True, "tests were seen")


@case
def values_of_100_kilobytes():
    same(benchmark("-d", "100000", "-t", "set,get", "-n", "300"), ["SET", "GET"], "tests")


@case
def two_threads():
    same(benchmark("--threads", "2", "-t", "set,get"), ["SET", "GET"], "tests")


@case
def locks():
    benchmark("-r", "100000", "SET", "lock:bench:__rand_int__", "93:__rand_int__", "NX", "EX", "20")
    benchmark("-r", "100000", "DEL", "lock:bench:__rand_int__")
    benchmark("-P", "16", "SET", "lock:bench", "1", "NX", "EX", "20")
    t.held("lock:bench", "1")


@case
def a_script():
    benchmark("EVAL", "return redis.call('GET', KEYS[1])", "1", "lock:bench")


@case
def locks_in_an_outage():
    t.needs_lockside()
    key = "lock:bench:outage"
    with t.redis_away():
        benchmark("-n", "200", "SET", key, "1", "NX", "EX", "20")
        benchmark("-n", "200", "EXPIRE", key, "20")
        benchmark("-n", "200", "-P", "16", "SET", key, "2", "NX", "EX", "20")
        benchmark("-n", "200", "EVAL", "return redis.call('GET', KEYS[1])", "1", key)
        benchmark("-n", "200", "-r", "100", "SET", "lock:bench:__rand_int__", "1", "NX", "EX", "20")
        benchmark("-n", "200", "-r", "100", "DEL", "lock:bench:__rand_int__")
    t.held(key, "1", "after the outage")
    benchmark("-n", "200", "DEL", key)
    t.until(lambda: t.stored(key) is None, "the released lock goes from Redis")


t.run()
