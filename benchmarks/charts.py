# SPDX-License-Identifier: Apache-2.0
"""The figures as pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import connections, latency
from benchmarks.clients import CLIENTS

__all__ = ["CHARTS", "draw"]

_OURS, _OTHERS, _UNPINNED = "#c2410c", "#3b6ea5", "#9ca3af"
_ENGINE_COLOURS = {"native": _OURS, "python": "#f59e0b", "callback": _OTHERS}

mpl.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "svg.fonttype": "none",  # letters stay letters
        "svg.hashsalt": "pinverify",  # the same figures give the same file
        "figure.constrained_layout.use": True,
    }
)


def _colour(name: str) -> str:
    if name in CLIENTS and not CLIENTS[name].pinned:
        return _UNPINNED
    return _OURS if name in ("native", "native-http", "python") else _OTHERS


def _bars(axes: Axes, cell: dict[str, Any], *, http: bool, title: str) -> None:
    clients = {
        name: found
        for name, found in cell["clients"].items()
        if (name in CLIENTS and CLIENTS[name].http) is http
    }
    ordered = sorted(clients, key=lambda name: clients[name]["rate"]["median"])
    rates = [clients[name]["rate"] for name in ordered]
    axes.barh(
        [connections.TITLES[name] for name in ordered],
        [rate["median"] for rate in rates],
        xerr=[
            [rate["median"] - rate["low"] for rate in rates],
            [rate["high"] - rate["median"] for rate in rates],
        ],
        color=[_colour(name) for name in ordered],
        error_kw={"ecolor": "#374151", "capsize": 3, "linewidth": 1},
        height=0.7,
    )
    for row, rate in enumerate(rates):
        axes.text(rate["high"], row, f"  {rate['median']:,.0f}", va="center", fontsize=9)
    axes.set_title(title)
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_xlabel("connections a second: median, quartiles")


def connection_rates(data: dict[str, Any]) -> Figure:
    """Connections a second of all clients in the first setting."""
    cell = data["cells"][0]
    figure = Figure(figsize=(8, 6.4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[7, 8])
    setting = f"TLS {cell['tls']}, {cell['key']}, one client core"
    _bars(above, cell, http=False, title=f"Full handshakes with nginx ({setting})")
    above.set_xlabel("")
    _bars(below, cell, http=True, title="The same, with a request and its response")
    handles = [
        mpl.patches.Patch(color=colour, label=label)
        for colour, label in ((_OURS, "pinverify"), (_OTHERS, "other pins"), (_UNPINNED, "no pin"))
    ]
    above.legend(handles=handles, loc="lower right", frameon=True, facecolor="white", edgecolor="none")
    return figure


def scaling(data: dict[str, Any]) -> Figure:
    """What a decision costs with more pins, and with more hosts."""
    figure = Figure(figsize=(8, 3.6))
    panels = figure.subplots(1, 2, sharey=True)
    wanted = (
        (
            "pins",
            {"decide, chain of 3, of {} pins": "decision, chain of 3", "pin set of {}": "look-up alone"},
        ),
        (
            "hosts",
            {
                "decide, chain of 3, of {} hosts": "decision, chain of 3",
                "host, exact, of {}": "look-up of a name",
                "host, wildcard, of {}": "look-up under a wildcard",
            },
        ),
    )
    for axes, (what, lines) in zip(panels, wanted, strict=True):
        for colour, (pattern, label) in zip((_OURS, _OTHERS, "#0f766e"), lines.items(), strict=False):
            expression = re.escape(pattern + " [C]").replace(r"\{\}", r"([\d,]+)")
            points = sorted(
                (int(match[1].replace(",", "")), median(samples) * 1e6)
                for name, samples in data["seconds"].items()
                if (match := re.fullmatch(expression, name))
            )
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=label)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{what} in the policy")
        axes.grid(color="#e5e7eb")
        axes.legend(frameon=False, loc="center right")
    panels[0].set_ylabel("microseconds in C")
    panels[0].set_title("More pins")
    panels[1].set_title("More hosts")
    return figure


def latencies(data: dict[str, Any]) -> Figure:
    """How long handshakes spend in verifying pins: the distribution, and by length of the chain."""
    figure = Figure(figsize=(8, 4))
    left, right = figure.subplots(1, 2, width_ratios=[5, 4])
    for engine, lengths in data["engines"].items():
        colour, title = _ENGINE_COLOURS[engine], latency.ENGINES[engine]
        curve = [nanoseconds / 1000 for nanoseconds in lengths["3"]["curve"]]
        left.plot(curve, [100 * i / len(curve) for i in range(len(curve))], color=colour, label=title)
        middle = [found["percentiles"]["50"] / 1000 for found in lengths.values()]
        tail = [found["percentiles"]["99"] / 1000 for found in lengths.values()]
        numbers = [int(length) for length in lengths]
        right.plot(numbers, middle, marker="o", color=colour)
        right.fill_between(numbers, middle, tail, color=colour, alpha=0.15, linewidth=0)
    left.set_xscale("log")
    left.set_title("Chain of 3")
    left.set_xlabel("microseconds spent in verifying pins")
    left.set_ylabel("percent of handshakes")
    figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    right.set_yscale("log")
    right.set_title("By length: median, shaded to p99")
    right.set_xlabel("certificates in the chain")
    right.set_ylabel("microseconds")
    for axes in (left, right):
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(color="#e5e7eb")
    right.yaxis.set_major_formatter("{x:,.0f}")
    return figure


CHARTS: dict[str, dict[str, Callable[[dict[str, Any]], Figure]]] = {
    "connections": {"connection-rates.svg": connection_rates},
    "decision": {"scaling.svg": scaling},
    "latency": {"latency.svg": latencies},
}


def draw(results: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Writes the charts of all that was measured; gives their names, by benchmark."""
    drawn: dict[str, list[str]] = {}
    for benchmark, charts in CHARTS.items():
        if found := results["benchmarks"].get(benchmark):
            for name, chart in charts.items():
                chart(found["figures"]).savefig(folder / name, metadata={"Date": None})
                drawn.setdefault(benchmark, []).append(name)
    return drawn
