# SPDX-License-Identifier: Apache-2.0
"""`pinverify convert`, and `pinverify pins` in the formats of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from pinverify.cli.listing import Listing
from pinverify.cli.peer import invalid_input
from pinverify.errors import PinverifyError
from pinverify.formats import SIZE_LIMIT, WITHOUT_HOSTS, Exported, format_named, read_file
from pinverify.hostnames import host_and_port
from pinverify.policy import Policy

__all__ = ["convert", "show_as"]


def convert(source: str, from_: str, to: str, host: str | None) -> None:
    """Prints a file of one format in another, and on standard error what gets lost. Raises click's error of
    usage.
    """
    # The reader takes the host if it needs one; one that nobody needs, it refuses.
    for_writer = to in WITHOUT_HOSTS and from_ not in WITHOUT_HOSTS
    with invalid_input():
        reader, writer = format_named(from_), format_named(to)
        data = sys.stdin.buffer.read(SIZE_LIMIT + 1) if source == "-" else read_file(source)
        name = "standard input" if source == "-" else source
        policy, warnings = reader.read(data, source=name, host=None if for_writer else host)
        exported = writer.write(policy, host=host if for_writer else None)
    _warn(warnings)
    _print(exported)


def show_as(listing: Listing, form: str, host: str | None) -> int:
    """Prints the pins of a listing as an entry for `host`, by default the server that they are of; the exit
    status. Raises click's error of usage.
    """
    kind = "cert_pin" if form == "bare" else "pin"
    for entry in listing.entries:
        if getattr(entry, kind) is None:
            what = entry.problem or "it is a key, and the format has hashes of certificates"
            raise click.UsageError(f"depth {entry.depth} of {listing.source}: {what}")
    with invalid_input():
        pins = [getattr(entry, kind) for entry in listing.entries]
        exported = format_named(form).write(Policy({host or _host_of(listing): pins}))
    _warn([listing.note] if listing.note else [])
    _print(exported)
    return 0


def _host_of(listing: Listing) -> str:
    if listing.note is None:  # a file
        raise PinverifyError("say with --host for whom the pins are")
    return host_and_port(listing.source)[0]


def _print(exported: Exported) -> None:
    _warn(exported.warnings)
    click.echo(exported.text, nl=False)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
