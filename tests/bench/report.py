"""Medians and spreads of many runs, the targets beside them, and the tables for BENCHMARKS.md."""

import os
import platform
import time
from pathlib import Path
from statistics import median

from workloads import WORKLOADS

TARGETS_CPU = 1.00
"""Lockside's CPU per request may be at most this many times HAProxy's."""
TARGET_RSS = 10 * 1024
"""KiB of resident memory of an idle process."""
TARGET_CONNECTION = 32
"""KiB of resident memory for each idle connection."""
QUIET = 0.3
"""Cores that others may keep busy before the report warns of it."""
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class Report:
    """The results of all rounds: `runs[workload][target]` is a list with one result a round."""

    def __init__(self, runs, memory, rounds, command, versions):
        self.runs, self.memory, self.rounds = runs, memory, rounds
        self.command, self.versions = command, versions

    def _ratio(self, workload, target, other, figure):
        """Median, least and greatest of the ratios of the same round; None if there are none."""
        pairs = zip(self.runs[workload].get(target, []), self.runs[workload].get(other, []))
        ratios = sorted(getattr(a, figure) / getattr(b, figure) for a, b in pairs if getattr(b, figure))
        return (median(ratios), ratios[0], ratios[-1]) if ratios else None

    def goals(self):
        """Each target: what it is, what was measured, and whether it is met."""
        for workload in self._measured():
            ratio = self._ratio(workload.name, "lockside", "haproxy", "proxy")
            if ratio:
                what = f"CPU per request, {workload.name}: at most {TARGETS_CPU:.2f} of HAProxy's"
                yield what, _spread(ratio), ratio[0] <= TARGETS_CPU
        if "lockside" in self.memory:
            memory = self.memory["lockside"]
            rss, each = memory["idle"]["VmRSS"], memory["each"]["VmRSS"]
            yield "resident memory, idle: under 10 MiB", f"{rss / 1024:.1f} MiB", rss < TARGET_RSS
            what = "memory of an idle connection: under 32 KiB"
            yield what, f"{each:.1f} KiB", each < TARGET_CONNECTION
        trips = self._acquire_trips()
        if trips is not None:
            yield "an acquire is two upstream round trips", f"{trips:.2f}", abs(trips - 2) < 0.01

    def _acquire_trips(self):
        """Commands that Lockside sent for one acquire: SET, and the script."""
        results = self.runs.get("acquire", {}).get("lockside")
        if not results:
            return None
        sent = ("set", "setnx", "eval", "evalsha", "script|load", "multi", "exec", "watch")
        return median(sum(result.upstream.get(name, 0) for name in sent) for result in results)

    def _measured(self):
        return [workload for workload in WORKLOADS if workload.name in self.runs]

    def verdicts(self):
        """The targets, one line each."""
        return [f"{'PASS' if met else 'MISS'}  {what}: {measured}"
                for what, measured, met in self.goals()]

    def markdown(self):
        """Everything, for BENCHMARKS.md."""
        parts = [self._head(), self._goal_table(), self._ratio_table()]
        parts += [self._table(workload) for workload in self._measured()]
        parts.append(self._memory_table())
        return "\n".join(parts)

    def _head(self):
        return (f"Measured {time.strftime('%Y-%m-%d')} on {machine()}.\n\n"
                f"{self.versions}.\n\nCommand: `{self.command}`; median of {self.rounds} interleaved "
                "rounds, in brackets the least and the greatest.\n\n{self._load()}\n")

    def _load(self):
        loads = [result.foreign for targets in self.runs.values()
                 for results in targets.values() for result in results]
        busy = median(loads) if loads else 0.0
        text = f"Other programs kept {busy:.1f} cores busy meanwhile (median)."
        if busy > QUIET:
            text += (" So requests per second and latencies are those of a crowded machine; read "
                     "the CPU columns and the ratios, and these with their spread.")
        return text

    def _goal_table(self):
        rows = ["### Targets\n", "| | target | measured |", "|:--|:--|:--|"]
        rows += [f"| {'PASS' if met else 'MISS'} | {what} | {measured} |"
                 for what, measured, met in self.goals()]
        return "\n".join(rows) + "\n"

    def _ratio_table(self):
        rows = ["### Ratios: Lockside\n",
                "| workload | CPU per request / HAProxy | req/s / HAProxy | req/s / direct "
                "| p50 / direct | p99 / direct | Redis CPU / direct |",
                "|:--|--:|--:|--:|--:|--:|--:|"]
        asked = (("haproxy", "proxy"), ("haproxy", "rps"), ("direct", "rps"), ("direct", "p50"),
                 ("direct", "p99"), ("direct", "redis"))
        for workload in self._measured():
            ratios = [self._ratio(workload.name, "lockside", other, figure) for other, figure in asked]
            if any(ratios):
                cells = " | ".join(_spread(ratio) for ratio in ratios)
                rows.append(f"| {workload.name} | {cells} |")
        return "\n".join(rows) + "\n"

    def _table(self, workload):
        rows = [f"### {workload.title} (`{workload.name}`)\n",
                "| target | req/s | p50 ms | p99 ms | proxy CPU µs/request | of it user + system "
                "| Redis µs | client µs | other load, cores |",
                "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for target, results in self.runs[workload.name].items():
            def figure(name, form, results=results):
                values = sorted(getattr(result, name) for result in results)
                ends = f"{values[0]:{form}}–{values[-1]:{form}}"
                return f"{median(values):{form}} ({ends})"
            middle = {name: median(getattr(result, name) for result in results)
                      for name in ("proxy_user", "proxy_system", "redis", "client", "foreign")}
            proxy, split = "-", "-"
            if target != "direct":
                proxy = figure("proxy", ".2f")
                split = f"{middle['proxy_user']:.1f} + {middle['proxy_system']:.1f}"
            rows.append(
                f"| {target} | {figure('rps', ',.0f')} | {figure('p50', '.3f')} "
                f"| {figure('p99', '.3f')} | {proxy} | {split} | {middle['redis']:.1f} "
                f"| {middle['client']:.1f} | {middle['foreign']:.1f} |")
        rows += self._upstream_line(workload)
        return "\n".join(rows) + "\n"

    def _upstream_line(self, workload):
        results = self.runs[workload.name].get("lockside")
        if not workload.setup or not results:
            return []
        names = {name for result in results for name in result.upstream}
        shares = {name: median(result.upstream.get(name, 0) for result in results) for name in names}
        shares = sorted(shares.items(), key=lambda item: -item[1])
        text = ", ".join(f"{name} {share:.2f}" for name, share in shares if share >= 0.005)
        return [f"\nCommands in Redis for each request through Lockside, those that scripts call "
                f"included: {text or 'none'}."]

    def _memory_table(self):
        rows = ["### Memory\n", "| | RSS idle, MiB (anonymous) | for each idle connection, KiB "
                "(anonymous) | RSS after all runs, MiB (anonymous) |", "|:--|--:|--:|--:|"]
        for name, memory in self.memory.items():
            idle, each, end = memory["idle"], memory["each"], memory["end"]
            rows.append(
                f"| {name} | {idle['VmRSS'] / 1024:.1f} ({idle['RssAnon'] / 1024:.1f}) "
                f"| {each['VmRSS']:.1f} ({each['RssAnon']:.1f}) "
                f"| {end['VmRSS'] / 1024:.1f} ({end['RssAnon'] / 1024:.1f}) |")
        return "\n".join(rows) + "\n"

    def write(self, path):
        """Puts the tables between the two marks of `path`; the words around them stay."""
        path = Path(path)
        text = path.read_text() if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
        before, mark, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise ValueError(f"{path} has no {BEGIN} and {END}: nowhere to put the tables")
        path.write_text(f"{before}{BEGIN}\n\n{self.markdown()}\n{END}{after}")


def machine():
    """The machine, in the words that matter for speed."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().partition("-")[0]
    return f"{cores} cores ({model}), {memory:.0f} GiB, Linux {kernel}"


def _spread(ratio):
    return f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})" if ratio else "-"
