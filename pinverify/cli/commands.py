# SPDX-License-Identifier: Apache-2.0
"""The commands and their options. What they do is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import click

from pinverify.formats import NAMES

__all__ = ["cli"]

_file = click.Path(allow_dash=True)  # for shells to complete; what is wrong with a file is said on opening it

_timeout = click.option(
    "--connect-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For TCP and the handshake together.",
)
_trust = click.option(
    "--trust",
    type=_file,
    default="system",
    show_default=True,
    metavar="FILE|DIR|system|pins",
    help="The CAs, in PEM. pins: none, the server's own key must be pinned.",
)


def _format(*names: str, help: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --format; the first name is the default."""
    return click.option(
        "--format", "form", type=click.Choice(names), default=names[0], show_default=True, help=help
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pinverify", message="%(prog)s %(version)s")
def cli() -> None:
    """Pinned TLS for pyOpenSSL."""


@cli.command()
def demo() -> None:
    """Show what is accepted and what is refused.

    Real handshakes over 127.0.0.1, with certificates made on the spot. The exit status is 1 if one does not
    come out as expected.
    """
    from pinverify.cli.show import show_demo

    raise SystemExit(0 if show_demo() else 1)


@cli.command()
@click.argument("source", type=_file, metavar="FILE|HOST[:PORT]")
@_format(
    "auto",
    "table",
    "lines",
    "json",
    *NAMES,
    help="auto: a table on a terminal, else lines of pin, depth and subject with tabs between them. "
    "The others are as for convert.",
)
@click.option("--host", metavar="PATTERN", help="For whom the pins are, in the formats of convert.")
@click.option(
    "--depth", "depths", type=int, multiple=True, help="Only what is at this place; may be repeated."
)
@_timeout
def pins(source: str, form: str, host: str | None, depths: tuple[int, ...], connect_timeout: float) -> None:
    """Print the pin of each certificate, key or request.

    Of a file, PEM or DER ("-" is standard input), or of what a server sends. A server's certificates are NOT
    verified: compare them with what you know from elsewhere before you pin them.

    Exit status: 0 printed, 2 wrong usage, or something malformed, 3 no connection.
    """
    from pinverify.cli.convert import show_as
    from pinverify.cli.listing import listing_of
    from pinverify.cli.show import show_listing

    listing = listing_of(source, connect_timeout).at(depths)
    raise SystemExit(show_as(listing, form, host) if form in NAMES else show_listing(listing, form))


@cli.command()
@click.argument("source", type=_file, metavar="FILE")
@click.option("--from", "from_", type=click.Choice(NAMES), required=True, help="What FILE is.")
@click.option("--to", type=click.Choice(NAMES), default="toml", show_default=True, help="What to print.")
@click.option(
    "--host",
    metavar="PATTERN",
    help="For whom the pins are, where the format read does not say; or the entry to print, where the "
    "format printed cannot.",
)
def convert(source: str, from_: str, to: str, host: str | None) -> None:
    """Translate pins from one format into another.

    FILE ("-" is standard input) is read as --from, and printed as --to. What the one says and the other
    cannot is refused, or told on standard error. toml is the policy file; bare are hex fingerprints of
    certificates. Formats that name no hosts take --host.

    Exit status: 0 printed, perhaps with warnings, 2 wrong usage, or not to be translated.
    """
    from pinverify.cli.convert import convert as run

    run(source, from_, to, host)


@cli.command()
@click.argument("address", metavar="HOST[:PORT]")
@click.option("--pin", "pins", multiple=True, help="A pin that is allowed; may be repeated.")
@click.option("--policy", type=_file, metavar="POLICY.toml", help="A policy file, in place of pins.")
@_trust
@click.option("--name", help="The name that the certificate must have, if it is not HOST.")
@click.option(
    "--former",
    type=_file,
    metavar="FILE",
    help="A chain that the host had before, in PEM: to tell a rotated key from another CA.",
)
@_format("auto", "table", "text", "json", help="auto: with the chain as a table on a terminal, else as text.")
@_timeout
def check(
    address: str,
    pins: tuple[str, ...],
    policy: str | None,
    trust: str,
    name: str | None,
    former: str | None,
    form: str,
    connect_timeout: float,
) -> None:
    """Open a pinned connection and print the verdict.

    If it refuses: what is the matter, the whole chain, and what to add if the key is legitimate.

    Exit status: 0 accepted, 1 refused, 2 wrong usage, 3 no connection, or TLS failed before there was a
    verdict.
    """
    from pinverify.cli.check import check as run
    from pinverify.cli.listing import certificates_in
    from pinverify.cli.show import show_verdict

    before = tuple(certificates_in(former)) if former is not None else ()
    verdict = run(address, pins, policy, trust=trust, name=name, timeout=connect_timeout)
    show_verdict(verdict, form, former=before)
    raise SystemExit(0 if verdict.accepted else 1)


@cli.command()
@click.argument("policy", type=_file, metavar="POLICY.toml")
@click.option("--live", is_flag=True, help="Ask each host too: which pin matches, where, and for how long.")
@_trust
@click.option(
    "--connect-to",
    multiple=True,
    metavar="HOST=ADDRESS[:PORT]",
    help="With --live: where to find a host, if not at its own name and port 443; may be repeated.",
)
@_timeout
@_format("text", "json")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="The least severity that makes the exit status 1.",
)
def lint(
    policy: str,
    live: bool,
    trust: str,
    connect_to: tuple[str, ...],
    connect_timeout: float,
    form: str,
    fail_on: str,
) -> None:
    """Say what is likely to hurt in a policy file.

    Exit status: 0 nothing of note, 1 something found, 2 wrong usage, or no policy in the file.
    """
    from pinverify.cli.findings import show_findings

    raise SystemExit(
        show_findings(
            policy,
            live=live,
            trust=trust,
            connect_to=connect_to,
            timeout=connect_timeout,
            form=form,
            fail_on=fail_on,
        )
    )


@cli.command()
@click.argument("hosts", metavar="HOSTS.txt")
@click.option("--policy", required=True, metavar="POLICY.toml", help="What the hosts are held to.")
@click.option(
    "--output",
    default="-",
    metavar="FILE",
    help="Where the outcomes go, a line of JSON each; what the file has already is not asked again. "
    "By default standard output.",
)
@_trust
@click.option(
    "--jobs", type=click.IntRange(1, 1000), default=32, show_default=True, help="Connections at a time."
)
@_timeout
def audit(hosts: str, policy: str, output: str, trust: str, jobs: int, connect_timeout: float) -> None:
    """Hold many hosts to a policy file.

    HOSTS.txt ("-" is standard input) has a HOST[:PORT] a line, and as a second word the ADDRESS[:PORT] where
    it is, if that is elsewhere; what follows a "#" is a comment. It can be stopped with Ctrl-C and taken up
    again with the same --output.

    Exit status: 0 all accepted, 1 some refused, 2 wrong usage, 3 none refused but some without a verdict, 130
    stopped.
    """
    from pinverify.cli.audit import run_audit

    raise SystemExit(run_audit(hosts, policy, output, trust=trust, timeout=connect_timeout, jobs=jobs))


@cli.command()
def debug() -> None:
    """Print which engine runs, why, and on what."""
    from pinverify.cli.debug import describe

    click.echo(describe())


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and options.

    For bash: eval "$(pinverify completion bash)" in ~/.bashrc, likewise for zsh in ~/.zshrc. For fish:
    pinverify completion fish > ~/.config/fish/completions/pinverify.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # all three come with click
    click.echo(found(cli, {}, "pinverify", "_PINVERIFY_COMPLETE").source())
