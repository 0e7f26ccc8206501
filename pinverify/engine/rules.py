# SPDX-License-Identifier: Apache-2.0
"""All that the guard decides about a handshake, apart from the pins: facts in, a ruling out.

Each function is the twin of one of csrc/pv_rules.h, which says what the facts mean.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from pinverify.decision import Decision, Reason

__all__ = [
    "Action",
    "Ruling",
    "certificate",
    "done",
    "finished",
    "hello",
    "judged",
    "keeps_session",
    "keys",
    "own_certificate",
    "resumed",
]


class Action(enum.IntEnum):
    """What the guard does next; `enum pv_action`."""

    REFUSE = 0
    PASS = 1  # nothing is decided here: the handshake goes on
    JUDGE = 2  # the policy decides
    WAIVE = 3  # the policy decides; if it accepts, OpenSSL's error counts for nothing
    ACCEPT = 4  # the peer is accepted


class Ruling(NamedTuple):
    """What is to be done, and the reason of a refusal or an acceptance."""

    action: Action
    reason: Reason = Reason.INTERNAL


_PASS, _JUDGE, _WAIVE = Ruling(Action.PASS), Ruling(Action.JUDGE), Ruling(Action.WAIVE)
# The OpenSSL errors that a pinned leaf makes up for in pins-only mode; pv_rules.c has their names.
_WAIVABLE = frozenset(
    {2, 7, 9, 10, 13, 14, 18, 19, 20, 21, 22, 25, 26, 27, 32, 34, 37, 38, 39,
     40, 41, 46, 47, 48, 49, 51, 52, 53, 62, 64, 67, 68, 72, 79, 94}
)  # fmt: skip


def _refuse(reason: Reason) -> Ruling:
    return Ruling(Action.REFUSE, reason)


def hello(
    *, guarded: bool, announced: bool, resumed: bool, moved: bool, is_server: bool, sole_host: bool
) -> Ruling:
    """The peer's hello has come in. JUDGE means to judge the session that is resumed."""
    if not guarded:
        return _refuse(Reason.MOVED)
    if not announced:
        return _refuse(Reason.INTERNAL)
    if not resumed:
        return _PASS
    # A session says neither under which trust anchors its chain was verified nor for which host.
    if moved or not (is_server or sole_host):
        return _refuse(Reason.SESSION)
    return _JUDGE


def resumed(proof: Decision, standing: Decision, *, pins_only: bool) -> Ruling:
    """`proof` is what the policy says of the leaf that the session keeps, at a time when no entry has
    expired; `standing` what it says now of a chain without certificates.
    """
    if proof.reason in (Reason.DENIED, Reason.INTERNAL):
        return _refuse(proof.reason)
    if proof.reason is not Reason.PINNED:
        return _refuse(Reason.SESSION)
    if standing.reason is Reason.CHAIN_LENGTH:
        return Ruling(Action.ACCEPT, Reason.RESUMED)
    return judged(standing, pins_only=pins_only)


def own_certificate(*, guarded: bool, announced: bool, moved: bool, is_server: bool, proven: bool) -> Ruling:
    """OpenSSL is about to choose a certificate of ours."""
    if not guarded:
        return _refuse(Reason.MOVED)
    if not is_server:
        return _PASS if proven else _refuse(Reason.INTERNAL)
    if not announced:
        return _refuse(Reason.INTERNAL)
    return _refuse(Reason.MOVED) if moved else _PASS


def certificate(
    *, announced: bool, obstacle: Reason, ok: int, depth: int, x509_error: int, pins_only: bool
) -> Ruling:
    """OpenSSL has looked at a certificate of the peer's chain."""
    if not announced:
        return _refuse(Reason.INTERNAL)
    if obstacle is not Reason.PINNED:
        return _refuse(obstacle)
    if ok != 1:
        return _WAIVE if pins_only and x509_error in _WAIVABLE else _refuse(Reason.OPENSSL)
    # The chain is judged as a whole, when all its signatures have been checked: at the leaf.
    return _PASS if depth > 0 else _JUDGE


def judged(verdict: Decision, *, pins_only: bool) -> Ruling:
    """The policy has given its verdict on the chain."""
    if not verdict.accepted:
        return _refuse(verdict.reason)
    # An entry that accepts for another reason relies on a CA and on a name, and here neither is looked at.
    if pins_only and verdict.reason is not Reason.PINNED:
        return _refuse(Reason.OPENSSL)
    return Ruling(Action.ACCEPT, verdict.reason)


def keys(*, guarded: bool) -> Ruling:
    """OpenSSL has made keys of the handshake."""
    return _PASS if guarded else _refuse(Reason.MOVED)


def finished(*, proven: bool, has_certificate: bool) -> Ruling:
    """The peer's Finished has come in."""
    if proven:
        return _PASS
    return _refuse(Reason.INTERNAL if has_certificate else Reason.CHAIN_LENGTH)


def done(*, guarded: bool, proven: bool) -> Ruling:
    """OpenSSL takes the handshake for complete."""
    if guarded and proven:
        return _PASS
    return _refuse(Reason.INTERNAL if guarded else Reason.MOVED)


def keeps_session(verdict: Decision, *, is_server: bool, sole_host: bool) -> bool:
    """Whether the session of a peer that was accepted may be resumed: whether its leaf, which is all that a
    session keeps, will be proof of that.
    """
    return verdict.reason is Reason.PINNED and verdict.depth == 0 and (is_server or sole_host)
