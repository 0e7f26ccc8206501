# SPDX-License-Identifier: Apache-2.0
"""The Python side of a guarded context, shared by both engines: it hears of refusals and raises them where
they belong.

A refusal happens inside OpenSSL's verify callback, which no exception can leave. It is put down for the
thread and raised from the pyOpenSSL call that the handshake ran in: `Connection._raise_ssl_error` asks the
context's `_verify_helper` first.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL import SSL

from pinverify.decision import Decision, Reason, Status
from pinverify.engine import openssl
from pinverify.errors import PinRefused
from pinverify.policy import Policy
from pinverify.verdict import Verdict

__all__ = ["INTERNAL", "MODE_GUARDED", "Guard", "OnViolation", "refusal"]

OnViolation = Callable[[Verdict], object]

_log = logging.getLogger("pinverify")
_error_text = openssl.borrow("X509_verify_cert_error_string", "char *(*)(long)")


def refusal(reason: Reason) -> Decision:
    """The decision that something other than the policy took."""
    return Decision(reason, False, -1, -1, Status.UNSET)


INTERNAL = refusal(Reason.INTERNAL)

# What tells the connections of pinned contexts from others: a bit of the mode that OpenSSL does not use.
MODE_GUARDED = 0x40000000


class _Thread(threading.local):
    """The refusal that this thread has heard of and not raised yet."""

    problem: PinRefused | None = None


_thread = _Thread()


class Guard(ABC):
    """One guarded context. The context and each of its connections hold it, so that it outlives them all."""

    engine: str

    def __init__(
        self, policy: Policy, *, is_server: bool, pins_only: bool, on_violation: OnViolation | None
    ) -> None:
        self.policy = policy
        self._compiled: Any = policy.compiled
        self.is_server = is_server
        self.pins_only = pins_only
        self._on_violation = on_violation

    @abstractmethod
    def counts(self) -> Mapping[tuple[bool, Reason], int]:
        """How many handshakes ended how: by (accepted, reason)."""

    @abstractmethod
    def bind(self, connection: SSL.Connection, host: str) -> None:
        """Makes the canonical `host` the reference name of a connection that sends no server name."""

    @abstractmethod
    def set_server_name(self, callback: Any) -> None:
        """Lets `callback`, a function pointer that was given to SSL_CTX_set_tlsext_servername_callback,
        follow the guard's own, which goes back into the context.
        """

    @abstractmethod
    def reference(self, ssl: Any) -> str:
        """The canonical reference name of a connection; "" if it has none."""

    def _decide_anew(self, ssl: Any) -> tuple[str, tuple[bytes, ...], Decision]:
        """What the policy says now of a connection after its handshake: reference name, verified chain (empty
        if it resumed a session) and decision.
        """
        host = self.reference(ssl)
        chain = openssl.verified_chain(ssl)[: 1 if self.pins_only else None]
        return host, chain, self._compiled.decide(host, chain, int(time.time()))

    def judge(self, connection: SSL.Connection) -> Verdict:
        """The verdict on a connection whose handshake has succeeded."""
        host, chain, decision = self._decide_anew(connection._ssl)
        if not chain and openssl.session_reused(connection._ssl):
            if decision.reason is Reason.CHAIN_LENGTH:  # nothing but the chain was left to ask for
                resumable = self.is_server or host == self.policy.sole_host
                decision = Decision(
                    Reason.RESUMED if resumable else Reason.SESSION,
                    resumable,
                    decision.entry,
                    -1,
                    Status.UNSET,
                )
            chain = openssl.peer_certificate(connection._ssl)
        return Verdict.of(self.policy, decision, host=host or None, chain=chain)

    def tell(
        self, decision: Decision, host: str, ssl: Any, store_ctx: Any, x509_error: int, x509_depth: int
    ) -> bool:
        """Hears of a refusal or a violation from inside the handshake; False if something failed while
        hearing.

        `store_ctx` is None when no chain is under verification: at a hello, and at Finished.
        """
        try:
            verdict = self._verdict(decision, host, ssl, store_ctx, x509_error, x509_depth)
            if decision.reason.is_violation:
                self._report(verdict)  # first: it may make connections of its own in this thread
            if not decision.accepted:
                _thread.problem = PinRefused(verdict)
        except BaseException as error:
            self.fail(error, host)
            return False
        return True

    def fail(self, error: BaseException, host: str) -> None:
        """Puts down, as the reason to refuse, an exception that came up inside the handshake; none gets lost
        there.
        """
        detail = f"{type(error).__name__}: {error}"
        _thread.problem = PinRefused(Verdict(Reason.INTERNAL, False, host=host or None, detail=detail))
        _thread.problem.__cause__ = error

    def raise_if_problem(self) -> None:
        """Raises this thread's refusal, if the OpenSSL call that has just returned is the one that it made
        fail.

        pyOpenSSL calls it after each operation on a connection. Whether the refusal is that operation's,
        OpenSSL's error queue tells: it belongs to the thread and is emptied when a handshake goes on.
        """
        problem = _thread.problem
        if problem is None:
            return
        _thread.problem = None
        codes = openssl.drain_errors()
        if any(map(openssl.is_verification_failure, codes)):
            raise problem
        if codes:  # an older refusal that nobody raised, and now another error
            raise SSL.Error([openssl.error_text(code) for code in codes])

    def _report(self, verdict: Verdict) -> None:
        if self._on_violation is not None:
            self._on_violation(verdict)
        elif verdict.accepted:
            _log.warning("%s", verdict.explain())

    def _verdict(
        self, decision: Decision, host: str, ssl: Any, store_ctx: Any, x509_error: int, x509_depth: int
    ) -> Verdict:
        detail, chain = "", tuple[bytes, ...]()
        if decision.reason is Reason.OPENSSL:
            text = openssl.ffi.string(_error_text(x509_error)).decode("ascii", "replace")
            detail = f"{text} (X509 error {x509_error} at depth {x509_depth})"
        if store_ctx is not None:
            chain = tuple([openssl.leaf_of(store_ctx)] if self.pins_only else openssl.chain_of(store_ctx))
        return Verdict.of(
            self.policy, decision, host=host or None, chain=chain, sent=openssl.sent_chain(ssl), detail=detail
        )
