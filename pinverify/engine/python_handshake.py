# SPDX-License-Identifier: Apache-2.0
"""The callbacks of csrc/pv_handshake.c, in which the guard decides, in Python.

An exception in one of them refuses, wherever it comes up: a signal's handler may raise one on any line. Where
there is no memory to call one at all, cffi returns what refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinverify.decision import Reason
from pinverify.engine import openssl, rules
from pinverify.engine.guard import cut_off_for, fail, refusal, tell_of_unguarded
from pinverify.engine.openssl import GUARDED, PROVEN, has_mark
from pinverify.engine.python_connection import Heard, Word, prove, refuse, spoil, unprove, words
from pinverify.engine.rules import Action

if TYPE_CHECKING:
    from pinverify.engine.python_guard import PythonGuard

__all__ = [
    "hold_verify",
    "inform",
    "log_keys",
    "on_info",
    "on_keys",
    "on_own_certificate",
    "on_server_name",
    "on_verify",
]

_HANDSHAKE_DONE = 0x20
_SERVER_NAME_FATAL, _SERVER_NAME_UNUSED, _ALERT_HANDSHAKE_FAILURE = 2, 3, 40
_X509_OK, _APPLICATION_VERIFICATION = 0, 50

_ffi = openssl.ffi
_set_verify = openssl.borrow("SSL_set_verify", "void(*)(SSL *, int, int(*)(int, X509_STORE_CTX *))")
_get_ca_names = openssl.borrow("SSL_get_client_CA_list", "Cryptography_STACK_OF_X509_NAME *(*)(SSL *)")
_get_error = openssl.borrow("X509_STORE_CTX_get_error", "int(*)(X509_STORE_CTX *)")
_get_depth = openssl.borrow("X509_STORE_CTX_get_error_depth", "int(*)(X509_STORE_CTX *)")
_set_error = openssl.borrow("X509_STORE_CTX_set_error", "void(*)(X509_STORE_CTX *, int)")


def hold_verify(guard: PythonGuard, ssl: Any) -> None:
    """Puts the verify callback and mode back on a connection."""
    _set_verify(ssl, guard.verify_mode, on_verify)


def _verify(guard: PythonGuard, word: Word, ok: int, store_ctx: Any) -> bool:
    error, depth = _get_error(store_ctx), _get_depth(store_ctx)
    is_server, pins_only = guard.is_server, guard.pins_only
    ruling = rules.certificate(
        announced=True, obstacle=word.obstacle, ok=ok, depth=depth, x509_error=error, pins_only=pins_only
    )
    if ruling.action is Action.PASS:
        return True
    decision = refusal(ruling.reason)
    if ruling.action is not Action.REFUSE:
        decision = guard.judge_chain(store_ctx, word.reference)
        judged = rules.judged(decision, pins_only=pins_only)
        if judged.action is Action.ACCEPT and ruling.action is Action.WAIVE:
            _set_error(store_ctx, _X509_OK)
            return True  # the same leaf comes by once more, when OpenSSL is done with the chain
        decision = decision if judged.reason is decision.reason else refusal(judged.reason)
    if guard.conclude(decision, word.reference, word.ssl, store_ctx, error, depth):
        sole_host = guard.is_sole_host(word.reference)
        if not rules.keeps_session(decision, is_server=is_server, sole_host=sole_host):
            spoil(word.ssl)
        prove(word.ssl)
        return True  # OpenSSL looks at name constraints and policies after this, and may call once more
    words.forget(word.ssl)
    unprove(word.ssl)
    hold_verify(guard, word.ssl)  # OpenSSL looks at the mode next, and the program has run
    if decision.reason is not Reason.OPENSSL:
        _set_error(store_ctx, _APPLICATION_VERIFICATION)
    return False


def _refuse_certificate(store_ctx: Any, ssl: Any) -> int:
    _set_error(store_ctx, _APPLICATION_VERIFICATION)
    if ssl != _ffi.NULL:
        unprove(ssl)
    return 0


def _on_verify_failed(kind: Any, error: BaseException, traceback: Any) -> int:
    """Refuses for an exception that `on_verify` could not catch: a signal's, on its first or last line."""
    fail(error)
    if traceback is None:  # no memory to call it
        return 0
    store_ctx = traceback.tb_frame.f_locals["store_ctx"]
    return _refuse_certificate(store_ctx, openssl.connection_of(store_ctx))


@_ffi.callback("int(int, X509_STORE_CTX *)", error=0, onerror=_on_verify_failed)  # type: ignore[untyped-decorator]
def on_verify(ok: int, store_ctx: Any) -> int:
    ssl = openssl.connection_of(store_ctx)
    found = words.about(Heard.CERTIFICATES, ssl)
    if found is None:  # no certificates of this connection have come in: there is no policy to ask
        tell_of_unguarded(Reason.INTERNAL)
        return _refuse_certificate(store_ctx, ssl)
    try:
        return _verify(*found, ok, store_ctx)
    except BaseException as error:
        fail(error, words.host(ssl))
        return _refuse_certificate(store_ctx, ssl)


def _accepts_hello(guard: PythonGuard, word: Word, names: Any) -> bool:
    """Decides about a hello for which a program's callback, if there is one, has run.

    That it has moved the connection shows in the list of CA names, of which each context has its own:
    `names` was it.
    """
    ssl = word.ssl
    moved = guard.is_server and _get_ca_names(ssl) != names
    ruling = rules.hello(
        guarded=True,
        announced=True,
        resumed=openssl.session_reused(ssl),
        moved=moved,
        is_server=guard.is_server,
        sole_host=guard.is_sole_host(word.reference),
    )
    if ruling.action is Action.PASS:
        if moved:
            spoil(ssl)  # the session is one of the context that it was moved from
        if guard.is_server:
            words.leave(word)  # on_own_certificate is next
        return True
    decision = refusal(ruling.reason)
    if ruling.action is Action.JUDGE:
        leaf = openssl.peer_certificate(ssl)
        decision = guard.judge_session(leaf) if leaf else refusal(Reason.INTERNAL)
    if not guard.conclude(decision, word.reference, ssl):
        openssl.leave_error()
        return False
    prove(ssl)
    return True


def _refuse_hello(alert: Any) -> int:
    alert[0] = _ALERT_HANDSHAKE_FAILURE
    return _SERVER_NAME_FATAL


def _on_server_name_failed(kind: Any, error: BaseException, traceback: Any) -> int:
    """Refuses for an exception that `on_server_name` could not catch, as `_on_verify_failed` does."""
    openssl.leave_error()
    fail(error)
    return _SERVER_NAME_FATAL


@_ffi.callback("int(SSL *, int *, void *)", error=_SERVER_NAME_FATAL, onerror=_on_server_name_failed)  # type: ignore[untyped-decorator]
def on_server_name(ssl: Any, alert: Any, argument: Any) -> int:
    host = words.host(ssl)
    try:
        guarded, found = has_mark(ssl, GUARDED), words.about(Heard.HELLO, ssl)
        words.forget(ssl)
        unprove(ssl)
        if not guarded or found is None:
            ruling = rules.hello(
                guarded=guarded, announced=False, resumed=False, moved=False, is_server=False, sole_host=False
            )
            refuse(None, ssl, ruling.reason)
            return _refuse_hello(alert)
        guard, word = found
        names, answer = _get_ca_names(ssl), _SERVER_NAME_UNUSED
        if guard.server_name is not None:
            answer = guard.server_name(ssl, alert, argument)
        if answer == _SERVER_NAME_FATAL or _accepts_hello(guard, word, names):
            return answer
        return _refuse_hello(alert)
    except BaseException as error:
        openssl.leave_error()
        fail(error, host)
        return _refuse_hello(alert)


def _on_own_certificate_failed(kind: Any, error: BaseException, traceback: Any) -> int:
    """Refuses for an exception in `on_own_certificate`."""
    openssl.leave_error()
    fail(error)
    return 0


@_ffi.callback("int(SSL *, void *)", error=0, onerror=_on_own_certificate_failed)  # type: ignore[untyped-decorator]
def on_own_certificate(ssl: Any, handle: Any) -> int:
    guard: PythonGuard | None = _ffi.from_handle(handle)()
    assert guard is not None, "a connection has outlived the guard of its context"
    found = words.about(Heard.HELLO, ssl)
    words.forget(ssl)
    ruling = rules.own_certificate(
        guarded=has_mark(ssl, GUARDED),
        announced=found is not None,
        moved=found is not None and found[0] is not guard,
        is_server=guard.is_server,
        proven=has_mark(ssl, PROVEN),
    )
    if ruling.action is Action.PASS:
        return 1
    refuse(guard, ssl, ruling.reason)
    return 0


def _stop(ssl: Any, ruling: rules.Ruling) -> None:
    """Ends a connection from where no error can be returned."""
    if ruling.action is not Action.PASS:
        openssl.cut_off(ssl)
        spoil(ssl)
        refuse(None, ssl, ruling.reason)


def inform(ssl: Any, where: int, value: int) -> None:
    """What the callback for information does."""
    if where == _HANDSHAKE_DONE:
        _stop(ssl, rules.done(guarded=has_mark(ssl, GUARDED), proven=has_mark(ssl, PROVEN)))


def log_keys(ssl: Any, line: Any) -> None:
    """What the callback for key logs does: no logging. It is there because OpenSSL looks it up in the context
    that a server has been moved to, and a connection can have no other, as it can for information.
    """
    _stop(ssl, rules.keys(guarded=has_mark(ssl, GUARDED)))


on_info = _ffi.callback("void(SSL *, int, int)", inform, onerror=cut_off_for)
on_keys = _ffi.callback("void(SSL *, char *)", log_keys, onerror=cut_off_for)
