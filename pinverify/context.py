# SPDX-License-Identifier: Apache-2.0
"""Pinned contexts: the only builder of an `OpenSSL.SSL.Context` here, and what can be done with the
connections of one.
"""

from __future__ import annotations

import hashlib
import socket
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, NoReturn

from OpenSSL import SSL
from OpenSSL.crypto import X509Store

from pinverify import engine as engines
from pinverify.decision import Reason
from pinverify.engine import openssl, pyopenssl
from pinverify.engine.guard import OnViolation, in_turn
from pinverify.errors import InvalidPolicy, PinExpiryWarning, PinverifyError, shown
from pinverify.hostnames import canonical_host, host_ip
from pinverify.identity import Identity, IdentitySource
from pinverify.pins import Pin, PinSet
from pinverify.policy import Policy
from pinverify.trust import Anchors, TrustSource, load_anchors

__all__ = ["PinnedContext", "Stats", "client_context", "server_context"]

# No cipher suite without certificates: those never come to a verify callback.
_NO_ANONYMOUS = b":!aNULL:!eNULL:!PSK:!SRP"
# The suites of TLS 1.3 that encrypt. RFC 9150 adds two that do not, and OpenSSL before 4 finds the suites of
# TLS 1.2 by such names too, those without certificates among them.
_TLS13_SUITES = (
    "TLS_AES_256_GCM_SHA384",  # RFC 8446 B.4
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "TLS_SM4_GCM_SM3",  # RFC 8998 2
    "TLS_SM4_CCM_SM3",
)

_VERSIONS = {
    (False, "TLSv1.2"): SSL.TLS1_2_VERSION,
    (False, "TLSv1.3"): SSL.TLS1_3_VERSION,
    (True, "DTLSv1.2"): 0xFEFD,  # DTLS1_2_VERSION, which pyOpenSSL has no name for
}
_METHODS = {  # by (is_server, dtls)
    (False, False): SSL.TLS_CLIENT_METHOD,
    (True, False): SSL.TLS_SERVER_METHOD,
    (False, True): SSL.DTLS_CLIENT_METHOD,
    (True, True): SSL.DTLS_SERVER_METHOD,
}
_set_info = openssl.borrow("SSL_CTX_set_info_callback", "void(*)(SSL_CTX *, void(*)(SSL *, int, int))")
_set_keylog = openssl.borrow("SSL_CTX_set_keylog_callback", "void(*)(SSL_CTX *, void(*)(SSL *, char *))")
_MARKS = openssl.GUARDED | openssl.PROVEN
_EXPIRY_NOTICE = timedelta(days=30)


class Stats(NamedTuple):
    """What a context has decided so far: decisions, not handshakes.

    OpenSSL may still break a handshake off whose peer was accepted, or find fault with a chain after that,
    which is a second decision; and a hello that is asked for again (RFC 8446 4.1.4) is decided about twice.
    """

    accepted: int
    refused: int
    reported: int  # of those accepted: violations that the entry only reports
    by_reason: Mapping[Reason, int]


class PinnedContext(pyopenssl.KeptContext):
    """An `OpenSSL.SSL.Context` whose connections are accepted only as its policy says; made by
    `client_context` and `server_context`.

    It is complete, reusable, and safe to use from many threads. Whatever else a Context can be told before
    its first connection, it can be told too. `set_verify` is refused.
    """

    def __init__(
        self,
        policy: Policy,
        anchors: Anchors,
        *,
        is_server: bool,
        pins_only: bool,
        dtls: bool,
        minimum_version: str | None,
        on_violation: OnViolation | None,
    ) -> None:
        pyopenssl.check()
        super().__init__(_METHODS[is_server, dtls])
        self._anchors = anchors
        self._owns_anchors = False
        self._scope = (
            b"server" if is_server else b"client",
            b"pins" if pins_only else b"pkix",
            policy.fingerprint,
        )
        self._dtls = dtls
        super().set_min_proto_version(_version(minimum_version, dtls))
        self.set_cipher_list(b"DEFAULT")
        anchors.share_with(self)
        self.set_session_id(b"")
        self._guard = engines.engine.install(
            self, policy, is_server=is_server, pins_only=pins_only, on_violation=on_violation
        )
        pyopenssl.attach(self, self._guard)

    @property
    def engine(self) -> str:
        """The engine that decides: `"native"` or `"python"`."""
        return self._guard.engine

    @property
    def policy(self) -> Policy:
        """What the peers of this context are held to."""
        return self._guard.policy

    def stats(self) -> Stats:
        """The counters of this context. A handshake that failed ahead of a decision is not counted."""
        counts = self._guard.counts()
        by_reason = {
            reason: counts.get((True, reason), 0) + counts.get((False, reason), 0) for reason in Reason
        }
        accepted = sum(count for (accepts, _), count in counts.items() if accepts)
        reported = sum(count for (accepts, reason), count in counts.items() if accepts and not reason.accepts)
        return Stats(accepted, sum(counts.values()) - accepted, reported, by_reason)

    def connection(self, host: str, sock: socket.socket | None = None) -> SSL.Connection:
        """A client connection whose reference name is `host`: a name (IDN too), or an IPv4 or IPv6 address.

        Without a socket it works on memory BIOs, as `SSL.Connection(ctx, None)` does. Raises InvalidHost.
        """
        if self._guard.is_server:
            raise PinverifyError(
                "ctx.connection(host) is for clients; a server uses OpenSSL.SSL.Connection(ctx, sock)"
            )
        host = canonical_host(host)
        connection = SSL.Connection(self, sock)
        if host_ip(host) is None:
            connection.set_tlsext_host_name(host.encode("ascii"))
        else:
            self._guard.bind(connection, host)  # RFC 6066 3: no server name for addresses
        connection.set_connect_state()
        return connection

    # What would take the pins out, or make a session go where it does not belong.

    def set_verify(self, mode: int, callback: Any = None) -> NoReturn:
        """Refused: the context verifies, and the guard would put its own callback back on each handshake
        anyway.
        """
        raise PinverifyError(
            "set_verify on a pinned context would turn verification into something else than its policy "
            "says; give trust= and a policy to pinverify.client_context or server_context instead"
        )

    def set_cipher_list(self, cipher_list: bytes | str) -> None:
        """As `Context.set_cipher_list`; suites without certificates are taken out in any case."""
        names = cipher_list.encode("ascii") if isinstance(cipher_list, str) else cipher_list
        if b"\0" in names:  # where OpenSSL stops reading
            raise PinverifyError("there is a NUL in the list of ciphers")
        super().set_cipher_list(names + _NO_ANONYMOUS)

    if hasattr(SSL.Context, "set_tls13_ciphersuites"):  # pyOpenSSL 25.2

        def set_tls13_ciphersuites(self, ciphersuites: bytes) -> None:
            """As `Context.set_tls13_ciphersuites`, for the suites that encrypt: those of RFC 8446 B.4 and RFC
            8998 2, with colons between. Raises PinverifyError for any other name.
            """
            if isinstance(ciphersuites, bytes):  # else pyOpenSSL has its own word on it
                _check_suites(ciphersuites)
            super().set_tls13_ciphersuites(ciphersuites)

    def set_min_proto_version(self, version: int) -> None:
        """As `Context.set_min_proto_version`, but not below TLS 1.2, or DTLS 1.2 in a context for DTLS. 0
        would mean the lowest version that OpenSSL has. Raises PinverifyError.
        """
        _check_version("set_min_proto_version", version, self._dtls)
        super().set_min_proto_version(version)

    def set_max_proto_version(self, version: int) -> None:
        """As `Context.set_max_proto_version`; 0 means the highest version that OpenSSL has. Raises
        PinverifyError for a version below TLS 1.2 (DTLS 1.2), since none would be left.
        """
        if version != 0:
            _check_version("set_max_proto_version", version, self._dtls)
        super().set_max_proto_version(version)

    def set_session_id(self, buf: bytes) -> None:
        """As `Context.set_session_id`, within the scope of the policy: no session of another one is ever
        resumed.
        """
        digest = hashlib.sha256()
        for part in (b"pinverify", *self._scope, self._anchors.fingerprint, buf):
            digest.update(len(part).to_bytes(8, "big") + part)
        super().set_session_id(digest.digest())

    def load_verify_locations(self, cafile: Any, capath: Any = None) -> None:
        """As `Context.load_verify_locations`: adds trust anchors to this context alone."""
        self._own_anchors()
        super().load_verify_locations(cafile, capath)

    def set_default_verify_paths(self) -> None:
        """As `Context.set_default_verify_paths`: adds the system's trust anchors to this context alone."""
        self._own_anchors()
        super().set_default_verify_paths()

    def get_cert_store(self) -> X509Store | None:
        """As `Context.get_cert_store`: the store is this context's own."""
        self._own_anchors()
        return super().get_cert_store()

    def set_mode(self, mode: int) -> int:
        """As `Context.set_mode`, but for the bits that are the guard's own."""
        return super().set_mode(mode & ~_MARKS)

    if hasattr(SSL.Context, "clear_mode"):  # pyOpenSSL 25.2

        def clear_mode(self, mode_to_clear: int) -> int:
            """As `Context.clear_mode`, but for the bits that are the guard's own."""
            return super().clear_mode(mode_to_clear & ~_MARKS)

    def set_info_callback(self, callback: Any) -> None:
        """As `Context.set_info_callback`; the guard's own callback for information runs ahead of it."""
        super().set_info_callback(callback)
        program = pyopenssl.callback_of(self, "info")
        self._info = in_turn("void(SSL *, int, int)", self._guard.inform, program)
        _set_info(pyopenssl.context_of(self), self._info)

    def set_keylog_callback(self, callback: Any) -> None:
        """As `Context.set_keylog_callback`; the guard's own, which logs nothing, runs ahead of it."""
        super().set_keylog_callback(callback)
        program = pyopenssl.callback_of(self, "keylog")
        self._keylog = in_turn("void(SSL *, char *)", self._guard.log_keys, program)
        _set_keylog(pyopenssl.context_of(self), self._keylog)

    def set_tlsext_servername_callback(self, callback: Any) -> None:
        """As `Context.set_tlsext_servername_callback`, for the connections that are made from this context.

        It may move them to contexts that are not pinned, which show another certificate and have other trust
        anchors; the pins of this one still decide. It is called ahead of the decision about a session that is
        resumed. A client that was served ahead of a move, and resumes its session after it, is refused once.
        """
        super().set_tlsext_servername_callback(callback)
        self._guard.set_server_name(pyopenssl.callback_of(self, "tlsext_servername"))

    def _own_anchors(self) -> None:
        """Ends the sharing of trust anchors, and of sessions with contexts that trust the same ones."""
        if self._owns_anchors:
            return
        if pyopenssl.was_used(self):
            raise PinverifyError(
                "the trust anchors of a context cannot be changed once it has made a connection"
            )
        self._shared_anchors = self._anchors  # kept: a handshake may be going on with them
        self._anchors = self._anchors.copy()
        self._anchors.share_with(self)
        self._owns_anchors = True
        self.set_session_id(b"")


def _version(minimum: str | None, dtls: bool) -> int:
    minimum = minimum or ("DTLSv1.2" if dtls else "TLSv1.2")
    if (dtls, minimum) not in _VERSIONS:
        known = ", ".join(repr(name) for is_dtls, name in _VERSIONS if is_dtls == dtls)
        raise InvalidPolicy(f"minimum_version={minimum!r}; known here: {known}")
    return _VERSIONS[dtls, minimum]


def _check_version(method: str, version: int, dtls: bool) -> None:
    """Raises PinverifyError unless it is TLS 1.2 or above, or in a context for DTLS DTLS 1.2 or above.

    DTLS counts downwards (RFC 6347 4.1): 1.0 is 0xFEFF and 1.2 is 0xFEFD. A number of the other protocol is
    refused too: OpenSSL would ignore it without a word.
    """
    floor, beyond, example = _FLOORS[dtls]
    if not (beyond < version <= floor if dtls else floor <= version < beyond):
        counts = ", and DTLS counts downwards" if dtls else ""
        raise PinverifyError(
            f"{method}({version:#06x}): a pinned context does not go below {'D' * dtls}TLS 1.2 ({floor:#06x}"
            f"{counts}); give that or a later version of the protocol, as context.{method}({example})"
        )


# By dtls: version 1.2, where the numbers of the protocol end on the side of later versions, and an example.
_FLOORS = {
    False: (_VERSIONS[False, "TLSv1.2"], 0x0400, "SSL.TLS1_3_VERSION"),
    True: (_VERSIONS[True, "DTLSv1.2"], 0xFE00, "0xFEFD"),
}


def _check_suites(ciphersuites: bytes) -> None:
    """Raises PinverifyError for a name that is no suite of TLS 1.3, or one without encryption.

    OpenSSL strips white space around names, takes them in any case, and passes over those it does not know.
    """
    known = ", ".join(_TLS13_SUITES)
    for name in ciphersuites.split(b":"):
        if name.strip().upper().decode("latin-1") not in ("", *_TLS13_SUITES):
            raise PinverifyError(
                f"set_tls13_ciphersuites: {shown(name)} is no suite of TLS 1.3 that encrypts; known are "
                f"{known}. Put colons between, as in b'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'"
            )


def client_context(
    policy: Policy | Mapping[str, PinSet | Iterable[Pin | str]],
    *,
    trust: TrustSource = "system",
    identity: IdentitySource | None = None,
    alpn: Iterable[str | bytes] = (),
    minimum_version: str | None = None,
    on_violation: OnViolation | None = None,
    dtls: bool = False,
) -> PinnedContext:
    """A context for clients whose servers must have a pinned key, by `policy` (a Policy, or what makes one).

    `trust`: the CAs, as for `load_anchors`; `"pins"` does without any and goes by the leaf's key alone.
    `identity`: the client's own certificate, as for `Identity.load`. `alpn`: protocols in order of preference
    (RFC 7301). `minimum_version`: "TLSv1.2" (default) or "TLSv1.3". `on_violation`: called with the Verdict
    of each violation, enforced or only reported, in the handshake's thread; if it raises, the peer is
    refused. `dtls`: for datagrams.

    Raises InvalidPolicy, InvalidPin, InvalidTrust or InvalidIdentity for what could never work.
    """
    policy = policy if isinstance(policy, Policy) else Policy(policy)
    context = _context(policy, trust, minimum_version, on_violation, dtls=dtls, is_server=False)
    if identity is not None:
        Identity.load(identity).attach(context)
    if protocols := _protocols(alpn):
        context.set_alpn_protos(protocols)
    return context


def server_context(
    identity: IdentitySource,
    *,
    clients: PinSet | Iterable[Pin | str],
    trust: TrustSource = "pins",
    alpn: Iterable[str | bytes] = (),
    minimum_version: str | None = None,
    on_violation: OnViolation | None = None,
    dtls: bool = False,
) -> PinnedContext:
    """A context for servers whose clients must show a certificate with a key in `clients`.

    `identity` is the server's own certificate. By default (`trust="pins"`) a client is known by its leaf's
    key alone; with trust anchors its chain must verify too, and any key of that chain may be pinned. The rest
    is as for `client_context`.
    """
    policy = Policy.of_clients(clients)
    context = _context(policy, trust, minimum_version, on_violation, dtls=dtls, is_server=True)
    Identity.load(identity).attach(context)
    if protocols := _protocols(alpn):
        context.set_alpn_select_callback(lambda connection, offered: _select(protocols, offered))
    return context


def _context(
    policy: Policy,
    trust: TrustSource,
    minimum_version: str | None,
    on_violation: OnViolation | None,
    *,
    dtls: bool,
    is_server: bool,
) -> PinnedContext:
    if on_violation is not None and not callable(on_violation):
        raise InvalidPolicy(
            f"on_violation={shown(on_violation)} cannot be called; a function of a Verdict is wanted"
        )
    pins_only = isinstance(trust, str) and trust == "pins"
    if pins_only:
        _check_pins_only(policy)
    _warn_of_expiry(policy)
    return PinnedContext(
        policy,
        load_anchors(trust),
        is_server=is_server,
        pins_only=pins_only,
        dtls=dtls,
        minimum_version=minimum_version,
        on_violation=on_violation,
    )


def _entries(policy: Policy) -> dict[str, PinSet]:
    """The PinSets of a policy, by pattern; that of a server is called "clients"."""
    others = {"clients": policy.unlisted} if isinstance(policy.unlisted, PinSet) else {}
    return policy.hosts | others


def _check_pins_only(policy: Policy) -> None:
    """Raises InvalidPolicy for what leaves a peer to OpenSSL, which without a CA refuses all of them."""
    if policy.unlisted == "pkix":
        raise _without_ca("the policy has unlisted='pkix'", "unlisted='deny'")
    for pattern, entry in _entries(policy).items():
        if entry.mode == "report":
            raise _without_ca(f"{pattern!r} has mode='report'", "mode='enforce'")
        if entry.on_expiry == "pkix":
            raise _without_ca(f"{pattern!r} has on_expiry='pkix'", "on_expiry='deny'")


def _without_ca(what: str, instead: str) -> InvalidPolicy:
    return InvalidPolicy(
        f"{what}, which leaves peers to OpenSSL's verification; with trust='pins' (the default of a server) "
        f"there is no CA, and every one of them would be refused. Write {instead}, or give the CAs, as in "
        "trust='ca.pem'"
    )


def _warn_of_expiry(policy: Policy) -> None:
    soon = datetime.now(timezone.utc) + _EXPIRY_NOTICE
    for pattern, entry in _entries(policy).items():
        if entry.expires is not None and entry.expires < soon:
            then = "OpenSSL alone decides" if entry.on_expiry == "pkix" else "every peer is refused"
            warnings.warn(
                f"the pins of {pattern!r} expire on {entry.expires:%Y-%m-%d}; from then on {then}",
                PinExpiryWarning,
                stacklevel=4,
            )


def _protocols(alpn: Iterable[str | bytes]) -> list[bytes]:
    if isinstance(alpn, (str, bytes)) or not isinstance(alpn, Iterable):
        raise InvalidPolicy(f"alpn={shown(alpn)}; a list of protocols is wanted, such as alpn=['h2']")
    return [_protocol(name) for name in alpn]


def _protocol(name: object) -> bytes:
    protocol = name.encode("utf-8") if isinstance(name, str) else name
    if not isinstance(protocol, bytes) or not 1 <= len(protocol) <= 255:
        raise InvalidPolicy(
            f"alpn has {shown(name)}; a protocol is a str or bytes of 1 to 255 octets (RFC 7301 3.1)"
        )
    return protocol


def _select(ours: list[bytes], offered: list[bytes]) -> Any:
    return next((name for name in ours if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
