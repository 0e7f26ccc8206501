# SPDX-License-Identifier: Apache-2.0
"""What shows only when the hosts of a policy are asked: which pin matches, where, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime, timezone
from typing import NamedTuple

from OpenSSL import SSL

from pinverify.connection import connect, verdict
from pinverify.context import client_context
from pinverify.diagnosis import pins_of
from pinverify.errors import PinRefused
from pinverify.hostnames import HTTPS, Match, split_pattern
from pinverify.lint import SOON, Finding, Severity
from pinverify.pins import PinSet
from pinverify.policy import Policy
from pinverify.reading import days_left
from pinverify.trust import TrustSource
from pinverify.verdict import Verdict, subject_of

__all__ = ["lint_live"]


def lint_live(
    policy: Policy,
    *,
    trust: TrustSource = "system",
    addresses: Mapping[str, tuple[str, int]] | None = None,
    timeout: float = 10.0,
    now: datetime | None = None,
) -> Iterator[Finding]:
    """Connects to the host of each entry, one after the other, and says what comes of it.

    A "*.name" has no host that could be asked; of "**.name" it is the name. `addresses` has where to find a
    host, by its name; otherwise it is looked up, and port 443 taken.
    """
    for pattern, pins in policy.hosts.items():
        match, host = split_pattern(pattern)
        entry = _Entry(pattern, host, pins, now or datetime.now(timezone.utc))
        if match is Match.ONE_LABEL:
            yield entry.info("not-asked", "a wildcard names no host to ask", "ask one of its hosts by name")
        else:
            yield from _ask(entry, (addresses or {}).get(host, (host, HTTPS)), trust, timeout)


class _Entry(NamedTuple):
    """An entry of the policy, the host to ask for it, and the moment that it is."""

    pattern: str
    host: str
    pins: PinSet
    now: datetime

    def info(self, code: str, why: str, remedy: str) -> Finding:
        return Finding(code, Severity.INFO, self.pattern, why, remedy)

    def warning(self, code: str, why: str, remedy: str) -> Finding:
        return Finding(code, Severity.WARNING, self.pattern, why, remedy)

    def error(self, code: str, why: str, remedy: str) -> Finding:
        return Finding(code, Severity.ERROR, self.pattern, why, remedy)


def _ask(entry: _Entry, address: tuple[str, int], trust: TrustSource, timeout: float) -> Iterator[Finding]:
    # Neither mode nor expiry: what is asked is whether the pins are right.
    pins = PinSet(entry.pins.allow, deny=entry.pins.deny)
    context = client_context({entry.host: pins}, trust=trust)
    try:
        with closing(connect(address, context, host=entry.host, timeout=timeout)) as connection:
            found = verdict(connection)
            with suppress(SSL.Error):
                connection.shutdown()
    except PinRefused as refused:
        remedy = f"`pinverify check {entry.host}` tells more; if the key is legitimate, add its pin"
        yield entry.error("refused", refused.verdict.summary, remedy)
    except (OSError, SSL.Error) as error:
        why = f"no connection to {entry.host}: {getattr(error, 'strerror', None) or error}"
        yield entry.warning("unreachable", why, "look whether the host is still in use")
    else:
        yield from _matches(entry, found)
        yield from _unseen(entry, found)


def _matches(entry: _Entry, found: Verdict) -> Iterator[Finding]:
    """Which certificates of the verified chain are pinned, and how long they last."""
    allowed = set(entry.pins.allow)
    depths = [depth for depth, der in enumerate(found.chain) if not pins_of((der,)).isdisjoint(allowed)]
    for depth in depths:
        der, pin = found.chain[depth], found.pins[depth]
        days = days_left(der, entry.now)
        left = "its end cannot be read" if days is None else f"{days} days left"
        yield entry.info("matched", f"depth {depth}, {subject_of(der)}: {pin}, {left}", "nothing")
        if depth == 0 and days is not None and days < SOON.days:
            yield entry.warning(
                "ends-soon",
                f"the pinned certificate ends in {days} days; the next one may have another key",
                "learn the next key's pin, and add it before then",
            )
    if depths == [0]:
        yield entry.info(
            "leaf-only",
            "of the chain only the server's own key is pinned: its next key has to be in the policy ahead",
            "have the next key's pin in the entry before it is used",
        )
    elif 0 not in depths and len(found.chain) - 1 not in depths:
        yield entry.warning(
            "intermediate-only",
            "of the chain only an intermediate CA is pinned, and CAs change those without notice",
            "pin the server's own key, or the root, as well",
        )


def _unseen(entry: _Entry, found: Verdict) -> Iterator[Finding]:
    """Which pins did not show, and whether there is a backup among them."""
    verified, shown = pins_of(found.chain), pins_of(found.sent)
    unseen = [pin for pin in entry.pins.allow if pin not in verified]
    backups = [pin for pin in unseen if pin not in shown]
    for pin in unseen:
        if pin in shown:
            yield entry.warning(
                "sent-not-verified",
                f"{pin} is sent but not in the verified chain: the trust anchors lead another way",
                "pin a certificate of the verified chain, or trust the root that was meant",
            )
    if not unseen:
        yield entry.warning(
            "backup-in-chain",
            "all pins are keys of this one chain: none is left when it is replaced (RFC 7469 4.3)",
            "add the pin of a key that is not in use",
        )
    elif backups:
        yield entry.info(
            "backup-unseen",
            f"{len(backups)} of {len(entry.pins.allow)} pins did not show, as backups should: {backups[0]}",
            "make sure that their keys exist and can be found",
        )
