# SPDX-License-Identifier: Apache-2.0
"""The Python side of a guarded context, shared by both engines: it hears of refusals and raises them where
they belong.

A refusal happens inside an OpenSSL callback, which no exception can leave. It is kept for the
thread and raised from the pyOpenSSL call that the handshake ran in, which asks the context's guard first.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from OpenSSL import SSL

from pinverify.decision import Decision, Reason, Status
from pinverify.engine import openssl, pyopenssl, rules
from pinverify.engine.rules import Action
from pinverify.errors import PinRefused
from pinverify.policy import Policy
from pinverify.verdict import Verdict

__all__ = ["Guard", "OnViolation", "cut_off_for", "fail", "in_turn", "refusal", "tell_of_unguarded"]

OnViolation = Callable[[Verdict], object]

_log = logging.getLogger("pinverify")
_EVER = -(2**63)  # a Unix time before which no entry expires
_error_text = openssl.borrow("X509_verify_cert_error_string", "char *(*)(long)")


def refusal(reason: Reason) -> Decision:
    """The decision that something other than the policy took."""
    return Decision(reason, False, -1, -1, Status.UNSET)


class _Thread(threading.local):
    """The refusal that this thread has heard of and not raised yet; or what is no Exception, and ended it."""

    problem: BaseException | None = None


_thread = _Thread()


def _put_down(problem: BaseException) -> None:
    """Keeps a problem until it is raised. One that is no Exception is not to be lost to a later one."""
    if _thread.problem is None or isinstance(_thread.problem, Exception):
        _thread.problem = problem


def fail(error: BaseException, host: str = "") -> None:
    """Keeps, as the reason to refuse, an exception that was raised inside the handshake; none is lost there.
    What is no Exception, such as KeyboardInterrupt, stays what it is.
    """
    if isinstance(error, Exception):
        detail = f"{type(error).__name__}: {error}"
        refused = PinRefused(Verdict(Reason.INTERNAL, False, host=host or None, detail=detail))
        refused.__cause__ = error
        error = refused
    _put_down(error)


def tell_of_unguarded(reason: Reason) -> None:
    """Hears of the refusal of a connection that has no guard, or none that could be found."""
    _put_down(PinRefused(Verdict(reason, False)))


def cut_off_for(kind: Any, error: BaseException, traceback: Any) -> None:
    """Ends a connection, the first argument of a callback without a result, for an exception in that."""
    if traceback is not None:  # else there was no memory to call it
        openssl.cut_off(traceback.tb_frame.f_locals["ssl"])
    fail(error)


def in_turn(prototype: str, own: Callable[..., None], program: Any) -> Any:
    """A function pointer that calls the guard's own callback, and then `program`, a program's. An
    exception in the first ends the connection.
    """

    def both(ssl: Any, *arguments: Any) -> None:
        own(ssl, *arguments)
        program(ssl, *arguments)

    return openssl.ffi.callback(prototype, both, onerror=cut_off_for)


class Guard(ABC):
    """One guarded context, which holds it, and which each of its connections holds: it outlives them all."""

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

    @staticmethod
    @abstractmethod
    def inform(ssl: Any, where: int, value: int) -> None:
        """What the guard's callback for information does, for a context where a program has its own."""

    @staticmethod
    @abstractmethod
    def log_keys(ssl: Any, line: Any) -> None:
        """What the guard's callback for key logs does, for such a context."""

    def judge_session(self, leaf: Sequence[bytes]) -> Decision:
        """The decision on a session that is resumed, by the leaf that it keeps: as if its entry never
        expired, and then by whether the entry has.
        """
        host = "" if self.is_server else self.policy.sole_host or ""
        proof = self._compiled.decide(host, leaf, _EVER)
        standing = self._compiled.decide(host, (), int(time.time()))
        ruling = rules.resumed(proof, standing, pins_only=self.pins_only)
        return Decision(ruling.reason, ruling.action is Action.ACCEPT, standing.entry, -1, Status.UNSET)

    def is_sole_host(self, host: str) -> bool:
        """Whether `host` is the one host that the policy lets in."""
        return host != "" and host == self.policy.sole_host

    def _decide_anew(self, ssl: Any) -> tuple[str, tuple[bytes, ...], Decision]:
        """What the policy says now of a connection after its handshake: reference name, verified chain and
        decision.
        """
        host = self.reference(ssl)
        chain = openssl.verified_chain(ssl)[: 1 if self.pins_only else None]
        return host, chain, self._compiled.decide(host, chain, int(time.time()))

    def judge(self, connection: SSL.Connection) -> Verdict:
        """The verdict on a connection whose handshake has succeeded."""
        ssl = pyopenssl.ssl_of(connection)
        if openssl.session_reused(ssl):
            host, chain, sent = self.reference(ssl), openssl.peer_certificate(ssl), tuple[bytes, ...]()
            resumable = self.is_server or self.is_sole_host(host)
            decision = self.judge_session(chain) if resumable else refusal(Reason.SESSION)
        else:
            host, chain, decision = self._decide_anew(ssl)
            sent = openssl.sent_chain(ssl)
        return Verdict.of(self.policy, decision, host=host or None, chain=chain, sent=sent)

    def tell(
        self, decision: Decision, host: str, ssl: Any, store_ctx: Any, x509_error: int, x509_depth: int
    ) -> bool:
        """Hears of a refusal or a violation from inside the handshake; False if something failed while
        hearing.

        `store_ctx` is None where no verification is going on.
        """
        try:
            verdict = self._verdict(decision, host, ssl, store_ctx, x509_error, x509_depth)
            if decision.reason.is_violation:
                self._report(verdict)  # first: it may make connections of its own in this thread
            if not decision.accepted:
                _put_down(PinRefused(verdict))
        except BaseException as error:
            fail(error, host)
            return False
        return True

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
        if not isinstance(problem, Exception) or any(map(openssl.is_verification_failure, codes)):
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
