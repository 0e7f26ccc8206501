# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in steps inside the handshake that fail, or come too late (P06, P12, P13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import pytest
from faults import MODULES
from OpenSSL import SSL
from OpenSSL._util import lib as openssl_lib
from pinned import ABSENT, HOST, both_versions, open_pair, pinned, raw, refusal
from support import (
    Node,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    make_node,
    root,
    server_ssl,
    shake,
)

import pinverify
from pinverify import PinRefused, PinSet, PinverifyError, Reason, client_context, server_context
from pinverify.engine import openssl, python_connection, python_handshake
from pinverify.engine.guard import Guard

NULL = openssl.ffi.NULL
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def instead_of(name: str, engine: ModuleType, wrap: Wrap) -> Iterator[None]:
    """Lets an engine call something else in place of OpenSSL's function `name`: what `wrap` makes of it.

    Of the engine in C, the guard alone does. What tells of a refusal is as ever: if that failed too, it would
    refuse by itself, and hide what the guard makes of the failure.
    """
    real = openssl.ffi.addressof(openssl._lib, name)
    if engine.NAME == "python":
        with pytest.MonkeyPatch.context() as patch:
            for module in MODULES:
                for attribute in [key for key, value in vars(module).items() if _is(value, real)]:
                    patch.setattr(module, attribute, wrap(real))
            yield
        return
    callback = openssl.ffi.callback(openssl.ffi.typeof(real).cname, wrap(real))
    place = _place(engine, name)
    assert engine.lib.pv_openssl_set(place, engine._foreign(callback)) == 1
    try:
        yield
    finally:
        assert engine.lib.pv_openssl_set(place, engine._foreign(real)) == 1


def _is(value: object, function: Any) -> bool:
    return isinstance(value, openssl.ffi.CData) and bool(value == function)


def _place(engine: ModuleType, name: str) -> int:
    """The place of a function in the table of the engine in C."""
    place = 0
    while engine.ffi.string(engine.lib.pv_openssl_name(place)).decode() != name:
        place += 1
    return place


def giving(result: Any, when: Callable[[], bool] = lambda: True) -> Wrap:
    """A function that gives `result` where `when` says so, and elsewhere what it gave before."""
    return lambda real: lambda *arguments: result if when() else real(*arguments)


FAILURES = {
    "SSL_set_SSL_CTX": NULL,
    "SSL_get0_param": NULL,
    "X509_VERIFY_PARAM_set1_host": 0,
    "X509_STORE_CTX_get0_cert": NULL,
    "X509_STORE_CTX_get_ex_data": NULL,
    "BIO_new": NULL,
    "i2d_X509_bio": 0,
    "BIO_get_mem_data": -1,
}


def asking(version: int) -> SSL.Context:
    """A server that asks for a certificate."""
    server = server_ssl(leaf(HOST), version=version)
    server.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return server


def is_refused(client: SSL.Connection, server: SSL.Connection) -> SSL.Error:
    """The error of a client that refuses, and gives neither data nor its certificate away."""
    error, _ = shake(client, server)
    assert isinstance(error, SSL.Error)
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    assert server.get_peer_certificate() is None
    return error


@both_versions
@pytest.mark.parametrize("name", FAILURES)
def test_p06_a_function_of_openssl_that_fails_refuses(name: str, version: int, engine: ModuleType) -> None:
    """A right key does not make up for it, and neither does report mode."""
    device = intermediate("clients").issue()
    for pins in (PinSet([leaf(HOST).pin]), PinSet([ABSENT], mode="report")):
        context = client_context(
            {HOST: pins}, trust=root().pem, identity=device.identity, on_violation=lambda verdict: None
        )
        with instead_of(name, engine, giving(FAILURES[name])):
            is_refused(raw(context), accepting(asking(version)))
        assert context.stats().accepted == 0
        assert shake(raw(context), accepting(asking(version))) == (None, None)


@both_versions
def test_p06_an_address_that_cannot_be_bound_refuses(version: int, engine: ModuleType) -> None:
    """An address is not accepted for the key alone, no more than a name is."""
    context = pinned("192.0.2.1")
    server = server_ssl(leaf("192.0.2.1"), version=version)
    with instead_of("X509_VERIFY_PARAM_set1_ip", engine, giving(0)):
        verdict = refusal(context.connection("192.0.2.1"), accepting(server)).verdict
    assert verdict.reason is Reason.INTERNAL


@both_versions
def test_p06_a_chain_of_which_a_part_cannot_be_had_is_not_reported(version: int, engine: ModuleType) -> None:
    """What is refused, and not reported, is a chain whose leaf could be read and whose CA could not."""
    calls = list[int]()

    def after_the_leaf() -> bool:
        calls.append(1)
        return len(calls) > 1

    context = client_context(
        {HOST: PinSet([ABSENT], mode="report")}, trust=root().pem, on_violation=lambda verdict: None
    )
    with instead_of("i2d_X509_bio", engine, giving(0, after_the_leaf)):
        verdict = refusal(raw(context), accepting(server_ssl(leaf(HOST), version=version))).verdict
    assert verdict.reason is Reason.INTERNAL


@both_versions
def test_p06_a_chain_that_cannot_be_had_is_our_failure(version: int, engine: ModuleType) -> None:
    """Neither engine takes it for a chain of the leaf alone, or of nobody."""
    for name, pin in (
        ("X509_STORE_CTX_get1_chain", root().pin),
        ("X509_STORE_CTX_get0_cert", leaf(HOST).pin),
    ):
        with instead_of(name, engine, giving(NULL)):
            client, server = raw(pinned(pin=pin)), accepting(server_ssl(leaf(HOST), version=version))
            assert refusal(client, server).verdict.reason is Reason.INTERNAL


@both_versions
@pytest.mark.parametrize(("certificate", "reason"), [(True, Reason.INTERNAL), (False, Reason.CHAIN_LENGTH)])
def test_p12_without_proof_at_the_end_there_is_no_handshake(
    certificate: bool, reason: Reason, version: int, engine: ModuleType
) -> None:
    """A peer whose proof is not there when its Finished comes in is refused, with an alert and for good."""
    context = pinned()
    client, server = raw(context), accepting(server_ssl(leaf(HOST), version=version))
    with ExitStack() as stack:
        accepted = giving(0, lambda: context.stats().accepted > 0)
        stack.enter_context(instead_of("SSL_set_mode", engine, accepted))
        if not certificate:
            stack.enter_context(instead_of("SSL_get_peer_certificate", engine, giving(NULL)))
        error, theirs = shake(client, server)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is reason
    assert error.verdict.host == HOST
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    if theirs is None:  # in TLS 1.2 the server is done by then
        with pytest.raises(SSL.Error) as caught:
            server.recv(1)
        theirs = caught.value
    assert "alert decrypt error" in str(theirs)


@both_versions
def test_p12_a_callback_displaced_at_the_last_moment_lets_nobody_in(version: int, engine: ModuleType) -> None:
    """Who displaces the verify callback between the guard and OpenSSL has turned off nothing."""
    clients, kept = list[SSL.Connection](), list[object]()  # pyOpenSSL frees a callback that may be running

    def displacing(real: Callable[..., Any]) -> Callable[..., Any]:
        def get_servername(*arguments: Any) -> Any:
            name = real(*arguments)
            clients[0].set_verify(SSL.VERIFY_NONE, lambda *_: True)
            kept.append((clients[0]._verify_helper, clients[0]._verify_callback))
            return name

        return get_servername

    context = pinned(pin=ABSENT)
    clients.append(raw(context))
    with instead_of("SSL_get_servername", engine, displacing):
        error, _ = shake(clients[0], accepting(server_ssl(leaf(HOST), version=version)))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    with pytest.raises(SSL.Error):
        clients[0].send(b"secret")
    assert context.stats().accepted == 0


@both_versions
def test_p12_a_refused_peer_gets_no_verdict_by_taking_the_shutdown_back(
    version: int, engine: ModuleType
) -> None:
    """Where OpenSSL was made to go on with a chain that it refuses, a pinned key is of no use later."""
    clients, kept = list[SSL.Connection](), list[object]()

    def displacing(real: Callable[..., Any]) -> Callable[..., Any]:
        def get_servername(*arguments: Any) -> Any:
            clients[0].set_verify(SSL.VERIFY_NONE, lambda *_: False)
            kept.append((clients[0]._verify_helper, clients[0]._verify_callback))
            return real(*arguments)

        return get_servername

    foreign = leaf(HOST, under="another root")
    clients.append(raw(pinned(pin=foreign.pin)))
    with instead_of("SSL_get_servername", engine, displacing):
        verdict = refusal(clients[0], accepting(server_ssl(foreign, version=version))).verdict
    assert verdict.reason is Reason.INTERNAL
    clients[0].set_shutdown(0)
    with pytest.raises(PinverifyError):
        pinverify.verdict(clients[0])


@both_versions
@pytest.mark.parametrize("step", ["python_guard.PythonGuard.judge_chain", "openssl.connection_of"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_p13_an_exception_gives_no_certificate_away(
    step: str, version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine in Python fails in the verify callback, the server is refused there and then."""
    if engine.NAME != "python":
        return
    failure = MemoryError("no room")

    def fail(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr(f"pinverify.engine.{step}", fail)
    client = raw(pinned(identity=intermediate("clients").issue().identity))
    error = is_refused(client, accepting(asking(version)))
    assert isinstance(error, PinRefused)
    assert error.__cause__ is failure
    assert error.verdict.reason is Reason.INTERNAL


@both_versions
def test_p06_what_the_thread_heard_before_does_not_count(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard that fails ahead of the verify callback leaves nothing behind that could be gone by.

    The memory of an SSL is used again, so that what was last heard of may be of another connection.
    """
    if engine.NAME != "python":
        return

    def fail(*arguments: object) -> None:
        raise MemoryError("no room")

    lax, context = pinned(), pinned(pin=ABSENT, identity=intermediate("clients").issue().identity)
    client = raw(context)
    heard = python_connection.Heard.CERTIFICATES

    def answer(*arguments: object) -> bool:
        # What this thread has heard of last.
        words = python_connection.words
        words.leave(python_connection.Word(heard, client._ssl, lax._guard.weak, HOST, Reason.PINNED))
        return True

    monkeypatch.setattr(python_handshake, "_accepts_hello", answer)
    monkeypatch.setattr("pinverify.engine.python_message._bind", fail)
    is_refused(client, accepting(asking(version)))
    assert (context.stats().accepted, lax.stats().accepted) == (0, 0)


@both_versions
def test_an_accepted_handshake_tells_nobody(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told of a peer that the policy accepts, and so nothing can fail in telling."""

    def fail(*arguments: object) -> None:
        raise AssertionError("told")

    monkeypatch.setattr(Guard, "tell", fail)
    ends = open_pair(pinned(), server_ssl(leaf(HOST), version=version))
    assert exchange(*ends) == b"ping"


# -- Connections that are shut down --

BOTH_WAYS = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN


@both_versions
@pytest.mark.parametrize("state", [BOTH_WAYS, SSL.RECEIVED_SHUTDOWN])
def test_what_a_hook_has_shut_stays_shut(state: int, version: int) -> None:
    """A program that shuts a connection down when it hears of a violation has it shut, in report mode too."""
    clients = list[SSL.Connection]()
    context = client_context(
        {HOST: PinSet([ABSENT], mode="report")},
        trust=root().pem,
        on_violation=lambda verdict: clients[0].set_shutdown(state),
    )
    clients.append(raw(context))
    error, _ = shake(clients[0], accepting(server_ssl(leaf(HOST), version=version)))
    assert isinstance(error, SSL.Error)
    assert clients[0].get_shutdown() & state == state


@both_versions
def test_a_client_without_a_certificate_hears_why(version: int) -> None:
    """The alert of a server that wanted one goes out."""
    plain = client_ssl()
    plain.set_max_proto_version(version)
    client = raw(plain)
    server = accepting(server_context(leaf(HOST).identity, clients=[ABSENT]))
    error, _ = shake(client, server)
    if error is None:  # in TLS 1.3 the client is done by then
        with pytest.raises(SSL.Error) as caught:
            client.recv(100)
        error = caught.value
    assert "alert" in str(error)


# -- OpenSSL's own verdict --


def verify_result(connection: SSL.Connection) -> int:
    return int(openssl_lib.SSL_get_verify_result(connection._ssl))


@both_versions
def test_the_verify_result_tells_whose_refusal_it_was(version: int) -> None:
    """A refusal of OpenSSL's keeps its error; one of ours is an application's; of nothing heard, too."""
    application, mismatch, ok = 50, 62, 0
    server = server_ssl(leaf(HOST), version=version)
    deaf = pinned()
    openssl_lib.SSL_CTX_set_msg_callback(deaf._context, NULL)
    openssl_lib.SSL_CTX_set_tlsext_servername_callback(deaf._context, NULL)  # else that refuses before
    for context, host, result in (
        (pinned(), HOST, ok),
        (pinned(pin=ABSENT), HOST, application),
        (pinned("elsewhere.test"), "elsewhere.test", mismatch),
        (deaf, HOST, application),
    ):
        client = raw(context, host=host)
        shake(client, accepting(server))
        assert verify_result(client) == result


def alone(node: Node) -> Node:
    """It without the certificates above it."""
    return Node(node.certificate, node.key)


WITHOUT_A_CA: dict[str, Callable[[], tuple[Node, ...]]] = {  # what the server has, and sends behind its chain
    "self-signed": lambda: (make_node("device", hosts=(HOST,)),),
    "of another name": lambda: (make_node("device", hosts=("elsewhere.test",)),),
    "without its issuer": lambda: (alone(intermediate().issue(HOST)),),
    "without its root": lambda: (intermediate().issue(HOST),),
    "with its root": lambda: (intermediate().issue(HOST), root()),
    "out of date": lambda: (intermediate().issue(HOST, days=(-9, -2)),),
    "not yet valid": lambda: (intermediate().issue(HOST, days=(2, 9)),),
}


@both_versions
@pytest.mark.parametrize("case", WITHOUT_A_CA)
def test_p04_without_a_ca_a_pinned_leaf_is_enough(case: str, version: int) -> None:
    """Whatever a chain to an anchor would lack, the leaf's key decides, and an unknown one is not pinned."""
    node, *extra = WITHOUT_A_CA[case]()
    server = server_ssl(node, extra=tuple(extra), version=version)
    for pin, is_accepted in ((node.pin, True), (ABSENT, False)):
        client = raw(client_context({HOST: [pin]}, trust="pins"))
        if is_accepted:
            assert shake(client, accepting(server)) == (None, None)
            assert verify_result(client) == 0
        else:
            assert refusal(client, accepting(server)).verdict.reason is Reason.NOT_PINNED
