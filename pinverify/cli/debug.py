# SPDX-License-Identifier: Apache-2.0
"""What a report of a fault should hold. It needs nothing but pinverify itself."""

from __future__ import annotations

from pinverify.info import engine_info

__all__ = ["describe"]


def describe() -> str:
    """The engine, why it is that one, what hashes on this CPU, and all versions: a line each."""
    info = engine_info()
    facts = {"engine": info.name, "why": info.reason, "SHA-256": info.sha256, **info.versions}
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())
