# SPDX-License-Identifier: Apache-2.0
"""The guard in Python: csrc/pv_guard.c, with its callbacks hung into OpenSSL by way of cffi."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pinverify.decision import Decision, Reason
from pinverify.engine import openssl, pyopenssl, python_handshake
from pinverify.engine.guard import Guard
from pinverify.engine.python_message import on_message
from pinverify.hostnames import canonical_sni

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["PythonGuard"]

_VERIFY_PEER, _VERIFY_FAIL_IF_NO_PEER_CERT = 0x01, 0x02

_ffi = openssl.ffi
_set_message_callback = openssl.borrow(
    "SSL_CTX_set_msg_callback", "void(*)(SSL_CTX *, void(*)(int, int, int, void *, size_t, SSL *, void *))"
)
_set_message_arg = openssl.borrow("SSL_CTX_set_msg_callback_arg", "void(*)(SSL_CTX *, void *)")
_set_mode = openssl.borrow("SSL_CTX_set_mode", "long(*)(SSL_CTX *, long)")
_set_verify = openssl.borrow("SSL_CTX_set_verify", "void(*)(SSL_CTX *, int, int(*)(int, X509_STORE_CTX *))")
_set_server_name = openssl.borrow(
    "SSL_CTX_set_tlsext_servername_callback", "void(*)(SSL_CTX *, int(*)(SSL *, int *, void *))"
)
_set_certificate_callback = openssl.borrow(
    "SSL_CTX_set_cert_cb", "void(*)(SSL_CTX *, int(*)(SSL *, void *), void *)"
)
_set_info = openssl.borrow("SSL_CTX_set_info_callback", "void(*)(SSL_CTX *, void(*)(SSL *, int, int))")
_set_keys = openssl.borrow("SSL_CTX_set_keylog_callback", "void(*)(SSL_CTX *, void(*)(SSL *, char *))")
_get_server_name = openssl.borrow("SSL_get_servername", "char *(*)(SSL *, int)")

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
        self._references: dict[int, str] = {}
        self._counts: Counter[tuple[bool, Reason]] = Counter()
        self.verify_mode = _VERIFY_PEER | (_VERIFY_FAIL_IF_NO_PEER_CERT if self.is_server else 0)
        # An address, which keeps nothing alive.
        self.context = _ffi.cast("SSL_CTX *", pyopenssl.context_of(context))
        self.server_name: Any = None  # the program's own callback, which the guard's calls
        self.weak = weakref.ref(self)  # weak: a guard that held itself would wait for the collector
        self._handle = _ffi.new_handle(self.weak)
        _set_mode(self.context, openssl.GUARDED)
        _set_verify(self.context, self.verify_mode, python_handshake.on_verify)
        _set_server_name(self.context, python_handshake.on_server_name)
        _set_certificate_callback(self.context, python_handshake.on_own_certificate, self._handle)
        _set_info(self.context, python_handshake.on_info)
        if self.is_server:
            _set_keys(self.context, python_handshake.on_keys)
        _set_message_callback(self.context, on_message)
        _set_message_arg(self.context, self._handle)

    def counts(self) -> Mapping[tuple[bool, Reason], int]:
        with _counting:
            return dict(self._counts)

    def reference(self, ssl: Any) -> str:
        return self.find_reference(ssl)[0]

    def bind(self, connection: SSL.Connection, host: str) -> None:
        address = _address(pyopenssl.ssl_of(connection))
        weakref.finalize(connection, self._references.pop, address, None).atexit = False
        self._references[address] = host  # only once it is sure to go: finalize may find no memory

    def set_server_name(self, callback: Any) -> None:
        self.server_name = callback
        _set_server_name(self.context, python_handshake.on_server_name)

    @staticmethod
    def inform(ssl: Any, where: int, value: int) -> None:
        python_handshake.inform(ssl, where, value)

    @staticmethod
    def log_keys(ssl: Any, line: Any) -> None:
        python_handshake.log_keys(ssl, line)

    def find_reference(self, ssl: Any) -> tuple[str, Reason]:
        """The host that a connection wants, and PINNED; or "" and why there is none. Servers want none."""
        if self.is_server:
            return "", Reason.PINNED
        name = _get_server_name(ssl, 0)
        if name != _ffi.NULL:
            host = canonical_sni(_ffi.string(name))
            return host or "", Reason.PINNED if host else Reason.BAD_REFERENCE
        host = self._references.get(_address(ssl), self.policy.sole_host)
        return host or "", Reason.PINNED if host else Reason.NO_REFERENCE

    def judge_chain(self, store_ctx: Any, reference: str) -> Decision:
        """The decision on the verified chain, or in pins-only mode on the leaf."""
        chain = [openssl.leaf_of(store_ctx)] if self.pins_only else openssl.chain_of(store_ctx)
        decision: Decision = self._compiled.decide(reference, chain, int(time.time()))
        return decision

    def conclude(
        self,
        decision: Decision,
        host: str,
        ssl: Any,
        store_ctx: Any = None,
        x509_error: int = 0,
        x509_depth: int = -1,
    ) -> bool:
        """Counts a decision, tells of it if it is a refusal or a violation, and says whether the peer is
        accepted.
        """
        accepted = decision.accepted
        if not accepted or not decision.reason.accepts:
            accepted = self.tell(decision, host, ssl, store_ctx, x509_error, x509_depth) and accepted
        with _counting:
            self._counts[accepted, decision.reason] += 1
        return accepted


def _address(pointer: Any) -> int:
    return int(_ffi.cast("uintptr_t", pointer))
