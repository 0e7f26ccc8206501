# SPDX-License-Identifier: Apache-2.0
"""The OpenSSL that pyOpenSSL runs on: functions borrowed from cryptography's binding, each checked first.

The wheel of cryptography carries an OpenSSL of its own and exports no symbol of it. What both engines call,
they get from here as function pointers of that binding. A binding that is not as expected is an ImportError
that says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

__all__ = [
    "ERROR_CERTIFICATE_VERIFY_FAILED",
    "ERROR_LIBRARY_SSL",
    "GUARDED",
    "PROVEN",
    "borrow",
    "chain_of",
    "connection_of",
    "cut_off",
    "drain_errors",
    "error_text",
    "ffi",
    "handshake_succeeded",
    "has_certificate",
    "has_mark",
    "is_verification_failure",
    "leaf_of",
    "leave_error",
    "peer_certificate",
    "sent_chain",
    "session_reused",
    "verified_chain",
    "version",
]

ffi: Any = _openssl.ffi
_lib: Any = _openssl.lib

# OpenSSL constants that stand as numbers in csrc/ and in the engine in Python.
_CONSTANTS = {
    "SSL_VERIFY_PEER": 1,
    "SSL_VERIFY_FAIL_IF_NO_PEER_CERT": 2,
    "TLSEXT_NAMETYPE_host_name": 0,
    "X509_CHECK_FLAG_NEVER_CHECK_SUBJECT": 0x20,
    "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS": 0x04,
    "SSL_TLSEXT_ERR_ALERT_FATAL": 2,
    "SSL_CB_HANDSHAKE_DONE": 0x20,
    "SSL3_VERSION": 0x300,
    "X509_V_OK": 0,
    "X509_V_ERR_OUT_OF_MEM": 17,
    "X509_V_ERR_APPLICATION_VERIFICATION": 50,
}
ERROR_LIBRARY_SSL = 20
ERROR_CERTIFICATE_VERIFY_FAILED = 134

_SHUTDOWN_BOTH_WAYS = 3

# The marks of csrc/pv_connection.h: bits of a connection's mode that OpenSSL does not use.
GUARDED, PROVEN = 0x40000000, 0x20000000


def _plain(prototype: str) -> str:
    """A prototype without what differs only in spelling."""
    return prototype.replace(" ", "").replace("(void)", "()")


def borrow(name: str, prototype: str) -> Any:
    """The function `name` of the binding, as a cffi function pointer.

    Raises ImportError if the binding lacks it or states another prototype than `prototype`: to call it all
    the same could crash, or accept a peer.
    """
    try:
        function = ffi.addressof(_lib, name)
    except AttributeError:
        raise ImportError(f"{_binding()} lacks the OpenSSL function {name}; pinverify needs it") from None
    found = ffi.typeof(function).cname
    if _plain(found) != _plain(prototype):
        raise ImportError(f"{_binding()} states {name} as {found!r}; pinverify expects {prototype!r}")
    return function


def version() -> str:
    """What OpenSSL calls itself, such as `OpenSSL 4.0.3 1 Sep 2026`."""
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")


def _binding() -> str:
    import cryptography

    return f"cryptography {cryptography.__version__} ({version()})"


def _check_constants() -> None:
    for name, expected in _CONSTANTS.items():
        found = getattr(_lib, name, None)
        if found != expected:
            raise ImportError(f"{_binding()} has {name} = {found!r}; pinverify expects {expected!r}")


_check_constants()

_get_ex_data_index = borrow("SSL_get_ex_data_X509_STORE_CTX_idx", "int(*)()")
_get_ex_data = borrow("X509_STORE_CTX_get_ex_data", "void *(*)(X509_STORE_CTX *, int)")
_get_chain = borrow("X509_STORE_CTX_get1_chain", "Cryptography_STACK_OF_X509 *(*)(X509_STORE_CTX *)")
_get_sent_chain = borrow("SSL_get_peer_cert_chain", "Cryptography_STACK_OF_X509 *(*)(SSL *)")
_get_verified_chain = borrow("SSL_get0_verified_chain", "Cryptography_STACK_OF_X509 *(*)(SSL *)")
_get_shutdown = borrow("SSL_get_shutdown", "int(*)(SSL *)")
_get_state = borrow("SSL_state_string_long", "char *(*)(SSL *)")
_get_peer_finished = borrow("SSL_get_peer_finished", "size_t(*)(SSL *, void *, size_t)")
_set_shutdown = borrow("SSL_set_shutdown", "void(*)(SSL *, int)")
_put_error = borrow("ERR_put_error", "void(*)(int, int, int, char *, int)")
_set_mode = borrow("SSL_set_mode", "long(*)(SSL *, long)")
_get_peer_certificate = borrow("SSL_get_peer_certificate", "X509 *(*)(SSL *)")
_session_reused = borrow("SSL_session_reused", "int(*)(SSL *)")
_get_leaf = borrow("X509_STORE_CTX_get0_cert", "X509 *(*)(X509_STORE_CTX *)")
_stack_len = borrow("sk_X509_num", "int(*)(Cryptography_STACK_OF_X509 *)")
_stack_get = borrow("sk_X509_value", "X509 *(*)(Cryptography_STACK_OF_X509 *, int)")
_stack_free = borrow("sk_X509_free", "void(*)(Cryptography_STACK_OF_X509 *)")
_x509_free = borrow("X509_free", "void(*)(X509 *)")
_bio_new = borrow("BIO_new", "BIO *(*)(BIO_METHOD *)")
_bio_mem = borrow("BIO_s_mem", "BIO_METHOD *(*)()")
_bio_free = borrow("BIO_free", "int(*)(BIO *)")
_bio_data = borrow("BIO_get_mem_data", "long(*)(BIO *, char * *)")
_export = borrow("i2d_X509_bio", "int(*)(BIO *, X509 *)")
_get_error = borrow("ERR_get_error", "unsigned long(*)()")
_library_text = borrow("ERR_lib_error_string", "char *(*)(unsigned long)")
_reason_text = borrow("ERR_reason_error_string", "char *(*)(unsigned long)")


def connection_of(store_ctx: Any) -> Any:
    """The `SSL *` that a verification goes on for; NULL if it is not a handshake's."""
    return ffi.cast("SSL *", _get_ex_data(store_ctx, _get_ex_data_index()))


def der_of(x509: Any) -> bytes:
    """The DER encoding of an `X509 *`. Raises MemoryError if OpenSSL cannot give it."""
    (der,) = _ders([x509])
    return der


def _ders(certificates: list[Any]) -> tuple[bytes, ...]:
    """The DER encodings of several. Raises MemoryError.

    They share a BIO, since each call lets the GIL go, and may have to wait to get it back.
    """
    if not certificates:
        return ()
    bio = _bio_new(_bio_mem())
    if bio == ffi.NULL:
        raise MemoryError("BIO_new")
    try:
        data, ends = ffi.new("char **"), [0]
        for x509 in certificates:
            if x509 == ffi.NULL or _export(bio, x509) != 1 or (end := _bio_data(bio, data)) <= ends[-1]:
                raise MemoryError("i2d_X509_bio")
            ends.append(end)
        encoded = bytes(ffi.buffer(data[0], ends[-1]))  # only now: the BIO moves as it grows
        return tuple(encoded[start:end] for start, end in pairwise(ends))
    finally:
        _bio_free(bio)


def leaf_of(store_ctx: Any) -> bytes:
    """The DER of the certificate under verification."""
    return der_of(_get_leaf(store_ctx))


def chain_of(store_ctx: Any) -> Iterator[bytes]:
    """The chain that OpenSSL has built, leaf first, as DER; the verified chain once it calls back for the
    leaf with ok=1. A certificate is exported when it is asked for, since most decisions need the leaf alone.
    """
    yield leaf_of(store_ctx)
    chain = _get_chain(store_ctx)
    if chain == ffi.NULL:
        raise MemoryError("X509_STORE_CTX_get1_chain")
    certificates: list[Any] = []
    try:
        certificates = _certificates(chain)
        if not certificates:  # the leaf is in it
            raise MemoryError("sk_X509_num")
        yield from map(der_of, certificates[1:])
    finally:
        for certificate in certificates:
            _x509_free(certificate)
        _stack_free(chain)


def sent_chain(ssl: Any) -> tuple[bytes, ...]:
    """The certificates as the peer sent them, as DER. Good for an explanation, and for nothing else.

    On a server OpenSSL leaves the client's own certificate out of the list (SSL_get_peer_cert_chain(3)).
    """
    sent, leaf = _ders(_certificates(_get_sent_chain(ssl))), peer_certificate(ssl)
    return sent if sent[:1] == leaf else leaf + sent


def has_certificate(ssl: Any) -> bool:
    """Whether the peer has shown a certificate, in this handshake or in the one that made the session."""
    certificate = _get_peer_certificate(ssl)
    _x509_free(certificate)
    return bool(certificate != ffi.NULL)


def peer_certificate(ssl: Any) -> tuple[bytes, ...]:
    """That certificate as DER, or nothing."""
    certificate = _get_peer_certificate(ssl)
    try:
        return (der_of(certificate),) if certificate != ffi.NULL else ()
    finally:
        _x509_free(certificate)


def session_reused(ssl: Any) -> bool:
    """Whether a connection has resumed a session."""
    return bool(_session_reused(ssl) == 1)


def verified_chain(ssl: Any) -> tuple[bytes, ...]:
    """The verified chain of a connection after its handshake, as DER; empty if the session was resumed."""
    return _ders(_certificates(_get_verified_chain(ssl)))


def has_mark(ssl: Any, mark: int) -> bool:
    """Whether a connection carries GUARDED or PROVEN."""
    return bool(_set_mode(ssl, 0) & mark)


def cut_off(ssl: Any) -> None:
    """Ends a connection from where no error can be returned: what is shut down both ways sends and takes no
    application data. Leaves the error that a refused certificate leaves.
    """
    _set_shutdown(ssl, _SHUTDOWN_BOTH_WAYS)
    leave_error()


def leave_error() -> None:
    """Leaves the error that a refused certificate leaves."""
    _put_error(ERROR_LIBRARY_SSL, 0, ERROR_CERTIFICATE_VERIFY_FAILED, ffi.NULL, 0)


def handshake_succeeded(ssl: Any) -> bool:
    """Whether the handshake is done, the peer proven, and the connection neither broken off nor shut down.

    To SSL_get_peer_finished any Finished counts that came in. A wrong one breaks the connection off.
    """
    finished = _get_peer_finished(ssl, ffi.NULL, 0) != 0
    alive = _text(_get_state(ssl)) not in ("", "error") and _get_shutdown(ssl) == 0
    return finished and alive and has_mark(ssl, PROVEN)


def _certificates(chain: Any) -> list[Any]:
    return [] if chain == ffi.NULL else [_stack_get(chain, i) for i in range(_stack_len(chain))]


def drain_errors() -> list[int]:
    """Takes all codes off this thread's error queue, oldest first."""
    return list(iter(_get_error, 0))


def error_text(code: int) -> tuple[str, str, str]:
    """An error code as pyOpenSSL puts it into its exceptions: library, function and reason."""
    library, reason = _library_text(code), _reason_text(code)
    return _text(library), "", _text(reason)


def _text(pointer: Any) -> str:
    return ffi.string(pointer).decode("ascii", "replace") if pointer != ffi.NULL else ""


def is_verification_failure(code: int) -> bool:
    """Whether an error code is the one that a handshake leaves when it has refused the peer's certificate."""
    # ERR_GET_LIB and ERR_GET_REASON of OpenSSL 3 and later: 8 bits from bit 23 on, and the low 23 bits.
    return (code >> 23) & 0xFF == ERROR_LIBRARY_SSL and code & 0x7FFFFF == ERROR_CERTIFICATE_VERIFY_FAILED
