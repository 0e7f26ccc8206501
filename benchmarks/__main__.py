# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: measures, and writes results.json, README.md and charts into one folder."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import connections, decision, instructions, latency, machine, report, server_side, startup
from benchmarks.common import FOLDER, Run, Unavailable

_ALL = {
    "decision": ("The decision, step by step", decision.measure),
    "instructions": ("Instructions of the C core", instructions.measure),
    "latency": ("Verification inside a handshake", latency.measure),
    "connections": ("Connections to nginx", connections.measure),
    "server": ("Servers of many client keys", server_side.measure),
    "startup": ("Start-up", startup.measure),
}
_TITLES = {name: title for name, (title, _) in _ALL.items()}
_README = FOLDER.parent / "README.md"
_BEGIN, _END = "<!-- made by: python -m benchmarks --render -->\n", "<!-- end -->\n"


@click.command(help="Measures what pins cost, and writes figures, tables and charts.")
@click.option("--quick", is_flag=True, help="Few samples: three minutes, good for a first look only.")
@click.option("--only", multiple=True, type=click.Choice(list(_ALL)), help="One of them; can be repeated.")
@click.option("--render", is_flag=True, help="Measure nothing: tables, charts and the project's README anew.")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER / "results", show_default=True)
def main(quick: bool, only: tuple[str, ...], render: bool, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    file = output / "results.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"benchmarks": {}}
    if not render:
        results["machine"] = machine.describe()
        _measure(results["benchmarks"], only or tuple(_ALL), quick)
        file.write_text(json.dumps(results, indent=1) + "\n")
    charts = _draw(results, output)
    try:
        text = report.document(results, _TITLES, charts)
    except KeyError as lacking:
        raise click.ClickException(
            f"{file} is of an older version and lacks {lacking}: measure anew"
        ) from lacking
    (output / "README.md").write_text(text)
    if render:
        _rewrite_readme(results)
    click.echo(f"{output / 'README.md'} has the figures")


def _measure(benchmarks: dict[str, Any], names: tuple[str, ...], quick: bool) -> None:
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in names:
            task = progress.add_task(name, total=1.0, now="")

            def tell(what: str, part: float, task: Any = task) -> None:
                progress.update(task, completed=part, now=what)

            try:
                figures = _ALL[name][1](Run(quick, tell))
            except Unavailable as absent:
                progress.update(task, now=f"left out: {absent}")
                continue
            progress.update(task, completed=1.0, now="")
            taken = datetime.now(timezone.utc).isoformat(timespec="minutes")
            load = os.getloadavg()[0]
            benchmarks[name] = {"taken": taken, "quick": quick, "load": load, "figures": figures}


def _draw(results: dict[str, Any], output: Path) -> dict[str, list[str]]:
    try:
        from benchmarks import charts
    except ImportError:
        click.echo("no charts: matplotlib is not installed", err=True)
        return {}
    return charts.draw(results, output)


def _rewrite_readme(results: dict[str, Any]) -> None:
    """Puts the main chart and table into the project's README, between two marks."""
    if "connections" not in results["benchmarks"]:
        raise click.UsageError("there are no figures of connections to render; measure them first")
    found = results["benchmarks"]["connections"]["figures"]["cells"][0]
    before, _, rest = _README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    chart = "![Connections a second](benchmarks/results/connection-rates.svg)\n"
    table = report.connection_table(found, http=False)
    _README.write_text(f"{before}{_BEGIN}{chart}\n{table}\n{_END}{after}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
