# SPDX-License-Identifier: Apache-2.0
"""The message callback of csrc/pv_message.c, in Python.

An exception in it leaves no word for the callbacks that decide, and so refuses. Where there is no memory to
call it at all, there is no word of that message either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinverify.decision import Reason
from pinverify.engine import openssl, rules
from pinverify.engine.guard import fail
from pinverify.engine.openssl import PROVEN, has_mark
from pinverify.engine.python_connection import Heard, Word, refuse, unprove, words
from pinverify.engine.python_handshake import hold_verify
from pinverify.engine.rules import Action
from pinverify.hostnames import host_ip

if TYPE_CHECKING:
    from pinverify.engine.python_guard import PythonGuard

__all__ = ["on_message"]

_CHECK_FLAGS = 0x20 | 0x04  # NEVER_CHECK_SUBJECT, NO_PARTIAL_WILDCARDS
_HANDSHAKE = 22
_CLIENT_HELLO, _FINISHED = 1, 20
_SERVER_HELLOS = frozenset({2, 8})  # ServerHello, EncryptedExtensions
_CERTIFICATES = frozenset({11, 25})  # Certificate, CompressedCertificate

_ffi = openssl.ffi
_set_context = openssl.borrow("SSL_set_SSL_CTX", "SSL_CTX *(*)(SSL *, SSL_CTX *)")
_get_param = openssl.borrow("SSL_get0_param", "X509_VERIFY_PARAM *(*)(SSL *)")
_set_host = openssl.borrow("X509_VERIFY_PARAM_set1_host", "int(*)(X509_VERIFY_PARAM *, char *, size_t)")
_set_ip = openssl.borrow("X509_VERIFY_PARAM_set1_ip", "int(*)(X509_VERIFY_PARAM *, unsigned char *, size_t)")
_set_flags = openssl.borrow("X509_VERIFY_PARAM_set_hostflags", "void(*)(X509_VERIFY_PARAM *, unsigned int)")


def _hold(guard: PythonGuard, ssl: Any, kind: int) -> bool:
    """Puts back on the connection what its program may have changed since; whether all is in place.

    A server keeps the context that it was moved to after the hello, since that is how one serves several
    names.
    """
    hold_verify(guard, ssl)
    if guard.is_server and kind != _CLIENT_HELLO:
        return True
    return bool(_set_context(ssl, guard.context) == guard.context)


def _bind(guard: PythonGuard, ssl: Any, host: str) -> bool:
    """Makes OpenSSL check the name itself. In pins-only mode the key is the name."""
    if guard.is_server or guard.pins_only:
        return True
    param = _get_param(ssl)
    if param == _ffi.NULL:
        return False
    _set_flags(param, _CHECK_FLAGS)
    ip = host_ip(host)
    if ip is not None:
        return bool(_set_ip(param, ip, len(ip)) == 1)
    return bool(_set_host(param, host.encode("ascii"), len(host)) == 1)


def _announce(heard: Heard, guard: PythonGuard, ssl: Any) -> None:
    """Leaves word for the callback that decides.

    The name that a client has sent is read while OpenSSL still tells it: once a session is resumed, it
    names that one's host (SSL_get_servername(3), TLS 1.2).
    """
    host, obstacle = guard.find_reference(ssl)
    if heard is Heard.CERTIFICATES and obstacle is Reason.PINNED and not _bind(guard, ssl, host):
        obstacle = Reason.INTERNAL
    words.leave(Word(heard, ssl, guard.weak, host, obstacle))


def _check_finished(guard: PythonGuard, ssl: Any, octets: Any, length: int) -> None:
    """Is the end of the way for a peer about whom no callback has decided."""
    proven = has_mark(ssl, PROVEN)
    ruling = rules.finished(proven=proven, has_certificate=not proven and openssl.has_certificate(ssl))
    if ruling.action is not Action.PASS:
        octets[length - 1] ^= 1
        refuse(guard, ssl, ruling.reason)


def _on_message_failed(kind: Any, error: BaseException, traceback: Any) -> None:
    """Refuses for an exception in `on_message`, wherever it was raised.

    The bit that is changed in a Finished is not the one that `_check_finished` may have changed already.
    """
    if traceback is None:  # no memory to call it: PROVEN is there only for cause
        return
    arguments = traceback.tb_frame.f_locals
    ssl, length = arguments["ssl"], arguments["length"]
    words.forget(ssl)
    unprove(ssl)
    if not arguments["is_write"] and arguments["content_type"] == _HANDSHAKE and length:
        octets = _ffi.cast("unsigned char *", arguments["message"])
        if octets[0] == _FINISHED:
            octets[length - 1] ^= 2
            openssl.leave_error()
    fail(error)


@_ffi.callback("void(int, int, int, void *, size_t, SSL *, void *)", onerror=_on_message_failed)  # type: ignore[untyped-decorator]
def on_message(
    is_write: int, version: int, content_type: int, message: Any, length: int, ssl: Any, handle: Any
) -> None:
    words.forget(ssl)  # ahead of all else: a ClientHello in SSL 2's format has another content type
    if content_type != _HANDSHAKE or length == 0:
        return
    guard: PythonGuard | None = _ffi.from_handle(handle)()
    assert guard is not None, "a connection has outlived its guard"
    octets = _ffi.cast("unsigned char *", message)
    kind = octets[0]
    held = _hold(guard, ssl, kind)
    if is_write:
        return
    if kind == _CLIENT_HELLO or kind in _SERVER_HELLOS:
        if kind != _CLIENT_HELLO:  # which OpenSSL may decline in mid-connection, and go on
            unprove(ssl)
        if held:
            _announce(Heard.HELLO, guard, ssl)
    elif kind in _CERTIFICATES:
        unprove(ssl)
        if held:
            _announce(Heard.CERTIFICATES, guard, ssl)
    elif kind == _FINISHED:
        _check_finished(guard, ssl, octets, length)
