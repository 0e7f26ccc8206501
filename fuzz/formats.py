# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the importers: python fuzz/formats.py [-max_total_time=60] [more options of libFuzzer] [CORPUS]

Invariant: whatever octets a file holds, `read` returns a policy or raises InvalidPolicyFile, nothing else.
A policy that was read can be written as TOML, and what comes back is that policy.

The first octet picks the format; the rest is the file. Without a corpus, the seeds are what the formats make
of a policy of a few entries.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pinverify.formats"]):
    from pinverify import InvalidPolicyFile, Kind, Pin, PinSet, Policy
    from pinverify.formats import NAMES, WITHOUT_HOSTS, format_named

    MODULES = [format_named(name) for name in NAMES]

HOST = "api.example.com"
KEYS = [Pin(bytes([number]) * 32) for number in range(1, 3)]


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    number = data[0] % len(NAMES) if data else 0
    host = HOST if NAMES[number] in WITHOUT_HOSTS else None
    try:
        policy = MODULES[number].read(data[1:], source="file", host=host).policy
    except InvalidPolicyFile:
        return
    toml = format_named("toml")
    assert toml.read(toml.write(policy).text.encode(), source="file").policy == policy


def seeds() -> dict[str, bytes]:
    """One file a format, behind the octet that picks it."""
    found: dict[str, bytes] = {}
    for number, name in enumerate(NAMES):
        pins = [Pin(KEYS[0].digest, Kind.CERT)] if name == "bare" else KEYS
        policy = Policy({HOST: PinSet(pins, expires="2027-01-01", on_expiry="pkix")})
        found[name] = bytes([number]) + MODULES[number].write(policy).text.encode()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, seed in seeds().items():
            Path(folder, name).write_bytes(seed)
        given = any(not argument.startswith("-") for argument in sys.argv[1:])
        atheris.Setup([*sys.argv, *([] if given else [folder])], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
