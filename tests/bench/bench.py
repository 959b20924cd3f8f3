#!/usr/bin/env python3
"""Measures Lockside beside HAProxy in TCP mode and beside Redis itself. `make bench` calls it.

It starts a private Redis, HAProxy and Lockside on free ports, and in each round measures every
target with every workload, so that whatever else the machine does meets all of them alike. The
figure that lasts is the ratio of two runs of the same round; requests per second depend on the
machine and on its neighbours. It needs redis-server, redis-benchmark, haproxy and a release build
of Lockside; it installs nothing, and says what is missing.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from processes import Missing, Stack, need
from report import Report
from workloads import WORKLOADS, fill, idle_memory, run

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("direct", "haproxy", "lockside")
SECONDS = 1.4
"""How long one run takes, about; a full benchmark has 7 rounds of 10 workloads and 3 targets."""
QUICK_SECONDS = 0.2
ROUNDS, QUICK_ROUNDS = 7, 2
WARM_UP = 0.25
"""Share of a run that finds the rate of a target first."""


def main():
    options = arguments()
    raise_file_limit()
    try:
        binary = lockside_binary(options.binary) if "lockside" in options.targets else None
        need("redis-benchmark", "redis-tools")
        report = measure(options, binary)
    except Missing as missing:
        sys.exit(f"bench: {missing}")
    print(report.markdown())
    print("\n".join(report.verdicts()))
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(report), indent=1) + "\n")
    if options.write:
        report.write(options.write)


def arguments():
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (7)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds: does it run at all")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME",
                        help=f"only this workload; may be repeated: {', '.join(names)}")
    parser.add_argument("--targets", default=",".join(TARGETS),
                        help="of direct,haproxy,lockside; direct is Redis itself")
    parser.add_argument("--binary", help="the Lockside to measure (target/release/lockside)")
    parser.add_argument("--json", metavar="FILE", help="writes every single result there")
    parser.add_argument("--write", metavar="FILE", help="puts the tables into this Markdown file")
    options = parser.parse_args()
    options.targets = options.targets.split(",")
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    options.seconds = QUICK_SECONDS if options.quick else SECONDS
    options.workloads = [w for w in WORKLOADS if not options.only or w.name in options.only]
    return options


def raise_file_limit():
    """The idle connections need two descriptors each in a proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lockside_binary(given):
    """The release build that is to be measured."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = Path(given).resolve() if given else (ROOT / target / "release" / "lockside")
    if not binary.is_file():
        raise Missing(f"{binary.name} is not built: cargo build --release")
    return binary


def measure(options, binary):
    """All rounds."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="lockside-bench-") as directory:
        stack = Stack(directory, binary, options.targets)
        try:
            fill(stack.redis.port)
            proxies = [name for name in options.targets if name != "direct"]
            memory = {name: idle_memory(stack.processes[name]) for name in proxies}
            runs = rounds(options, stack, cores)
            for name in proxies:
                memory[name]["end"] = stack.processes[name].memory()
        finally:
            stack.stop()
    return Report(runs, memory, options.rounds, command_line(options), versions(binary))


def rounds(options, stack, cores):
    """`runs[workload][target]`: one result for each round."""
    runs = {workload.name: {name: [] for name in options.targets} for workload in options.workloads}
    sizes = {}
    for number in range(options.rounds):
        for workload in options.workloads:
            stack.pin({cores[-1]} if workload.one_core else set(cores))
            # Another target goes first in each round.
            turn = number % len(options.targets)
            for name in options.targets[turn:] + options.targets[:turn]:
                place = (workload.name, name)
                if place not in sizes:
                    sizes[place] = requests_for(workload, stack, name, cores[-1], options.seconds)
                result = run(workload, stack, name, sizes[place], cores[-1])
                runs[workload.name][name].append(result)
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    return runs


def requests_for(workload, stack, name, core, seconds):
    """How many requests take about so many seconds; found by a first run that does not count."""
    few = min(workload.most, max(2_000, int(workload.guess * seconds * WARM_UP)))
    rate = run(workload, stack, name, few, core).rps
    return min(workload.most, max(2_000, int(rate * seconds)))


def command_line(options):
    """The command that measures the same again."""
    only = [part for name in options.only or () for part in ("--only", name)]
    targets = ["--targets", ",".join(options.targets)] if tuple(options.targets) != TARGETS else []
    rounds = ["--rounds", str(options.rounds)] if options.rounds != ROUNDS else []
    quick = ["--quick"] if options.quick else []
    changed = quick + rounds + only + targets
    return " ".join(["tests/bench/bench.py", *changed]) if changed else "make bench"


def versions(binary):
    """What was measured."""
    programs = [[need("redis-server", "redis-server"), "--version"], [need("haproxy", "haproxy"), "-v"]]
    if binary:
        programs.append([str(binary), "--version"])
    lines = [subprocess.run(program, capture_output=True, text=True).stdout for program in programs]
    redis, haproxy, *lockside = [line.splitlines()[0] for line in lines]
    redis = redis.split("v=")[1].split()[0]
    return ", ".join([f"Redis {redis}", " ".join(haproxy.split()[:3]), *lockside])


def as_json(report):
    return {
        "memory": report.memory,
        "goals": [{"goal": what, "measured": measured, "met": met}
                  for what, measured, met in report.goals()],
        "runs": {workload: {name: [asdict(result) for result in results]
                            for name, results in by_target.items()}
                 for workload, by_target in report.runs.items()},
    }


if __name__ == "__main__":
    main()
