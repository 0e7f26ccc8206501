# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the two engines beside each other: python fuzz/engines.py [-max_total_time=60] [options] [CORPUS]

Invariant: whatever is asked, the engine in C and the one in Python give the same value, or raise an exception
of the same class with the same text. Asked are

- the walk: any octets as a certificate, and what a decision says of it;
- the reference name: any octets as a server name;
- the decision: any policy, host and moment, and a chain of certificates of which some are broken.

The first octet says which; the others are read as that needs them. Without a corpus, the seeds are those of
corpus.py.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import atheris

FUZZ = Path(__file__).resolve().parent
sys.path.insert(0, str(FUZZ.parent / "tests"))

with atheris.instrument_imports(include=["pinverify.engine", "pinverify.hostnames"]):
    from agreement import NOW, UNIX_NOW, agreed
    from broken_der import certificates
    from test_agreement_decision import HOSTS, NAMES, known_pins
    from test_agreement_walk import check_walk

    from pinverify import PinSet, Policy
    from pinverify.decision import Decision

T = TypeVar("T")
SEEDS = FUZZ / "build" / "seeds" / "engines"
SECONDS = (-1_000_000_000, -60, -1, 0, 1, 60, 1_000_000_000)


class Octets:
    """Takes what it is asked for off the front of an input; zeros follow its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def octet(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def one_of(self, values: Sequence[T]) -> T:
        return values[self.octet() % len(values)]

    def some(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]


def pin_set(octets: Octets) -> PinSet:
    pins = list(dict.fromkeys(octets.one_of(known_pins()) for _ in range(1 + octets.octet() % 6)))
    allowed = 1 + octets.octet() % len(pins)
    expires = None
    if octets.octet() % 2:
        expires = NOW + datetime.timedelta(seconds=octets.one_of(SECONDS))
    return PinSet(
        pins[:allowed],
        deny=pins[allowed:],
        mode=octets.one_of(("enforce", "report")),
        expires=expires,
        on_expiry=octets.one_of(("deny", "pkix")),
    )


def pattern(octets: Octets) -> str:
    prefix = octets.one_of(("", "*.", "**."))
    return prefix + octets.one_of(NAMES if prefix else HOSTS)


def policy(octets: Octets) -> Policy:
    entries = [pin_set(octets) for _ in range(1 + octets.octet() % 3)]
    if octets.octet() % 6 == 5:
        return Policy.of_clients(entries[0])
    hosts = {pattern(octets): octets.one_of(entries) for _ in range(1 + octets.octet() % 5)}
    return Policy(hosts, unlisted=octets.one_of(("deny", "pkix")))


def certificate(octets: Octets) -> bytes:
    """A good one, one with an octet changed, or octets of the input."""
    choice = octets.octet()
    if choice >= 0xF0:
        return octets.some(octets.octet())
    der = bytearray(certificates()[choice % 12])
    if choice >= 0xC0:
        der[(octets.octet() << 8 | octets.octet()) % len(der)] ^= octets.octet()
    return bytes(der)


def check_decision(octets: Octets) -> None:
    asked = policy(octets)
    host = octets.one_of(("", "y.", "y.z.")) + octets.one_of(HOSTS)
    chain = [certificate(octets) for _ in range(octets.octet() % 36)]
    decision = agreed(lambda engine: engine.compile(asked).decide(host, chain, UNIX_NOW))
    assert isinstance(decision, Decision), decision


def check_name(name: bytes) -> None:
    canonical = agreed(lambda engine: engine.canonical_sni(name))
    assert canonical is None or agreed(lambda engine: engine.canonical_sni(canonical.encode())) == canonical


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    choice = data[0] % 4 if data else 0
    if choice == 0:
        check_name(data[1:])
    elif choice == 1:
        check_decision(Octets(data[1:]))
    else:
        check_walk(data[1:])


def main() -> None:
    given = any(not argument.startswith("-") for argument in sys.argv[1:])
    atheris.Setup([*sys.argv, *([] if given else [str(SEEDS)])], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
