# SPDX-License-Identifier: Apache-2.0
"""Verdict: what was decided about a peer, why, and what a person can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinverify.decision import Decision, Reason
from pinverify.diagnosis import Diagnosis, diagnose, pin_of
from pinverify.pins import Pin, PinSet
from pinverify.reading import read

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["Verdict", "printable", "subject_of"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a peer, with all that it was decided on.

    `chain` is the verified chain (as far as it was built, if OpenSSL refused it), `sent` what the peer sent,
    both leaf first and in DER; of a resumed session `chain` has the leaf alone, which the session keeps.
    `host` is None on a server. `pattern` and `entry` are the policy's entry that decided, if one did; `depth`
    is the place in `chain` of the certificate that settled it (0 is the leaf), if one did.
    """

    reason: Reason
    accepted: bool
    host: str | None = None
    pattern: str | None = None
    entry: PinSet | None = None
    depth: int | None = None
    chain: tuple[bytes, ...] = ()
    sent: tuple[bytes, ...] = ()
    detail: str = ""

    @classmethod
    def of(
        cls,
        policy: Policy,
        decision: Decision,
        *,
        host: str | None,
        chain: tuple[bytes, ...] = (),
        sent: tuple[bytes, ...] = (),
        detail: str = "",
    ) -> Verdict:
        """The verdict that an engine's `decision` under `policy` amounts to."""
        pattern, entry = policy.decided_by(host, decision.entry)
        return cls(
            reason=decision.reason,
            accepted=decision.accepted,
            host=host or None,
            pattern=pattern,
            entry=entry,
            depth=decision.depth if decision.depth >= 0 else None,
            chain=chain,
            sent=sent,
            detail=detail or (decision.status.text if decision.reason is Reason.MALFORMED else ""),
        )

    @property
    def pins(self) -> tuple[Pin | None, ...]:
        """The key's pin of each certificate of `chain`; None where a certificate is malformed."""
        return tuple(map(pin_of, self.chain))

    @property
    def expected(self) -> tuple[Pin, ...]:
        """The pins that would have been accepted."""
        return self.entry.allow if self.entry is not None else ()

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What kind of NOT_PINNED it is; None for any other reason."""
        return self.diagnose()

    def diagnose(self, *, former: tuple[bytes, ...] = ()) -> Diagnosis | None:
        """As `diagnosis`, with a chain (DER, leaf first) that the host had when it was accepted to compare
        with.
        """
        if self.reason is not Reason.NOT_PINNED:
            return None
        allowed, of_client = set(self.expected), self.host is None
        return diagnose(self.chain, self.sent, allowed, former=former, of_client=of_client)

    @property
    def summary(self) -> str:
        """One line: whom, whether and why. It is cheap, and so leaves the diagnosis to `explain`."""
        return self._line(self._why())

    def _line(self, why: str) -> str:
        whom = self.host or "the peer"
        verb = (
            ("accepted" if self.reason.accepts else "accepted, reporting only,")
            if self.accepted
            else "refused"
        )
        return f"{verb} {whom}: {why}"

    def explain(self, *, former: tuple[bytes, ...] = ()) -> str:
        """The whole story in some lines: diagnosis, chain, pins, and what to paste into the policy if the key
        is legitimate. `former` is as in `diagnose`.
        """
        diagnosis = self.diagnose(former=former)
        first = self.summary if diagnosis is None else self._line(diagnosis.value)
        return "\n".join([first, *self._chain_lines(), *self._remedy_lines()])

    @property
    def remedy(self) -> str:
        """The last part of `explain`: what was expected and what to add; "" where pins do not matter."""
        return "\n".join(self._remedy_lines())

    def __str__(self) -> str:
        return self.summary

    def _why(self) -> str:
        if self.reason is Reason.NOT_PINNED:
            return Diagnosis.WRONG_KEY.value
        if self.reason is Reason.EXPIRED and self.entry is not None:
            return f"the pins of the entry {self.pattern!r} expired on {self.entry.expires:%Y-%m-%d}"
        why = _WHY[self.reason]
        return f"{why}: {self.detail}" if self.detail else why

    def _chain_lines(self) -> list[str]:
        return [
            f"  depth {depth}: {pin or 'malformed certificate'}  {subject_of(der)}"
            + (f"  <- {self.reason.name}" if depth == self.depth else "")
            for depth, (der, pin) in enumerate(zip(self.chain, self.pins, strict=True))
        ]

    def _remedy_lines(self) -> list[str]:
        if not self.reason.is_violation:
            return []
        shown = [f"    {pin}" for pin in self.expected[:_SHOWN]]
        more = len(self.expected) - len(shown)
        lines = [
            f"  pins of the entry {self.pattern!r}:",
            *shown,
            *([f"    and {more:,} more"] if more else []),
        ]
        if self.reason is Reason.NOT_PINNED and self.pins and self.pins[0] is not None:
            lines.append(f'  If that key is legitimate, add it to the entry: "{self.pins[0]}"')
        return lines


# How many pins of an entry a message lists; a server's entry may hold a million.
_SHOWN = 8

_WHY = {
    Reason.INTERNAL: "something failed while deciding, so nobody is let in",
    Reason.DENIED: "a key of the verified chain is on the entry's list of denied keys",
    Reason.EXPIRED: "the entry's pins have expired",
    Reason.UNLISTED: "the policy has no entry for this host",
    Reason.NO_REFERENCE: (
        "the connection does not say which host it wants; call conn.set_tlsext_host_name(b'…') before the "
        "handshake, or make it with ctx.connection('…')"
    ),
    Reason.BAD_REFERENCE: (
        "the server name that the connection sends is not a host name (RFC 6066 3: no address, port or URL; "
        "labels of letters, digits, '-' and '_'; international names as xn--…); "
        "ctx.connection('…') takes care of it"
    ),
    Reason.MALFORMED: "a certificate of the chain is malformed",
    Reason.CHAIN_LENGTH: "the chain has no certificate, or more than 32",
    Reason.OPENSSL: "OpenSSL refused the certificate",
    Reason.SESSION: (
        "the connection resumed a session that is no proof here: its leaf is not pinned, or it was made for "
        "another host or in another context; a full handshake shows who it is"
    ),
    Reason.MOVED: (
        "the connection was made from another context and moved to this pinned one, which cannot decide "
        "about it; make it from the pinned context (whose callback for server names may move it to contexts "
        "that are not pinned, for another certificate)"
    ),
    Reason.PINNED: "pinned",
    Reason.UNLISTED_OK: "the policy has no entry for this host and leaves it to OpenSSL",
    Reason.EXPIRED_OK: "the entry's pins have expired, and it leaves the host to OpenSSL then",
    Reason.RESUMED: "resumed a session whose leaf is pinned",
}


def subject_of(der: bytes, *, of_issuer: bool = False) -> str:
    """The subject of a certificate, or its issuer, as RFC 4514 text, or a word on why there is none.

    It is the peer's to choose, and goes into logs and onto terminals: what is not printable is escaped, and
    what cryptography cannot read, though OpenSSL can, is "(unreadable)".
    """
    name = read(der, lambda it: (it.issuer if of_issuer else it.subject).rfc4514_string())
    return "(unreadable)" if name is None else printable(name) or "(empty)"


def printable(text: str) -> str:
    """Another's words, with what is not printable escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
