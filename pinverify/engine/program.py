# SPDX-License-Identifier: Apache-2.0
"""Program: a policy laid flat for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pinverify.hostnames import Match, split_pattern
from pinverify.pins import PinSet

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["UNLISTED_DENY", "UNLISTED_PKIX", "Program"]

# In place of the index of an entry: PV_UNLISTED_DENY and PV_UNLISTED_PKIX of csrc/pv_policy.h.
UNLISTED_DENY, UNLISTED_PKIX = -1, -2


class Program(NamedTuple):
    """Each distinct entry once; each pattern as (match, name, index of its entry); what becomes of other
    hosts.
    """

    entries: tuple[PinSet, ...]
    patterns: tuple[tuple[Match, str, int], ...]
    unlisted: int

    @classmethod
    def of(cls, policy: Policy) -> Program:
        """The program of a policy. Hosts that share a PinSet object share an entry."""
        index: dict[int, int] = {}
        entries: list[PinSet] = []

        def index_of(entry: PinSet) -> int:
            if id(entry) not in index:
                index[id(entry)] = len(entries)
                entries.append(entry)
            return index[id(entry)]

        patterns = [(*split_pattern(pattern), index_of(entry)) for pattern, entry in policy.hosts.items()]
        if isinstance(policy.unlisted, PinSet):
            unlisted = index_of(policy.unlisted)
        else:
            unlisted = UNLISTED_DENY if policy.unlisted == "deny" else UNLISTED_PKIX
        return cls(tuple(entries), tuple(patterns), unlisted)
