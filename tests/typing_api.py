# SPDX-License-Identifier: Apache-2.0
"""The public API as a caller writes it, for `mypy --strict`. It is never run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from OpenSSL import SSL
from OpenSSL.crypto import X509
from typing_extensions import assert_type

import pinverify
from pinverify import (
    Diagnosis,
    EngineInfo,
    Identity,
    InvalidHost,
    InvalidIdentity,
    InvalidPin,
    InvalidPolicy,
    InvalidTrust,
    Kind,
    MalformedCertificate,
    Pin,
    PinExpiryWarning,
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Policy,
    Reason,
    Stats,
    Verdict,
    client_context,
    connect,
    engine_info,
    server_context,
    spki_sha256,
)


def pins(cert: x509.Certificate, openssl_cert: X509, key: EllipticCurvePublicKey) -> list[Pin]:
    made = [
        Pin(bytes(32)),
        Pin(bytes(32), Kind.CERT),
        Pin.parse("sha256/…"),
        Pin.parse("00" * 32, kind="cert"),
        Pin.parse("00" * 32, kind=Kind.SPKI),
        Pin.from_certificate(b"DER or PEM"),
        Pin.from_certificate(cert, kind="cert"),
        Pin.from_certificate(openssl_cert, kind=Kind.CERT),
        Pin.from_public_key(b"DER or PEM"),
        Pin.from_public_key(key),
    ]
    assert_type(made[0].digest, bytes)
    assert_type(made[0].kind, Kind)
    assert_type(Kind.of("spki"), Kind)
    assert_type(str(made[0]), str)
    return sorted(made)


def pin_sets(pin: Pin) -> list[PinSet]:
    made = [
        PinSet([pin]),
        PinSet(["sha256/…", pin], deny={"cert-sha256/…"}, mode="report"),
        PinSet((pin,), expires="2027-06-01", on_expiry="pkix"),
        PinSet([pin], expires=date(2027, 6, 1)),
        PinSet([pin], expires=datetime.now(timezone.utc), on_expiry="deny"),
        PinSet.from_digests([bytes(32)], "cert", mode="enforce"),
        PinSet.from_digests((bytes(32) for _ in range(9)), Kind.SPKI),
    ]
    assert_type(made[0].allow, tuple[Pin, ...])
    assert_type(made[0].deny, tuple[Pin, ...])
    assert_type(made[0].expires, datetime | None)
    PinSet([pin], mode="observe")  # type: ignore[arg-type]
    PinSet([pin], on_expiry="warn")  # type: ignore[arg-type]
    PinSet([bytes(32)])  # type: ignore[list-item]
    return made


def policies(pin: Pin, entry: PinSet) -> Policy:
    by_host: dict[str, PinSet] = {"api.example.com": entry}
    by_pins: dict[str, list[str]] = {"api.example.com": ["sha256/…"]}
    policy = Policy({"api.example.com": [pin, "sha256/…"], "**.cdn.example": entry}, unlisted="pkix")
    for other in (Policy(by_host), Policy(by_pins), Policy.of_clients(entry), Policy.of_clients([pin])):
        assert_type(other, Policy)
    assert_type(policy.entry("api.example.com"), tuple[str, PinSet] | None)
    assert_type(policy.fingerprint, bytes)
    assert_type(policy.sole_host, str | None)
    assert_type(policy.hosts["api.example.com"], PinSet)
    Policy({"api.example.com": [pin]}, unlisted="allow")  # type: ignore[arg-type]
    return policy


def verdicts(policy: Policy, chain: list[bytes]) -> str:
    verdict = policy.decide("api.example.com", chain)
    assert_type(policy.decide(b"api.example.com", tuple(chain), now=datetime.now(timezone.utc)), Verdict)
    assert_type(verdict.reason, Reason)
    assert_type(verdict.reason.accepts, bool)
    assert_type(verdict.accepted, bool)
    assert_type(verdict.host, str | None)
    assert_type(verdict.pattern, str | None)
    assert_type(verdict.entry, PinSet | None)
    assert_type(verdict.depth, int | None)
    assert_type(verdict.chain, tuple[bytes, ...])
    assert_type(verdict.sent, tuple[bytes, ...])
    assert_type(verdict.pins, tuple[Pin | None, ...])
    assert_type(verdict.expected, tuple[Pin, ...])
    assert_type(verdict.diagnosis, Diagnosis | None)
    assert_type(verdict.summary, str)
    verdict.accepted = True  # type: ignore[misc]
    return verdict.explain()


def report(verdict: Verdict) -> None:
    print(verdict.summary)


def contexts(
    policy: Policy, entry: PinSet, certificate: x509.Certificate, key: EllipticCurvePrivateKey
) -> list[PinnedContext]:
    plain: dict[str, list[str]] = {"api.example.com": ["sha256/…"]}
    return [
        client_context(policy),
        client_context(plain, trust="system"),
        client_context({"api.example.com": entry}, trust="pins", minimum_version="TLSv1.3"),
        client_context(policy, trust=Path("ca.pem"), identity="client.pem", on_violation=report),
        client_context(
            policy, trust=[certificate, b"PEM"], identity=(certificate, key), alpn=["h2", b"http/1.1"]
        ),
        client_context(
            policy, trust=certificate, identity=Identity.load(Path("a.pem"), password=b"secret"), dtls=True
        ),
        server_context("server.pem", clients=entry),
        server_context(b"PEM", clients=["sha256/…"], trust="clients-ca.pem", alpn=("h2",)),
        server_context(([certificate], key), clients=[Pin(bytes(32))], on_violation=lambda verdict: None),
    ]


def connections(context: PinnedContext, sock: socket.socket) -> SSL.Connection:
    raw = SSL.Connection(context, sock)
    raw.set_tlsext_host_name(b"api.example.com")
    assert_type(context.connection("api.example.com"), SSL.Connection)
    assert_type(context.connection("192.0.2.1", sock), SSL.Connection)
    assert_type(context.engine, str)
    assert_type(context.policy, Policy)
    stats = context.stats()
    assert_type(stats, Stats)
    assert_type(stats.accepted + stats.refused + stats.reported, int)
    assert_type(stats.by_reason, Mapping[Reason, int])
    connection = connect(("api.example.com", 443), context, timeout=10)
    assert_type(pinverify.verdict(connection), Verdict)
    return connect(("192.0.2.1", 443), context, host="api.example.com", timeout=None)


def errors(connection: SSL.Connection) -> Any:
    try:
        connection.do_handshake()
    except PinRefused as refused:
        assert_type(refused.verdict, Verdict)
        as_pyopenssl: SSL.Error = refused
        as_ours: PinverifyError = refused
        return as_pyopenssl, as_ours
    except (
        InvalidPin,
        InvalidPolicy,
        InvalidHost,
        InvalidTrust,
        InvalidIdentity,
        MalformedCertificate,
    ) as error:
        as_value_error: ValueError = error
        return as_value_error
    warning: type[UserWarning] = PinExpiryWarning
    return warning


def engine(path: os.PathLike[str]) -> bytes:
    info = engine_info()
    assert_type(info, EngineInfo)
    assert_type((info.name, info.reason, info.sha256), tuple[str, str, str])
    assert_type(info.versions, Mapping[str, str])
    return spki_sha256(Path(path).read_bytes())
