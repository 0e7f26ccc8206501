# SPDX-License-Identifier: Apache-2.0
"""Picks the engine, once, at import: the one in C if the extension was built, else the one in Python.

`PINVERIFY_ENGINE=native|python` asks for one; if that cannot be had, importing fails. An OpenSSL that is not
as expected fails too, on either engine: there is no third one to fall back to.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from OpenSSL import SSL

from pinverify.decision import Decision
from pinverify.engine.guard import Guard, OnViolation

if TYPE_CHECKING:
    from pinverify.pins import PinSet
    from pinverify.policy import Policy

__all__ = ["Compiled", "Engine", "engine", "reason"]


class Compiled(Protocol):
    """A policy as an engine wants it."""

    entries: tuple[PinSet, ...]  # by the number that a Decision has

    def decide(self, host: str | None, chain: Sequence[bytes], now: int) -> Decision:
        """What the policy says of the canonical `host` with this chain, leaf first in DER, at Unix time
        `now`.
        """


class Engine(Protocol):
    """The seam: what both engines offer, with the same meaning."""

    NAME: str

    def spki(self, der: bytes) -> bytes: ...
    def sha256(self, data: bytes) -> bytes: ...
    def canonical_sni(self, name: bytes) -> str | None: ...
    def compile(self, policy: Policy) -> Compiled: ...
    def cpu_features(self) -> str: ...
    def install(
        self,
        context: SSL.Context,
        policy: Policy,
        *,
        is_server: bool,
        pins_only: bool,
        on_violation: OnViolation | None,
    ) -> Guard: ...


def _choose() -> tuple[str, str]:
    """The name of the engine, and why it is that one."""
    asked = os.environ.get("PINVERIFY_ENGINE") or None
    if asked not in (None, "native", "python"):
        raise ImportError(f"PINVERIFY_ENGINE is {asked!r}; it must be 'native', 'python' or unset")
    built = importlib.util.find_spec("pinverify._native") is not None
    if asked == "native" and not built:
        raise ImportError(
            "PINVERIFY_ENGINE=native, but the extension was not built; install pinverify with a C compiler "
            "at hand and PINVERIFY_BUILD_NATIVE=1, which shows why it does not build"
        )
    if asked is not None:
        return asked, f"PINVERIFY_ENGINE={asked}"
    return ("native", "the extension is there") if built else ("python", "the extension was not built")


_name, reason = _choose()
if _name == "native":
    from pinverify.engine import native as _module
else:
    from pinverify.engine import python as _module  # type: ignore[no-redef]

engine: Engine = _module
