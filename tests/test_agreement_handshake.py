# SPDX-License-Identifier: Apache-2.0
"""The engines agree in real handshakes: on the verdict, the error and the counters."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from agreement import MINUTE, native, outcome, python, using
from agreement import engine as engine
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL
from pinned import without_a_ca
from support import Node, accepting, exchange, intermediate, leaf, make_node, root, server_ssl, shake

from pinverify import (
    Pin,
    PinRefused,
    PinSet,
    PinverifyError,
    Policy,
    Reason,
    client_context,
    server_context,
    verdict,
)


@cache
def bulky() -> Node:
    """A certificate of more than 65,535 octets, which OpenSSL takes."""
    plain = leaf("bulky.example")
    oid, now = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(plain.certificate.subject)
    builder = builder.issuer_name(plain.certificate.issuer).public_key(plain.key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 60 * MINUTE).not_valid_after(now + 60 * MINUTE)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("bulky.example")]), False)
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, bytes(66_000)), False)
    assert plain.issuer is not None
    made = Node(builder.sign(plain.issuer.key, hashes.SHA256()), plain.key, plain.issuer)
    assert len(made.der) > 0xFFFF
    return made


@cache
def far_down() -> Node:
    """A leaf under more CAs than a chain may have."""
    node = root()
    for depth in range(33):
        node = node.issue_ca(f"CA {depth}", key=root().key)
    return node.issue("far.example")


@cache
def self_signed() -> Node:
    return make_node("device", hosts=("device.example",))


@cache
def stranger() -> Node:
    return root("another root").issue("a.example")


def handshake(ctx: Any, server: SSL.Context, host: str | None, sni: bytes | None = None) -> tuple[Any, ...]:
    """What is to be seen of a handshake: the errors of both ends, the verdict, the counters."""
    if host is not None:
        near = ctx.connection(host)
    else:
        near = SSL.Connection(ctx, None)
        near.set_connect_state()
        if sni is not None:
            near.set_tlsext_host_name(sni)
    far = accepting(server)
    mine, other = shake(near, far)
    live = None
    if mine is None:
        live = outcome(verdict, near)
        assert exchange(near, far) == b"ping"
    return seen(mine), seen(other), live, ctx.stats()


def seen(error: Exception | None) -> Any:
    return error and (type(error), error.args, str(error), getattr(error, "verdict", None))


Scenario = Callable[[], tuple[Any, ...]]


def client(policy: Any, server: Node, host: str | None, sni: bytes | None = None, **options: Any) -> Scenario:
    extra = {"trust": [root().pem], **options}
    version = extra.pop("version", None)
    return lambda: handshake(
        client_context(policy(), **extra), server_ssl(server, version=version), host, sni
    )


def boom(_: object) -> None:
    raise ZeroDivisionError("no")


def resumed(host: str, again: str, policy: Callable[[], Policy]) -> Scenario:
    """A TLS 1.2 session that is made with one host and offered again with another."""

    def run() -> tuple[Any, ...]:
        ctx = client_context(policy(), trust=[root().pem])
        server = server_ssl(leaf("a.example"), version=SSL.TLS1_2_VERSION)
        server.set_session_id(b"test")
        near, far = ctx.connection(host), accepting(server)
        assert shake(near, far) == (None, None)
        session = near.get_session()
        near.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        far.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        near, far = ctx.connection(again), accepting(server)
        near.set_session(session)
        errors = shake(near, far)
        return seen(errors[0]), seen(errors[1]), outcome(verdict, near), ctx.stats()

    return run


def server_of(pins: Callable[[], Any], device: Node | None) -> Scenario:
    """A pinned server and a client that shows a certificate, or none."""

    def run() -> tuple[Any, ...]:
        ctx = server_context(leaf("a.example").identity, clients=pins())
        plain = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if device is not None:
            plain.use_certificate(device.certificate)
            plain.use_privatekey(device.key)
        near, far = SSL.Connection(plain, None), accepting(ctx)
        near.set_connect_state()
        mine, other = shake(near, far)
        live = outcome(verdict, far) if other is None else None
        return seen(other), seen(mine), live, ctx.stats()

    return run


def one(pins: Callable[[], Any], host: str = "a.example", **options: Any) -> Callable[[], Policy]:
    return lambda: Policy({host: pins()}, **options)


def wrong() -> list[Pin]:
    return [Pin(bytes(32))]


def right() -> list[Pin]:
    return [leaf("a.example").pin]


def two_hosts() -> Policy:
    return Policy({"a.example": right(), "b.example": right()})


def expired(on_expiry: Any) -> Callable[[], Policy]:
    return lambda: Policy({"a.example": PinSet(right(), expires="2020-01-01", on_expiry=on_expiry)})


A = leaf("a.example")
AHEAD = make_node("later", hosts=("a.example",), issuer=root(), days=(2, 9))
BY_ADDRESS = leaf("192.0.2.1")
# Each with the reason that is expected, and whether the peer is accepted.
SCENARIOS: dict[str, tuple[Scenario, Reason | None, bool]] = {
    "leaf pinned": (client(one(right), A, "a.example"), Reason.PINNED, True),
    "leaf pinned, TLS 1.2": (
        client(one(right), A, "a.example", version=SSL.TLS1_2_VERSION),
        Reason.PINNED,
        True,
    ),
    "root pinned": (client(one(lambda: [root().pin]), A, "a.example"), Reason.PINNED, True),
    "certificate pinned": (client(one(lambda: [A.cert_pin]), A, "a.example"), Reason.PINNED, True),
    "address": (client(one(lambda: [root().pin], "192.0.2.1"), BY_ADDRESS, "192.0.2.1"), Reason.PINNED, True),
    "wrong key": (client(one(wrong), A, "a.example"), Reason.NOT_PINNED, False),
    "wrong key, TLS 1.2": (
        client(one(wrong), A, "a.example", version=SSL.TLS1_2_VERSION),
        Reason.NOT_PINNED,
        False,
    ),
    "wrong key, reported": (
        client(one(lambda: PinSet(wrong(), mode="report")), A, "a.example"),
        Reason.NOT_PINNED,
        True,
    ),
    "reporting fails": (
        client(one(lambda: PinSet(wrong(), mode="report")), A, "a.example", on_violation=boom),
        Reason.NOT_PINNED,
        False,
    ),
    "intermediate denied": (
        client(one(lambda: PinSet(right(), deny=[intermediate().pin])), A, "a.example"),
        Reason.DENIED,
        False,
    ),
    "expired": (client(expired("deny"), A, "a.example"), Reason.EXPIRED, False),
    "expired, left to OpenSSL": (client(expired("pkix"), A, "a.example"), Reason.EXPIRED_OK, True),
    "unlisted": (client(one(right, "b.example"), A, "a.example"), Reason.UNLISTED, False),
    "unlisted, left to OpenSSL": (
        client(one(right, "b.example", unlisted="pkix"), A, "a.example"),
        Reason.UNLISTED_OK,
        True,
    ),
    "no reference": (client(two_hosts, A, None), Reason.NO_REFERENCE, False),
    "sole host as reference": (client(one(right), A, None), Reason.PINNED, True),
    "bad reference": (client(two_hosts, A, None, b"https://a.example"), Reason.BAD_REFERENCE, False),
    "upper case and a dot sent": (client(two_hosts, A, None, b"A.Example."), Reason.PINNED, True),
    "name of another host": (client(two_hosts, A, "b.example"), Reason.OPENSSL, False),
    "unknown CA": (client(one(lambda: [stranger().pin]), stranger(), "a.example"), Reason.OPENSSL, False),
    "not yet valid": (client(one(lambda: [AHEAD.pin]), AHEAD, "a.example"), Reason.OPENSSL, False),
    "malformed": (
        client(one(lambda: [root().pin], "bulky.example"), bulky(), "bulky.example"),
        Reason.MALFORMED,
        False,
    ),
    "chain too long": (
        client(one(wrong, "far.example"), far_down(), "far.example"),
        Reason.CHAIN_LENGTH,
        False,
    ),
    "pins only": (
        client(one(lambda: [self_signed().pin], "any.example"), self_signed(), "any.example", trust="pins"),
        Reason.PINNED,
        True,
    ),
    "pins only, wrong key": (
        client(one(wrong), self_signed(), "a.example", trust="pins"),
        Reason.NOT_PINNED,
        False,
    ),
    "pins only, unlisted": (
        lambda: handshake(
            without_a_ca(one(right, unlisted="pkix")()), server_ssl(self_signed()), "c.example"
        ),
        Reason.OPENSSL,
        False,
    ),
    "resumed": (resumed("a.example", "a.example", one(right)), Reason.RESUMED, True),
    "not resumed, several hosts": (resumed("a.example", "b.example", two_hosts), Reason.OPENSSL, False),
    "server": (server_of(lambda: [self_signed().pin], self_signed()), Reason.PINNED, True),
    "server, other key": (server_of(wrong, self_signed()), Reason.NOT_PINNED, False),
    "server, no certificate": (server_of(wrong, None), None, False),
}


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_handshake_agrees(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Errors with their texts on both ends, the verdict and the counters are the same in real handshakes."""
    run, reason, accepted = SCENARIOS[name]

    def with_engine(engine: ModuleType) -> tuple[Any, ...]:
        with using(engine):
            return run()

    # Not the outcome of: a scenario that fails is no agreement.
    results = {engine.NAME: with_engine(engine) for engine in (native, python)}
    assert results["native"] == results["python"]
    error, _, _, stats = results["python"]
    assert (error is None) == accepted
    if reason is None:
        assert sum(stats.by_reason.values()) == 0
        assert error[0] is SSL.Error
    else:
        assert stats.by_reason[reason] == 1
        assert issubclass(PinRefused, PinverifyError)
        assert error is None or error[0] is PinRefused
    assert {record.name for record in caplog.records} <= {"pinverify"}
