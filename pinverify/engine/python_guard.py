# SPDX-License-Identifier: Apache-2.0
"""The guard in Python: the three callbacks of csrc/pv_guard.c, hung into OpenSSL by way of cffi.

An exception in a callback refuses.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pinverify.decision import Decision, Reason
from pinverify.engine import openssl
from pinverify.engine.guard import INTERNAL, MODE_GUARDED, Guard, refusal
from pinverify.hostnames import canonical_sni, host_ip

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["PythonGuard"]

_VERIFY_PEER, _VERIFY_FAIL_IF_NO_PEER_CERT = 0x01, 0x02
_CHECK_FLAGS = 0x20 | 0x04  # NEVER_CHECK_SUBJECT, NO_PARTIAL_WILDCARDS
_HANDSHAKE = 22
_HELLOS = frozenset({1, 2, 8})  # ClientHello, ServerHello, EncryptedExtensions
_CERTIFICATE, _FINISHED, _COMPRESSED_CERTIFICATE = 11, 20, 25
_NO_CERTIFICATE = 48  # up to so many octets a Certificate message has none: see there
_SENT_SHUTDOWN, _SHUTDOWN_BOTH_WAYS = 1, 3
_SERVER_NAME_FATAL, _SERVER_NAME_UNUSED, _ALERT_HANDSHAKE_FAILURE = 2, 3, 40
_X509_OK, _APPLICATION_VERIFICATION = 0, 50
_WAIVABLE = frozenset({2, 9, 10, 18, 19, 20, 21, 27, 62, 64, 79})  # see is_waivable there

_ffi = openssl.ffi
_ctx_set_message_callback = openssl.borrow(
    "SSL_CTX_set_msg_callback", "void(*)(SSL_CTX *, void(*)(int, int, int, void *, size_t, SSL *, void *))"
)
_ctx_set_message_arg = openssl.borrow("SSL_CTX_set_msg_callback_arg", "void(*)(SSL_CTX *, void *)")
_ctx_set_mode = openssl.borrow("SSL_CTX_set_mode", "long(*)(SSL_CTX *, long)")
_set_mode = openssl.borrow("SSL_set_mode", "long(*)(SSL *, long)")
_ctx_set_verify = openssl.borrow(
    "SSL_CTX_set_verify", "void(*)(SSL_CTX *, int, int(*)(int, X509_STORE_CTX *))"
)
_ctx_set_server_name = openssl.borrow(
    "SSL_CTX_set_tlsext_servername_callback", "void(*)(SSL_CTX *, int(*)(SSL *, int *, void *))"
)
_set_verify = openssl.borrow("SSL_set_verify", "void(*)(SSL *, int, int(*)(int, X509_STORE_CTX *))")
_set_context = openssl.borrow("SSL_set_SSL_CTX", "SSL_CTX *(*)(SSL *, SSL_CTX *)")
_get_server_name = openssl.borrow("SSL_get_servername", "char *(*)(SSL *, int)")
_get_verify_result = openssl.borrow("SSL_get_verify_result", "long(*)(SSL *)")
_get_shutdown = openssl.borrow("SSL_get_shutdown", "int(*)(SSL *)")
_set_shutdown = openssl.borrow("SSL_set_shutdown", "void(*)(SSL *, int)")
_put_error = openssl.borrow("ERR_put_error", "void(*)(int, int, int, char *, int)")
_get_param = openssl.borrow("SSL_get0_param", "X509_VERIFY_PARAM *(*)(SSL *)")
_set_host = openssl.borrow("X509_VERIFY_PARAM_set1_host", "int(*)(X509_VERIFY_PARAM *, char *, size_t)")
_set_ip = openssl.borrow("X509_VERIFY_PARAM_set1_ip", "int(*)(X509_VERIFY_PARAM *, unsigned char *, size_t)")
_set_flags = openssl.borrow("X509_VERIFY_PARAM_set_hostflags", "void(*)(X509_VERIFY_PARAM *, unsigned int)")
_get_error = openssl.borrow("X509_STORE_CTX_get_error", "int(*)(X509_STORE_CTX *)")
_get_depth = openssl.borrow("X509_STORE_CTX_get_error_depth", "int(*)(X509_STORE_CTX *)")
_set_error = openssl.borrow("X509_STORE_CTX_set_error", "void(*)(X509_STORE_CTX *, int)")


class Heard(Enum):
    NOTHING, HELLO, CERTIFICATES = range(3)


class _Current(threading.local):
    """What the message callback leaves to the callback that decides, which OpenSSL calls next in the same
    thread: for a hello the one for server names, for certificates the verify callback.
    """

    heard: Heard = Heard.NOTHING
    ssl: Any = None  # whose message it was
    guard: weakref.ref[PythonGuard] | None = None  # weak: a thread goes on when its connection is gone
    reference: str = ""
    refusal: Reason | None = None  # why there is no reference


_current = _Current()


def _expected(heard: Heard, ssl: Any) -> PythonGuard | None:
    """The guard of a connection, if such a message of its came in last, and None else."""
    if _current.guard is None or _current.heard is not heard or ssl != _current.ssl:
        return None
    return _current.guard()


# Held for one addition to the counters of a guard, or one look at them. Reentrant: a signal's handler, or
# what the collector runs, may look at them while this thread adds.
_counting = threading.RLock()


def _renew_lock() -> None:
    """In the child of a fork: the thread that had the lock may not be there to release it."""
    global _counting
    _counting = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class PythonGuard(Guard):
    """The guard of csrc/pv_guard.c, in Python."""

    engine = "python"

    def __init__(self, context: SSL.Context, policy: Policy, **options: Any) -> None:
        super().__init__(policy, **options)
        self._host = None if self.is_server else policy.sole_host
        self._references: dict[int, str] = {}
        self._counts: Counter[tuple[bool, Reason]] = Counter()
        self._mode = _VERIFY_PEER | (_VERIFY_FAIL_IF_NO_PEER_CERT if self.is_server else 0)
        self._context = _ffi.cast("SSL_CTX *", context._context)  # an address, which keeps nothing alive
        self._weak = weakref.ref(self)  # weak: a guard that held itself would wait for the collector
        self._handle = _ffi.new_handle(self._weak)
        _ctx_set_mode(context._context, MODE_GUARDED)
        _ctx_set_verify(context._context, self._mode, _on_verify)
        self._server_name: Any = None  # the program's own callback, which follows the guard's
        _ctx_set_server_name(context._context, _on_server_name)
        _ctx_set_message_callback(context._context, _on_message)
        _ctx_set_message_arg(context._context, self._handle)

    def counts(self) -> Mapping[tuple[bool, Reason], int]:
        with _counting:
            return dict(self._counts)

    def reference(self, ssl: Any) -> str:
        return self._find_reference(ssl)[0]

    def bind(self, connection: SSL.Connection, host: str) -> None:
        address = _address(connection._ssl)
        weakref.finalize(connection, self._references.pop, address, None).atexit = False
        self._references[address] = host  # only once it is sure to go: finalize may find no memory

    def set_server_name(self, callback: Any) -> None:
        self._server_name = callback
        _ctx_set_server_name(self._context, _on_server_name)

    def on_message(self, ssl: Any, is_write: int, kind: int, length: int) -> None:
        """What the message callback does for a handshake message of type `kind`."""
        held = self._hold(ssl)
        if is_write:
            return
        if kind in _HELLOS:
            self._expect(Heard.HELLO, ssl, *self._find_reference(ssl))
        elif kind in (_CERTIFICATE, _COMPRESSED_CERTIFICATE):
            self._expect_certificates(ssl, held, length)
        elif kind == _FINISHED:
            self._check_finished(ssl, held)

    def _hold(self, ssl: Any) -> bool:
        """Puts back on the connection what its program may have changed since; whether all is in place."""
        _set_verify(ssl, self._mode, _on_verify)
        return self.is_server or bool(_set_context(ssl, self._context) == self._context)

    def _expect_certificates(self, ssl: Any, held: bool, length: int) -> None:
        """Binds the reference name, and marks the connection until the verify callback has accepted.

        If another thread displaces that callback just now, the mark stays. An empty list of certificates
        comes to no callback.
        """
        if length > _NO_CERTIFICATE:
            _mark(ssl)
        host, reason = self._find_reference(ssl)
        if reason is None and not (held and self._bind_name(ssl, host)):
            reason = Reason.INTERNAL
        self._expect(Heard.CERTIFICATES, ssl, host, reason)

    def _expect(self, heard: Heard, ssl: Any, host: str, reason: Reason | None) -> None:
        """Prepares for the callback that decides.

        The name that a client has sent is read while OpenSSL still tells it: once a session is resumed, it
        names that one's host (SSL_get_servername(3), TLS 1.2).
        """
        _current.ssl, _current.guard = ssl, self._weak
        _current.reference, _current.refusal = host, reason
        _current.heard = heard  # last: until here a failure refuses

    def answer_server_name(self, ssl: Any, alert: Any, argument: Any) -> int:
        """What the callback for server names returns. A resumed session comes to no verify callback."""
        _current.heard, host = Heard.NOTHING, _current.reference
        if openssl.session_reused(ssl):
            decision = self._judge_resumed(host)
            if not decision.accepted and not self._conclude(decision, host, ssl, None, _X509_OK, -1):
                return _refuse_hello(alert)
        return self._server_name(ssl, alert, argument) if self._server_name else _SERVER_NAME_UNUSED

    def verify(self, ok: int, store_ctx: Any, ssl: Any) -> bool:
        """What the verify callback returns."""
        error, depth, host = _get_error(store_ctx), _get_depth(store_ctx), _current.reference
        if _current.refusal is not None:
            decision = refusal(_current.refusal)
        elif ok != 1:
            decision = self._judge_failure(store_ctx, error)
            if decision.accepted:  # the same leaf comes by once more, when OpenSSL is done with the chain
                _set_error(store_ctx, _X509_OK)
                return True
        elif depth > 0:
            return True  # the chain is judged as a whole, once all its signatures are checked: at the leaf
        else:
            decision = self._judge_chain(store_ctx)
        _current.heard = Heard.NOTHING  # telling lets the program run, which may make a handshake of its own
        accepted = self._conclude(decision, host, ssl, store_ctx, error, depth)
        _unmark(ssl)
        if accepted:  # OpenSSL looks at name constraints and policies after this, and may call once more
            self._expect(Heard.CERTIFICATES, ssl, host, None)
            return True
        # Once more: OpenSSL looks at the mode after this, and telling has let the program run.
        _set_verify(ssl, self._mode, _on_verify)
        if decision.reason is not Reason.OPENSSL:
            _set_error(store_ctx, _APPLICATION_VERIFICATION)
        return False

    def _check_finished(self, ssl: Any, held: bool) -> None:
        """Looks once more before the handshake is complete.

        OpenSSL calls no verify callback for a resumed session; and none for a peer that it did not ask for a
        certificate, or one without effect, if a program meddled with the verification just then.
        """
        x509_error = _get_verify_result(ssl)
        if not held:
            decision = INTERNAL
        elif not openssl.has_certificate(ssl):
            decision = refusal(Reason.CHAIN_LENGTH)
        elif x509_error != _X509_OK:
            decision = refusal(Reason.OPENSSL)
        elif _get_shutdown(ssl) != 0:  # the mark: no verify callback has accepted
            decision = INTERNAL
        elif openssl.session_reused(ssl):  # once more: a program may displace the callback that judged it
            decision = self._judge_resumed(self.reference(ssl))
        else:
            return
        if not self._conclude(decision, self._host or "", ssl, None, x509_error, -1):
            _shut(ssl)

    def _conclude(
        self, decision: Decision, host: str, ssl: Any, store_ctx: Any, x509_error: int, x509_depth: int
    ) -> bool:
        accepted = decision.accepted
        if not accepted or not decision.reason.accepts:
            accepted = self.tell(decision, host, ssl, store_ctx, x509_error, x509_depth) and accepted
        with _counting:
            self._counts[accepted, decision.reason] += 1
        return accepted

    def _find_reference(self, ssl: Any) -> tuple[str, Reason | None]:
        if self.is_server:
            return "", None
        name = _get_server_name(ssl, 0)
        if name != _ffi.NULL:
            host = canonical_sni(_ffi.string(name))
            return host or "", None if host else Reason.BAD_REFERENCE
        host = self._references.get(_address(ssl), self._host)
        return host or "", None if host else Reason.NO_REFERENCE

    def _bind_name(self, ssl: Any, host: str) -> bool:
        if self.is_server or self.pins_only:
            return True
        param = _get_param(ssl)
        if param == _ffi.NULL:
            return False
        _set_flags(param, _CHECK_FLAGS)
        ip = host_ip(host)
        if ip is not None:
            return bool(_set_ip(param, ip, len(ip)) == 1)
        return bool(_set_host(param, host.encode("ascii"), len(host)) == 1)

    def _judge_resumed(self, reference: str) -> Decision:
        """The decision on a session that the session id context (the policy's fingerprint) let through."""
        if not self.is_server and reference != self._host:
            return refusal(Reason.SESSION)
        index, reason = self._compiled.open(self._host or "", int(time.time()))
        decision: Decision = self._compiled.close(index, Reason.RESUMED if reason is None else reason)
        return decision

    def _judge_chain(self, store_ctx: Any) -> Decision:
        """The decision on the verified chain, or in pins-only mode on the leaf.

        There its key must really be pinned: an entry that accepts for another reason relies on a CA and on a
        name, and neither is looked at.
        """
        chain = [openssl.leaf_of(store_ctx)] if self.pins_only else openssl.chain_of(store_ctx)
        decision: Decision = self._compiled.decide(_current.reference, chain, int(time.time()))
        unfounded = self.pins_only and decision.accepted and decision.reason is not Reason.PINNED
        return refusal(Reason.OPENSSL) if unfounded else decision

    def _judge_failure(self, store_ctx: Any, error: int) -> Decision:
        if not self.pins_only or error not in _WAIVABLE:
            return refusal(Reason.OPENSSL)
        return self._judge_chain(store_ctx)


def _mark(ssl: Any) -> None:
    """Puts a connection that is neither shut down nor refused where the handshake goes on, and no application
    data can be sent. Nor can an alert.
    """
    if _get_shutdown(ssl) == 0:
        _set_shutdown(ssl, _SENT_SHUTDOWN)


def _unmark(ssl: Any) -> None:
    if _get_shutdown(ssl) == _SENT_SHUTDOWN:
        _set_shutdown(ssl, 0)


def _address(pointer: Any) -> int:
    return int(_ffi.cast("uintptr_t", pointer))


def _on_verify_failed(kind: Any, error: BaseException, traceback: Any) -> int:
    """Refuses for an exception that `_on_verify` could not catch: a signal's, on its first or last line."""
    guard = _current.guard() if _current.guard is not None else None
    if guard is not None:
        guard.fail(error, _current.reference)
    return 0


def _on_server_name_failed(kind: Any, error: BaseException, traceback: Any) -> int:
    """Refuses for an exception that `_on_server_name` could not catch, as `_on_verify_failed` does."""
    _leave_error()
    guard = _current.guard() if _current.guard is not None else None
    if guard is not None:
        guard.fail(error, _current.reference)
    return _SERVER_NAME_FATAL


def _on_message_failed(kind: Any, error: BaseException, traceback: Any) -> None:
    """Ends the connection for an exception in `_on_message`, wherever it came up."""
    if traceback is None:  # no memory to call it: there is nothing left for the callback that decides
        return
    arguments = traceback.tb_frame.f_locals
    _shut(arguments["ssl"])
    guard = _ffi.from_handle(arguments["handle"])()
    if guard is not None:
        guard.fail(error, "")


@_ffi.callback("int(int, X509_STORE_CTX *)", error=0, onerror=_on_verify_failed)  # type: ignore[untyped-decorator]
def _on_verify(ok: int, store_ctx: Any) -> int:
    ssl = openssl.connection_of(store_ctx)
    guard = _expected(Heard.CERTIFICATES, ssl)
    if guard is None or ssl == _ffi.NULL:
        _set_error(store_ctx, _APPLICATION_VERIFICATION)
        return 0
    try:
        return guard.verify(ok, store_ctx, ssl)
    except BaseException as error:
        guard.fail(error, _current.reference)
        _set_error(store_ctx, _APPLICATION_VERIFICATION)
        return 0


@_ffi.callback("int(SSL *, int *, void *)", error=_SERVER_NAME_FATAL, onerror=_on_server_name_failed)  # type: ignore[untyped-decorator]
def _on_server_name(ssl: Any, alert: Any, argument: Any) -> int:
    if not _set_mode(ssl, 0) & MODE_GUARDED:  # moved here from a plain context
        return _SERVER_NAME_UNUSED
    guard = _expected(Heard.HELLO, ssl)
    if guard is None:
        return _refuse_hello(alert)
    try:
        return guard.answer_server_name(ssl, alert, argument)
    except BaseException as error:
        guard.fail(error, _current.reference)
        return _refuse_hello(alert)


@_ffi.callback("void(int, int, int, void *, size_t, SSL *, void *)", onerror=_on_message_failed)  # type: ignore[untyped-decorator]
def _on_message(
    is_write: int, version: int, content_type: int, message: Any, length: int, ssl: Any, handle: Any
) -> None:
    _current.heard = Heard.NOTHING  # what fails from here on leaves nothing to accept by
    if content_type != _HANDSHAKE or length == 0:
        return
    guard: PythonGuard | None = _ffi.from_handle(handle)()
    assert guard is not None, "a connection has outlived its guard"
    guard.on_message(ssl, is_write, _ffi.cast("unsigned char *", message)[0], length)


def _shut(ssl: Any) -> None:
    """Ends a connection from where no error can be returned.

    What is shut down both ways sends and takes no application data, unless its program takes that back.
    """
    _set_shutdown(ssl, _SHUTDOWN_BOTH_WAYS)
    _leave_error()


def _refuse_hello(alert: Any) -> int:
    alert[0] = _ALERT_HANDSHAKE_FAILURE
    _leave_error()
    return _SERVER_NAME_FATAL


def _leave_error() -> None:
    """Leaves the error that a refused certificate leaves."""
    _put_error(openssl.ERROR_LIBRARY_SSL, 0, openssl.ERROR_CERTIFICATE_VERIFY_FAILED, _ffi.NULL, 0)
