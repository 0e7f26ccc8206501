# SPDX-License-Identifier: Apache-2.0
"""The engine in C. This module alone touches the extension's `ffi` and `lib`: checked bytes go in, bytes come
out.
"""

from __future__ import annotations

import secrets
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pinverify._native import ffi, lib
from pinverify.decision import Decision, Reason, Status
from pinverify.engine import openssl, pyopenssl
from pinverify.engine.guard import Guard, fail, tell_of_unguarded
from pinverify.engine.program import Program
from pinverify.errors import MalformedCertificate
from pinverify.hostnames import host_ip
from pinverify.pins import Kind, Pin, PinSet

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["NAME", "canonical_sni", "compile", "cpu_features", "install", "sha256", "spki"]

NAME = "native"

_NEVER = 2**63 - 1
_ALLOW, _DENY = 0, 1


def _foreign(pointer: Any) -> Any:
    """A pointer of the binding's cffi as a `void *` of the extension's."""
    return ffi.cast("void *", int(openssl.ffi.cast("uintptr_t", pointer)))


def _native(kind: str, pointer: Any) -> Any:
    """A `void *` of the extension's as a pointer of the binding's cffi."""
    return openssl.ffi.cast(kind, int(ffi.cast("uintptr_t", pointer)))


def _borrow_functions() -> None:
    """Hands each OpenSSL function that the guard needs to it; ImportError if the binding is not as it
    expects.
    """
    index = 0
    while (name := lib.pv_openssl_name(index)) != ffi.NULL:
        prototype = lib.pv_openssl_prototype(index)
        function = openssl.borrow(ffi.string(name).decode(), ffi.string(prototype).decode())
        if lib.pv_openssl_set(index, _foreign(function)) != 1:
            raise ImportError(f"the OpenSSL function {ffi.string(name).decode()} has no address")
        index += 1


_borrow_functions()
lib.pv_sha256_init()


def cpu_features() -> str:
    """Which SHA-256 code this CPU runs: `x86-sha`, `armv8-sha2` or `portable`."""
    return str(ffi.string(lib.pv_sha256_backend()).decode())


def _slice(data: bytes) -> Any:
    """A `pv_slice` over `data`, which the caller keeps alive, as cffi takes it for a struct."""
    octets = ffi.from_buffer("uint8_t[]", data)
    return (octets, len(octets))  # a buffer of wider items has fewer items than octets


def spki(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo element of a DER certificate. Raises MalformedCertificate."""
    out = ffi.new("pv_slice *")
    status = Status(lib.pv_cert_spki(_slice(der), out))
    if status is not Status.OK:
        raise MalformedCertificate(f"not a certificate in DER: {status.text}")
    return bytes(ffi.buffer(out.data, out.len))


def sha256(data: bytes) -> bytes:
    """The 32 bytes of SHA-256 (FIPS 180-4)."""
    digest = ffi.new("uint8_t[32]")
    octets, size = _slice(data)
    lib.pv_sha256(octets, size, digest)
    return bytes(digest)


def canonical_sni(name: bytes) -> str | None:
    """The canonical form of a server name as the guard reads it, or None if it is no host name."""
    host = ffi.new("struct pv_host *")
    return ffi.string(host.text).decode() if lib.pv_host_from_sni(_slice(name), host) else None


def _owned(pointer: Any, free: Any) -> Any:
    """What csrc/ has made, freed when nobody holds it any more; at once, if there is no memory for that."""
    if pointer == ffi.NULL:
        raise MemoryError("out of memory in the engine")
    try:
        return ffi.gc(pointer, free)
    except MemoryError:
        free(pointer)
        raise


def _must(done: int) -> None:
    if done != 1:
        raise MemoryError("out of memory while compiling a policy")


class Compiled:
    """A policy as C structures, immutable."""

    def __init__(self, policy: Policy) -> None:
        program = Program.of(policy)
        self.entries = program.entries
        names = sum(len(name) for _, name, _ in program.patterns)
        pointer = lib.pv_policy_new(len(program.entries), len(program.patterns), names, program.unlisted)
        self.pointer = _owned(pointer, lib.pv_policy_free)
        for index, entry in enumerate(program.entries):
            self._add_entry(index, entry)
        for match, name, index in program.patterns:
            _must(lib.pv_policy_add_pattern(self.pointer, match, name.encode("ascii"), len(name), index))

    def _add_entry(self, index: int, entry: PinSet) -> None:
        expires = int(entry.expires.timestamp()) if entry.expires else _NEVER
        report_only = entry.mode == "report"
        _must(lib.pv_policy_set_entry(self.pointer, index, expires, entry.on_expiry == "pkix", report_only))
        for role, pins in ((_ALLOW, entry.allow), (_DENY, entry.deny)):
            for kind in Kind:
                self._add_pins(index, role, kind, pins)

    def _add_pins(self, index: int, role: int, kind: Kind, pins: Iterable[Pin]) -> None:
        digests = b"".join([pin.digest for pin in pins if pin.kind is kind])
        if digests:
            seed = secrets.randbits(64)
            _must(lib.pv_policy_set_pins(self.pointer, index, role, kind, digests, len(digests) // 32, seed))

    def decide(self, host: str | None, chain: Sequence[bytes], now: int) -> Decision:
        """What the policy says of the canonical `host` with this chain, leaf first in DER, at Unix time
        `now`.
        """
        name = (host or "").encode("ascii")
        slices = ffi.new("pv_slice[]", [_slice(der) for der in chain])
        return _decision(lib.pv_decide(self.pointer, _slice(name), now, slices, len(chain)))


def _decision(verdict: Any) -> Decision:
    return Decision(
        Reason(verdict.reason), verdict.accepted == 1, verdict.entry, verdict.depth, Status(verdict.status)
    )


def compile(policy: Policy) -> Compiled:
    """The policy as this engine wants it."""
    return Compiled(policy)


def _untold(kind: Any, error: BaseException, traceback: Any) -> int:
    """Puts down an exception that `pv_tell` could not catch: a signal's, on its first or last line."""
    fail(error)
    return 0


@ffi.def_extern(error=0, onerror=_untold)  # type: ignore[untyped-decorator]
def pv_tell(owner: Any, report: Any) -> int:
    """The guard's way into Python, on refusal or report only. An exception here refuses."""
    if owner == ffi.NULL:
        tell_of_unguarded(Reason(report.verdict.reason))
        return 0
    guard: NativeGuard | None = ffi.from_handle(owner)()
    return guard is not None and guard.tell(
        _decision(report.verdict),
        ffi.string(report.host).decode("ascii"),
        _native("SSL *", report.ssl),
        _native("X509_STORE_CTX *", report.store_ctx) if report.store_ctx != ffi.NULL else None,
        report.x509_error,
        report.x509_depth,
    )


lib.pv_guard_set_tell(lib.pv_tell)


def _host(host: str) -> Any:
    """A `struct pv_host` for a canonical host."""
    ip = host_ip(host) or b""
    return {"text": host.encode("ascii"), "len": len(host), "ip_len": len(ip), "ip": ip}


class NativeGuard(Guard):
    """The guard of csrc/pv_guard.c."""

    engine = NAME

    def __init__(self, context: SSL.Context, policy: Policy, **options: Any) -> None:
        super().__init__(policy, **options)
        self._handle = ffi.new_handle(
            weakref.ref(self)
        )  # weak: a guard that held itself would wait for the collector
        host = ffi.new("struct pv_host *", _host(policy.sole_host)) if policy.sole_host else ffi.NULL
        guard = lib.pv_guard_new(
            self._compiled.pointer,
            _foreign(pyopenssl.context_of(context)),
            self.is_server,
            self.pins_only,
            host,
            self._handle,
        )
        self._guard = _owned(guard, lib.pv_guard_free)
        lib.pv_handshake_install(self._guard)

    def counts(self) -> Mapping[tuple[bool, Reason], int]:
        return {
            (accepted, reason): lib.pv_guard_count(self._guard, accepted, reason)
            for accepted in (False, True)
            for reason in Reason
        }

    def reference(self, ssl: Any) -> str:
        host = ffi.new("struct pv_host *")
        obstacle = lib.pv_guard_reference(self._guard, _foreign(ssl), host)
        return ffi.string(host.text).decode("ascii") if obstacle == Reason.PINNED else ""

    def set_server_name(self, callback: Any) -> None:
        lib.pv_handshake_set_server_name(self._guard, _foreign(callback))

    @staticmethod
    def inform(ssl: Any, where: int, value: int) -> None:
        lib.pv_handshake_inform(_foreign(ssl), where)

    @staticmethod
    def log_keys(ssl: Any, line: Any) -> None:
        lib.pv_handshake_keys(_foreign(ssl))

    def _decide_anew(self, ssl: Any) -> tuple[str, tuple[bytes, ...], Decision]:
        # One call in place of many, since each lets the GIL go, and may have to wait to get it back.
        found = ffi.new("struct pv_judgement *")
        if lib.pv_guard_judge(self._guard, _foreign(ssl), int(time.time()), found) != 1:
            return super()._decide_anew(ssl)  # the chain is larger than there is room for
        der, ends = ffi.buffer(found.der), (0, *found.ends[0 : found.count])
        chain = tuple(der[start:end] for start, end in pairwise(ends))
        return ffi.string(found.host.text).decode("ascii"), chain, _decision(found.verdict)

    def bind(self, connection: SSL.Connection, host: str) -> None:
        reference = ffi.new(
            "struct pv_reference *",
            {"connection": _foreign(pyopenssl.ssl_of(connection)), "host": _host(host)},
        )
        # Gone from the table before the address can be used again: weak references die before SSL_free is
        # called. And there only once it is sure to go: finalize may find no memory.
        weakref.finalize(connection, _unbind, self._guard, reference).atexit = False
        lib.pv_references_add(self._guard.references, reference)


def _unbind(guard: Any, reference: Any) -> None:
    """Takes a connection that is gone out of the table of its guard.

    It holds the guard in C alone: the hook of the one in Python may hold the connection, which then would
    never go.
    """
    lib.pv_references_remove(guard.references, reference)


def install(context: SSL.Context, policy: Policy, **options: Any) -> NativeGuard:
    """Guards all connections that are made from `context` from now on, which must keep what is returned.

    The options are those of `Guard`.
    """
    return NativeGuard(context, policy, **options)
