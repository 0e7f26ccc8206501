# SPDX-License-Identifier: Apache-2.0
"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks import connections, latency, server_side
from benchmarks.clients import CLIENTS

__all__ = ["TABLES", "connection_table", "document"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ratio(of: dict[str, float]) -> str:
    return f"{of['median']:.3f} ({of['low']:.3f} to {of['high']:.3f})"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.3g}"


def _decision(data: dict[str, Any]) -> str:
    """One row a case, one column for each of those who do it."""
    cases: dict[str, dict[str, str]] = {}
    for name, samples in data["seconds"].items():
        case, _, who = name.removesuffix("]").rpartition(" [")
        cases.setdefault(case, {})[who] = _microseconds(median(samples))
    columns = list(dict.fromkeys(who for row in cases.values() for who in row))
    columns.sort(key=lambda who: who != "C")
    rows = ([case, *(row.get(who, "") for who in columns)] for case, row in cases.items())
    return "Microseconds, medians.\n\n" + _table(["", *columns], rows)


def _instructions(data: dict[str, Any]) -> str:
    """The counts of callgrind."""
    rows = ([name, f"{count:,}"] for name, count in data["counts"].items())
    return f"By callgrind, {data['compiler']}, {data['flags']}.\n\n" + _table(
        ["operation of the C core", "instructions"], rows
    )


def connection_table(cell: dict[str, Any], *, http: bool) -> str:
    """One setting: what a connection costs each client."""
    rows = []
    for name, found in cell["clients"].items():
        if (name in CLIENTS and CLIENTS[name].http) is not http:
            continue
        figures = [f"{found['rate']['median']:,.0f}", _microseconds(found["cpu"]["median"])]
        figures += [_ratio(found["cpu_ratio"]), _ratio(found["wall_ratio"])]
        rows.append([connections.TITLES[name], *figures])
    return _table(["client", "connections/s", "CPU, µs", "CPU, ratio", "time, ratio"], rows)


def _connections(data: dict[str, Any]) -> str:
    parts = [
        f"{data['rounds']} rounds of {data['connections']} connections, chain of {data['chain']}. Ratios are "
        "to pyOpenSSL without a pin, round by round: the median, and the quartiles."
    ]
    parts += [f"{connections.TITLES[name]} is left out: {why}." for name, why in data["left_out"].items()]
    for cell in data["cells"]:
        setting = f"{connections.Cell(cell['tls'], cell['key'], cell['threads'])}"
        parts += [f"### {setting}: handshake", connection_table(cell, http=False)]
        parts += [f"### {setting}: handshake, request, response", connection_table(cell, http=True)]
    return "\n\n".join(parts)


def _latency(data: dict[str, Any]) -> str:
    rows = [
        [
            f"{latency.ENGINES[engine]}, chain of {length}",
            *(f"{found['percentiles'][p] / 1000:.1f}" for p in ("50", "90", "99", "99.9")),
            f"{found['share']:.1%}",
        ]
        for engine, lengths in data["engines"].items()
        for length, found in lengths.items()
    ]
    return f"Microseconds; {data['handshakes']:,} handshakes each.\n\n" + _table(
        ["", "p50", "p90", "p99", "p99.9", "of the client's handshake"], rows
    )


def _server_side(data: dict[str, Any]) -> str:
    rows = [
        [
            server_side.TITLES[name],
            f"{found['rate']['median']:,.0f}",
            _microseconds(found["cpu"]["median"]),
            _ratio(found["cpu_ratio"]),
        ]
        for name, found in data["servers"].items()
    ]
    memory = [
        [engine, f"{found['compiled']:.0f}", f"{found['policy']:.0f}", f"{found['seconds']:.2f}"]
        for engine, found in data["bytes_a_key"].items()
    ]
    return "\n\n".join(
        [
            f"{data['rounds']} rounds of {data['handshakes']} handshakes.",
            _table(["server", "handshakes/s", "CPU, µs", "CPU, ratio"], rows),
            _table(["1,000,000 keys", "bytes a key", "and in Python's Policy", "seconds to build"], memory),
        ]
    )


def _startup(data: dict[str, Any]) -> str:
    rows = [[name, f"{found['median'] * 1e3:.1f}"] for name, found in data["processes"].items()]
    contexts = [
        [f"{which} context, {engine}", _microseconds(found["median"])]
        for engine, by_name in data["contexts"].items()
        for which, found in by_name.items()
    ]
    return "\n\n".join(
        [
            _table(["a process that imports", "milliseconds"], rows),
            f"`import pinverify` beyond `import OpenSSL`: {data['beyond_openssl']['median'] * 1e3:.1f} ms. "
            f"`pinverify --help`: {_ratio(data['help_ratio'])} of `import click, OpenSSL`.",
            _table(["with the system's trust anchors", "microseconds"], contexts),
        ]
    )


def goals(benchmarks: dict[str, Any]) -> str:
    """What was aimed at, and what came of it."""
    figures = {name: found["figures"] for name, found in benchmarks.items()}
    seconds = {name: median(samples) for name, samples in figures["decision"]["seconds"].items()}
    one = {cell["threads"]: cell["clients"] for cell in figures["connections"]["cells"][:2]}

    def cpu(name: str) -> str:
        return ", ".join(f"{clients[name]['cpu_ratio']['median']:.3f}" for clients in one.values())

    def decide(what: str) -> float:
        return seconds[f"decide, chain of 3, {what} [C]"]

    memory = figures["server"]["bytes_a_key"]["native"]
    context = figures["startup"]["contexts"]["native"]["later"]["median"]
    rows = [
        ["CPU of a pinned connection over an unpinned one, 1 and 2 threads", "1.01", cpu("native")],
        ["the same, Python engine", "1.12", cpu("python")],
        ["`decide`, chain of three, leaf pinned", "1 µs", _microseconds(decide("pinned at depth 0")) + " µs"],
        ["the same without SHA instructions", "3 µs", _microseconds(decide("no SHA instructions")) + " µs"],
        ["1,000,000 pins against 1", "1.25", f"{decide('of 1,000,000 pins') / decide('of 1 pins'):.2f}"],
        ["memory of a pin, of 1,000,000", "48 bytes", f"{memory['compiled']:.0f} bytes"],
        ["1,000,000 pins built", "1 s", f"{memory['seconds']:.2f} s"],
        ["100,000 hosts against 1", "1.25", f"{decide('of 100,000 hosts') / decide('of 1 hosts'):.2f}"],
        ["a context, trust anchors loaded", "250 µs", _microseconds(context) + " µs"],
        [
            "`import pinverify` beyond `import OpenSSL`",
            "25 ms",
            f"{figures['startup']['beyond_openssl']['median'] * 1e3:.1f} ms",
        ],
    ]
    return _table(["", "goal: at most", "measured"], rows)


TABLES = {
    "decision": _decision,
    "instructions": _instructions,
    "latency": _latency,
    "connections": _connections,
    "server": _server_side,
    "startup": _startup,
}


def document(results: dict[str, Any], titles: dict[str, str], charts: dict[str, list[str]]) -> str:
    """All figures of a run."""
    parts = ["# Figures", "How they came about, and what they do not show: [README.md](../README.md)."]
    parts.append(_table(["", ""], [[name, str(value)] for name, value in results["machine"].items()]))
    if set(titles) <= set(results["benchmarks"]):
        parts += ["## Goals", goals(results["benchmarks"])]
    for name, title in titles.items():
        found = results["benchmarks"].get(name)
        if found is None:
            continue
        effort = ", a quick run: good for a first look only" if found["quick"] else ""
        parts += [
            f"## {title}",
            f"Measured on {found['taken']}{effort}: `python -m benchmarks --only {name}`.",
        ]
        parts += [f"![{chart.removesuffix('.svg')}]({chart})" for chart in charts.get(name, [])]
        parts.append(TABLES[name](found["figures"]))
    return "\n\n".join(parts) + "\n"
