# SPDX-License-Identifier: Apache-2.0
"""What the commands print. rich is imported where a table is drawn, and nowhere else."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Literal

import click

from pinverify.cli.chain import Link, links
from pinverify.cli.listing import Entry, Listing
from pinverify.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pinverify.demo import Cost, Result

__all__ = ["show_demo", "show_listing", "show_verdict"]

_PIPED_WIDTH = 100  # of tables that no terminal sets a width for


def show_listing(listing: Listing, form: str) -> int:
    """Prints the pins of certificates; the exit status: 2 if a certificate is malformed."""
    if form == "auto":
        form = "table" if sys.stdout.isatty() else "lines"
    if form == "table":
        _print_table(listing)
    elif form == "json":
        click.echo(json.dumps(_as_json(listing), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(_line, listing.entries)))
    if listing.note and not (form == "table" and sys.stdout.isatty()):
        click.echo(listing.note, err=True)
    malformed = [entry for entry in listing.entries if entry.problem]
    for entry in malformed:
        click.echo(f"certificate {entry.depth} of {listing.source}: {entry.problem}", err=True)
    return 2 if malformed else 0


def _line(entry: Entry) -> str:
    return f"{entry.pin or 'malformed'}\t{entry.depth}\t{entry.subject}"


def _as_json(listing: Listing) -> dict[str, object]:
    return {
        "source": listing.source,
        "verified": False,  # a file's certificates are not either
        "certificates": [entry.as_json for entry in listing.entries],
    }


def _print_table(listing: Listing) -> None:
    console, table = _console(), _table("depth", "subject, and the pin of its key", "valid until")
    for entry in listing.entries:
        until = f"{entry.not_after:%Y-%m-%d}" if entry.not_after else ""
        # One below the other, since a pin must not be broken, and next to it nothing has room in 80 columns.
        table.add_row(str(entry.depth), f"{entry.subject}\n{entry.pin or 'malformed'}", until)
    if listing.note:
        console.print(listing.note, style="bold yellow")
    _print(console, table)


def show_verdict(verdict: Verdict, form: str, *, former: tuple[bytes, ...]) -> None:
    """Prints a verdict with its whole chain."""
    if form == "auto":
        form = "table" if sys.stdout.isatty() else "text"
    if form == "json":
        click.echo(json.dumps(_verdict_as_json(verdict, former), indent=2, ensure_ascii=False))
    elif form == "text":
        click.echo(verdict.explain(former=former))
    else:
        console = _console()
        table = _table("depth", "certificate", "key", "sent", "days left", "pinned")
        for link in links(verdict):
            table.add_row(*_link_row(link), style="bold green" if link.matched else "")
        first, *_ = verdict.explain(former=former).splitlines()
        _print(console, f"{first}\n")
        _print(console, table)
        _print(console, f"\n{verdict.remedy}" if verdict.remedy else "")


def _link_row(link: Link) -> tuple[str, ...]:
    depth = "not verified" if link.depth is None else str(link.depth)
    # One below the other, since a pin must not be broken.
    certificate = f"{link.subject}\n  issued by {link.issuer}\n  {link.pin}"
    days = "" if link.days_left is None else str(link.days_left)
    return depth, certificate, link.key, _yes(link.sent), days, _yes(link.matched)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _verdict_as_json(verdict: Verdict, former: tuple[bytes, ...]) -> dict[str, object]:
    diagnosis = verdict.diagnose(former=former)
    return {
        "accepted": verdict.accepted,
        "reason": verdict.reason.name,
        "diagnosis": diagnosis and diagnosis.name,
        "host": verdict.host,
        "entry": verdict.pattern,
        "depth": verdict.depth,
        "summary": verdict.summary,
        "chain": [link._asdict() for link in links(verdict)],
        "expected": [str(pin) for pin in verdict.expected],
    }


def show_demo() -> bool:
    """Plays the demonstration and prints it; whether all came out as expected."""
    from pinverify.demo import Pki, measure, run
    from pinverify.info import engine_info

    pki, console, info = Pki(), _console(), engine_info()
    results = list(run(pki))
    table = _table("case", "expected", "happened", "why")
    for result in results:
        table.add_row(*_row(result), style="" if result.as_expected else "bold red")
    _print(console, table)
    wrong = sum(not result.as_expected for result in results)
    _print(console, f"\n{len(results)} cases, {f'{wrong} NOT' if wrong else 'all'} as expected.")
    _print(console, f"Decided by the {info.name} engine: {info.reason}. SHA-256: {info.sha256}.")
    _print(console, _cost_text(measure(pki)))
    return not wrong


def _row(result: Result) -> tuple[str, ...]:
    case, outcome = result.case, result.outcome
    why = f"{outcome.reason.name}: {outcome.why}" if outcome.reason is not None else outcome.why
    if not result.as_expected:
        expected = case.reason.name if case.reason is not None else "without a verdict"
        why += f" (NOT AS EXPECTED: {_verb(case.accepts)}, {expected})"
    return case.title, _verb(case.accepts), _verb(outcome.accepted), why


def _verb(accepted: bool) -> str:
    return "accepted" if accepted else "refused"


def _cost_text(cost: Cost) -> str:
    return (
        "Cost on this machine, now (medians of elapsed time):\n"
        f"{cost.decision * 1e6:10.1f} us  a decision over a chain of three, called from Python\n"
        f"{cost.handshake * 1e6:10.1f} us  a handshake over 127.0.0.1, both ends in this process\n"
        f"{cost.ratio:13.2%}  of a handshake is a decision, 1 : {1 / cost.ratio:,.0f}"
    )


def _console() -> Console:
    from rich.console import Console

    # A terminal has its width; elsewhere COLUMNS may say one. No markup: subjects are other people's words.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"  # nor bold type, then
    return Console(
        file=sys.stdout, width=width, color_system=colours, markup=False, highlight=False, emoji=False
    )


def _print(console: Console, what: Table | str) -> None:
    """As `console.print`, without the blanks that rich fills lines with."""
    with console.capture() as captured:
        console.print(what)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=True)


def _table(*columns: str) -> Table:
    """A table whose cells fold: nothing is cut off."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
