# SPDX-License-Identifier: Apache-2.0
"""Faults below the guard (P06): whatever OpenSSL function fails, and at whichever of its calls, no bad peer
is let in, and no good one either where the failure matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from faults import Borrowed, borrowed, called_through, ffi
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, raw
from support import (
    Node,
    accepting,
    client_ssl,
    leaf,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
)

import pinverify
from pinverify import Pin, PinSet, client_context, server_context
from pinverify.trust import TrustSource

ADDRESS = "192.0.2.1"

TRUST = root().pem

# Both ends of a connection, ours first, over a version of TLS.
Ends = tuple[SSL.Connection, SSL.Connection]
Case = Callable[[int], Ends]


def as_client(version: int, server: Node, pins: PinSet, host: str = HOST, trust: TrustSource = TRUST) -> Ends:
    context = client_context({host: pins}, trust=trust, on_violation=lambda verdict: None)
    return context.connection(host), accepting(server_ssl(server, version=version))


def as_server(version: int, client: Node, pin: Pin, trust: TrustSource) -> Ends:
    context = server_context(leaf(HOST).identity, clients=[pin], trust=trust)
    peer = client_ssl(client)
    peer.set_max_proto_version(version)
    return accepting(context), raw(peer)


def pins(*allowed: Pin, **options: Any) -> PinSet:
    return PinSet(allowed, **options)


RIGHT, OTHER, ROGUE = leaf(HOST), leaf("elsewhere.test"), leaf(HOST, under="rogue")
NUMERIC, DEVICE = leaf(ADDRESS), leaf("device.test", under="clients")

GOOD: dict[str, Case] = {
    "name": lambda version: as_client(version, RIGHT, pins(root().pin)),
    "address": lambda version: as_client(version, NUMERIC, pins(NUMERIC.pin), ADDRESS),
    "nothing denied": lambda version: as_client(version, RIGHT, pins(RIGHT.pin, deny=[ABSENT])),
    "reported": lambda version: as_client(version, RIGHT, pins(ABSENT, mode="report")),
    "pins only": lambda version: as_client(version, ROGUE, pins(ROGUE.pin), trust="pins"),
    "client": lambda version: as_server(version, DEVICE, DEVICE.pin, "pins"),
    "client of a CA": lambda version: as_server(version, DEVICE, DEVICE.pin, root("clients").certificate),
}
BAD: dict[str, Case] = {
    "another key": lambda version: as_client(version, RIGHT, pins(ABSENT)),
    "another name": lambda version: as_client(version, OTHER, pins(OTHER.pin)),
    "another CA": lambda version: as_client(version, ROGUE, pins(ROGUE.pin)),
    "another key of an address": lambda version: as_client(version, NUMERIC, pins(ABSENT), ADDRESS),
    "another address": lambda version: as_client(version, OTHER, pins(OTHER.pin), ADDRESS),
    "denied": lambda version: as_client(version, RIGHT, pins(RIGHT.pin, deny=[root().pin])),
    "another name, report mode": lambda version: as_client(version, OTHER, pins(ABSENT, mode="report")),
    "pins only": lambda version: as_client(version, RIGHT, pins(ABSENT), trust="pins"),
    "client": lambda version: as_server(version, DEVICE, ABSENT, "pins"),
    "client of another CA": lambda version: as_server(version, DEVICE, DEVICE.pin, root().certificate),
}

# What is not made to fail: what calls these could not go on, and none of them can fail.
CANNOT_FAIL = {
    "BIO_s_mem": "gives the address of a constant",
    "SSL_CTX_set_msg_callback": "sets a field, when the guard is installed",
    "SSL_CTX_set_msg_callback_arg": "sets a field, when the guard is installed",
    "SSL_CTX_set_mode": "sets a field, when the guard is installed",
    "SSL_CTX_set_cert_cb": "sets a field, when the guard is installed",
    "SSL_CTX_set_info_callback": "sets a field, when the guard is installed",
    "SSL_CTX_set_keylog_callback": "sets a field, when the guard is installed",
    "SSL_CTX_set_tlsext_servername_callback": "sets a field, when the guard is installed",
}

# What a good peer gets in with all the same.
READS = "reads a field, and cannot fail"
LEAKS = "leaks, if it fails"
HARMLESS = {
    "SSL_session_reused": READS,
    "SSL_set_mode": READS,
    "SSL_clear_mode": "clears what is not set, unless there is a second handshake",
    "SSL_get_shutdown": READS,
    "SSL_get_client_CA_list": "tells whether a server's connection has been moved, and none is here",
    "SSL_get_session": "is for a session that is not to be kept, which would be judged if it was resumed",
    "SSL_SESSION_set_protocol_version": "is for that session too",
    "SSL_get_peer_certificate": "is for the explanation alone, where no session is resumed",
    "X509_STORE_CTX_set_error": "leaves an error as the result of the verification, which decides nothing",
    "X509_STORE_CTX_get_error": READS,
    "X509_STORE_CTX_get_error_depth": READS,
    "SSL_get_servername": "NULL stands for no name: the reference is that of the context",
    "SSL_CTX_set_verify": "the same is done to the connection, at each message",
    "SSL_set_verify": "puts back what is there already",
    "SSL_get_peer_cert_chain": "is for the explanation alone",
    "X509_VERIFY_PARAM_set_hostflags": "makes the check of the name stricter than OpenSSL's own",
    "X509_free": LEAKS,
    "sk_X509_free": LEAKS,
    "sk_X509_value": LEAKS + ", where what it gives is to be freed",
    "sk_X509_num": "fails for NULL alone",
    "BIO_free": LEAKS,
}
# Called at each message of a client's, and for a server's hello. It has to hold where the hello and where the
# certificates come in.
AT_EACH_MESSAGE, DECISIVE = "SSL_set_SSL_CTX", 2


def is_let_in(near: SSL.Connection, far: SSL.Connection) -> bool:
    """Whether our end would send application data after a handshake, however that has ended."""
    shake(near, far)
    try:
        near.send(b"secret")
    except SSL.Error:
        return False
    return True


def resumption(engine: ModuleType, version: int, policy: dict[str, PinSet]) -> Callable[[], Ends]:
    """A client that resumes a session of a context of its own, which was made without a fault but one: it was
    kept whatever it is worth.
    """
    context, server = client_context(policy, trust=root().pem), server_ssl(RIGHT, version=version)
    with called_through(engine, [Borrowed("SSL_get_session", at=1, result=ffi.NULL)]):
        session = session_after(raw(context), accepting(server))

    def make() -> Ends:
        client = raw(context)
        use_session(client, session)
        return client, accepting(server)

    return make


def faults(engine: ModuleType, run: Callable[[], object]) -> Iterator[Borrowed]:
    """One for each call of a borrowed function in a run without faults, and each way in which it may fail."""
    functions = [Borrowed(name) for name in borrowed(engine) if name not in CANNOT_FAIL]
    with called_through(engine, functions):
        run()
    for function in functions:
        for at in range(1, function.calls + 1):
            for result in function.failures:
                yield Borrowed(function.name, at=at, result=result)


def outcomes(engine: ModuleType, prepare: Callable[[], Callable[[], Ends]]) -> list[tuple[str, bool]]:
    """Each fault of a handshake, by the name of the function, with whether the peer was let in.

    What `prepare` does is done without faults, and ahead of each.
    """
    found, ready = [], [prepare()]
    for fault in faults(engine, lambda: is_let_in(*ready.pop()())):
        connect = prepare()
        with called_through(engine, [fault]):
            found.append((fault.name, is_let_in(*connect())))
        assert fault.calls >= fault.at
    return found


@pytest.mark.slow
@both_versions
@pytest.mark.parametrize("case", GOOD)
def test_p06_a_good_peer_is_refused_at_any_fault_that_matters(
    case: str, version: int, engine: ModuleType
) -> None:
    """For each call of each function: if it fails, even the right peer is refused, with listed exceptions."""
    found = outcomes(engine, lambda: partial(GOOD[case], version))
    assert {name for name, let_in in found if let_in} <= HARMLESS.keys() | {AT_EACH_MESSAGE}
    refused = [name for name, let_in in found if not let_in]
    assert len(refused) > 10
    assert refused.count(AT_EACH_MESSAGE) == (1 if "client" in case else DECISIVE)


@pytest.mark.slow
@both_versions
@pytest.mark.parametrize("case", BAD)
def test_p06_a_bad_peer_is_refused_at_every_fault(case: str, version: int, engine: ModuleType) -> None:
    """For each call of each function: whether it fails or not, a bad peer is not let in."""
    found = outcomes(engine, lambda: partial(BAD[case], version))
    assert len(found) > 20
    assert not any(let_in for _, let_in in found)


@both_versions
def test_p06_a_session_is_refused_at_any_fault_that_matters(version: int, engine: ModuleType) -> None:
    """The same where a session is resumed: one to be let in, and one that its context cannot place."""
    one, several = {HOST: PinSet([RIGHT.pin])}, {HOST: PinSet([RIGHT.pin]), ADDRESS: PinSet([ABSENT])}
    found = outcomes(engine, lambda: resumption(engine, version, one))
    harmless = HARMLESS.keys() - {"SSL_get_peer_certificate"} | {AT_EACH_MESSAGE}
    assert {name for name, let_in in found if let_in} <= harmless
    assert [name for name, let_in in found if not let_in].count(AT_EACH_MESSAGE) == 1
    found = outcomes(engine, lambda: resumption(engine, version, several))
    assert not any(let_in for _, let_in in found)


@both_versions
@pytest.mark.parametrize("case", GOOD)
def test_p06_a_verdict_is_right_or_fails(case: str, version: int, engine: ModuleType) -> None:
    """Whatever fails while `verdict` is called, what it returns is the verdict, and else it raises."""
    near, far = GOOD[case](version)
    assert shake(near, far)[0] is None
    expected = pinverify.verdict(near)
    for fault in faults(engine, lambda: pinverify.verdict(near)):
        with called_through(engine, [fault]):
            try:
                found = pinverify.verdict(near)
            except (pinverify.PinverifyError, MemoryError):
                continue
        assert (found.reason, found.accepted, found.host) == (
            expected.reason,
            expected.accepted,
            expected.host,
        )
        assert found.chain in (expected.chain, ())
