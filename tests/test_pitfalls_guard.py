# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: where the check was lost (P06, P12)."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from pinned import ABSENT, HOST, both_versions, open_pair, pinned, raw, refusal
from support import (
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
)

import pinverify
from pinverify import (
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    Verdict,
    client_context,
    server_context,
)
from pinverify.engine import python_connection

# -- P06: what fails inside the handshake --


class Boom(BaseException):
    """Not an Exception: what only `except BaseException` catches."""


def failing(error: BaseException, mode: Any) -> PinnedContext:
    """A client that refuses its peer, or only reports it, and whose hook raises."""

    def fail(verdict: object) -> None:
        raise error

    pins = PinSet([ABSENT], mode=mode)
    return client_context({HOST: pins}, trust=root().certificate, on_violation=fail)


@both_versions
@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), Boom()], ids=repr)
def test_p26_what_is_no_exception_comes_out_as_itself(error: BaseException, mode: Any, version: int) -> None:
    """The peer is refused, and who catches PinRefused does not swallow what is to end the program."""
    context = failing(error, mode)
    client, server = raw(context), accepting(server_ssl(leaf(HOST), version=version))
    with pytest.raises(type(error)) as caught:
        shake(client, server)
    assert caught.value is error
    assert (context.stats().accepted, context.stats().refused) == (0, 1)
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    assert exchange(*open_pair(pinned(), server_ssl(leaf(HOST)))) == b"ping"  # it comes out once


@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), LookupError()], ids=repr)
def test_p06_a_hook_that_raises_refuses(error: Exception, mode: Any) -> None:
    """What `on_violation` raises is not lost: the peer is refused, and the exception is the cause."""
    context = failing(error, mode)
    refused = refusal(raw(context), accepting(server_ssl(leaf(HOST))))
    assert refused.__cause__ is error
    assert refused.verdict.reason is Reason.INTERNAL
    assert type(error).__name__ in str(refused)
    assert (context.stats().accepted, context.stats().refused) == (0, 1)


def test_p06_a_story_that_cannot_be_told_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Verdict of a violation cannot be made, nobody is let in to be reported."""

    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError("no room for a verdict")

    pins = PinSet([ABSENT], mode="report")
    context = client_context({HOST: pins}, trust=root().certificate, on_violation=lambda verdict: None)
    monkeypatch.setattr(Verdict, "of", fail)
    refused = refusal(raw(context), accepting(server_ssl(leaf(HOST))))
    assert isinstance(refused.__cause__, MemoryError)
    assert refused.verdict.reason is Reason.INTERNAL


# The steps of the engine in Python, each of which may fail. What can fail in C is tried in C.
STEPS = (
    "pinverify.engine.python_guard.canonical_sni",
    "pinverify.engine.python_guard.PythonGuard.judge_chain",
    "pinverify.engine.python_guard.PythonGuard.conclude",
    "pinverify.engine.python_message._hold",
    "pinverify.engine.python_message._bind",
    "pinverify.engine.python_message._check_finished",
    "pinverify.engine.python_handshake._verify",
    "pinverify.engine.python_handshake._accepts_hello",
    "pinverify.engine.python_connection.Words.about",
    "pinverify.engine.python_handshake.prove",
    "pinverify.engine.python_handshake.has_mark",
    "pinverify.engine.rules.certificate",
    "pinverify.engine.rules.finished",
    "pinverify.engine.rules.done",
    "pinverify.engine.python.Compiled.decide",
    "pinverify.engine.openssl.chain_of",
    "pinverify.engine.openssl.connection_of",
)


# Where the decision has been counted already.
AFTER_THE_DECISION = (
    "pinverify.engine.python_message._check_finished",
    "pinverify.engine.python_handshake.prove",
    "pinverify.engine.rules.finished",
    "pinverify.engine.rules.done",
)


def _place(step: str) -> tuple[Any, str]:
    """The module or class that a name is in, and the name there; a context keeps what it has got of it."""
    place, _, name = step.rpartition(".")
    return pkgutil.resolve_name(place), name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@both_versions
@pytest.mark.parametrize("step", STEPS)
def test_p06_a_step_that_fails_refuses(
    step: str, version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in the engine in Python, the handshake fails with it and no data goes through."""
    if engine.NAME != "python":
        return
    context, server = pinned(), accepting(server_ssl(leaf(HOST), version=version))
    client, calls = raw(context), list[int]()

    def fail(*arguments: object, **options: object) -> None:
        calls.append(1)
        raise MemoryError("no room")

    monkeypatch.setattr(*_place(step), fail)
    error, _ = shake(client, server)
    monkeypatch.undo()
    assert calls
    assert isinstance(error, SSL.Error)
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    assert context.stats().accepted == (step in AFTER_THE_DECISION)


# -- P12: what a program or a framework changes on a connection --


Change = Callable[[SSL.Connection], None]


def no_verification(client: SSL.Connection) -> None:
    client.set_verify(SSL.VERIFY_NONE)


def another_callback(client: SSL.Connection) -> None:
    client.set_verify(SSL.VERIFY_PEER, lambda *_: True)


def no_verification_and_a_callback(client: SSL.Connection) -> None:
    client.set_verify(SSL.VERIFY_NONE, lambda *_: True)


def another_context(client: SSL.Connection) -> None:
    client.set_context(client_ssl())


def all_of_it(client: SSL.Connection) -> None:
    another_context(client)
    no_verification_and_a_callback(client)


CHANGES = (no_verification, another_callback, no_verification_and_a_callback, another_context, all_of_it)


def ahead_of_the_handshake(context: PinnedContext, change: Change) -> SSL.Connection:
    client = raw(context)
    change(client)
    return client


def at_each_step(context: PinnedContext, change: Change) -> SSL.Connection:
    context.set_info_callback(lambda connection, where, code: change(connection))
    return raw(context)


def between_messages(context: PinnedContext, change: Change) -> SSL.Connection:
    class Meddled(SSL.Connection):
        def bio_write(self, buf: bytes) -> int:
            change(self)
            return super().bio_write(buf)

    client = Meddled(context, None)
    client.set_tlsext_host_name(HOST.encode())
    client.set_connect_state()
    return client


def when_a_ticket_comes(context: PinnedContext, change: Change) -> SSL.Connection:
    context.set_keylog_callback(lambda connection, line: change(connection))
    return raw(context)


MOMENTS = (ahead_of_the_handshake, at_each_step, between_messages, when_a_ticket_comes)


@both_versions
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda value: value.__name__)
@pytest.mark.parametrize("change", CHANGES, ids=lambda value: value.__name__)
def test_p12_a_client_keeps_its_pins(
    change: Change, moment: Callable[..., SSL.Connection], version: int
) -> None:
    """Whatever is changed on a connection, and when: its peer is judged by the policy it was made with."""
    for pin, is_accepted in ((None, True), (ABSENT, False)):
        context = pinned(pin=pin)
        client, server = moment(context, change), accepting(server_ssl(leaf(HOST), version=version))
        error, _ = shake(client, server)
        stats = context.stats()
        if is_accepted:
            assert error is None
            assert stats.by_reason[Reason.PINNED] == 1
            assert exchange(client, server) == b"ping"
        else:
            assert isinstance(error, SSL.Error)
            assert (stats.accepted, stats.by_reason[Reason.NOT_PINNED]) == (0, 1)
            with pytest.raises(SSL.Error):
                client.send(b"secret")


def ahead_of_it(context: PinnedContext, meddle: Callable[..., None]) -> SSL.Connection:
    server = accepting(context)
    meddle(server)
    return server


def for_a_name(context: PinnedContext, meddle: Callable[..., None]) -> SSL.Connection:
    context.set_tlsext_servername_callback(meddle)
    return accepting(context)


def at_each_state(context: PinnedContext, meddle: Callable[..., None]) -> SSL.Connection:
    context.set_info_callback(lambda connection, where, code: meddle(connection))
    return accepting(context)


@both_versions
@pytest.mark.parametrize("make", [ahead_of_it, for_a_name, at_each_state], ids=lambda value: value.__name__)
@pytest.mark.parametrize("change", CHANGES, ids=lambda value: value.__name__)
def test_p12_a_server_keeps_its_pins(
    change: Change, make: Callable[..., SSL.Connection], version: int
) -> None:
    """Whatever is changed on a server's connection, and when: nobody gets in who is not known by a key.

    Where the change makes OpenSSL ask for no certificate, or takes the context away in the middle of the
    handshake, not even the right client does.
    """
    device, stranger = intermediate("clients").issue(), intermediate("clients").issue()
    plain = server_ssl(leaf(HOST), version=version)

    def meddle(connection: SSL.Connection) -> None:
        if change in (another_context, all_of_it):
            connection.set_context(plain)
        if change is not another_context:
            (no_verification if change is all_of_it else change)(connection)

    for node in (device, stranger, None):
        context = server_context(leaf(HOST).identity, clients=[device.pin])
        server, caller = make(context, meddle), client_ssl(node)
        caller.set_max_proto_version(version)
        error, _ = shake(server, raw(caller))
        accepted = context.stats().by_reason[Reason.PINNED]
        assert error is not None or accepted == 1
        assert context.stats().accepted == accepted
        if node is not device:
            assert accepted == 0
        elif (
            make is ahead_of_it
            or change is another_callback
            or (make, change) == (for_a_name, another_context)
        ):
            assert accepted == 1


@both_versions
def test_p12_a_hook_cannot_turn_a_refusal_into_nothing(version: int) -> None:
    """Who turns verification off while a refusal is told has turned nothing off."""
    clients = list[SSL.Connection]()
    context = pinned(pin=ABSENT, on_violation=lambda verdict: clients[0].set_verify(SSL.VERIFY_NONE))
    clients.append(raw(context))
    error, _ = shake(clients[0], accepting(server_ssl(leaf(HOST), version=version)))
    assert isinstance(error, PinRefused)
    with pytest.raises(SSL.Error):
        clients[0].send(b"secret")
    assert context.stats().accepted == 0


@both_versions
def test_p12_a_guard_that_has_lost_a_callback_refuses(version: int) -> None:
    """Where nothing calls the guard at the messages any more, it does not go by what it last heard: neither
    for a chain, nor for a session, nor where the callback for server names does not refuse ahead of both.
    """
    server = server_ssl(leaf(HOST), version=version)
    context = pinned()
    session = session_after(raw(context), accepting(server))
    lib.SSL_CTX_set_msg_callback(context._context, ffi.NULL)
    for resumes, answers in ((False, True), (True, True), (False, False)):
        if not answers:
            lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
        client = raw(context)
        if resumes:
            use_session(client, session)
        last_heard_of = stopped_at_the_hello(
            pinned(), SSL.TLS1_3_VERSION
        )  # in this thread, of the same host; and alive
        error, _ = shake(client, accepting(server))
        assert isinstance(error, SSL.Error)
        with pytest.raises(SSL.Error):
            client.send(b"secret")
        assert last_heard_of.get_shutdown() == 0


def test_p06_a_hello_is_good_for_one_answer(engine: ModuleType) -> None:
    """What the message callback has left of a hello is gone with the answer to it, and not there for another
    connection at the same address, of whose own hello it could not hear.
    """
    if engine.NAME != "python":
        return
    about, heard = python_connection.words.about, python_connection.Heard.HELLO
    client = stopped_at_the_hello(pinned(), SSL.TLS1_3_VERSION)
    assert about(heard, client._ssl) is not None  # its extensions are to come
    client = stopped_at_the_hello(pinned(), SSL.TLS1_2_VERSION)
    assert about(heard, client._ssl) is None


def stopped_at_the_hello(context: SSL.Context, version: int) -> SSL.Connection:
    """A client that has read a ServerHello, and nothing that comes after it."""
    client, server = raw(context), accepting(server_ssl(leaf(HOST), version=version))
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(1 << 16))
    with pytest.raises(SSL.WantReadError):
        server.do_handshake()
    flight = server.bio_read(1 << 16)
    client.bio_write(flight[: 5 + int.from_bytes(flight[3:5], "big")])  # one record, RFC 8446 5.1
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    return client


def test_p12_set_verify_on_the_context_is_refused() -> None:
    """The context itself cannot be told to verify otherwise, and the error says what to do."""
    context = pinned(pin=ABSENT)
    for arguments in ((SSL.VERIFY_NONE,), (SSL.VERIFY_PEER, lambda *_: True), (SSL.VERIFY_NONE, None)):
        with pytest.raises(PinverifyError, match="trust= and a policy"):
            context.set_verify(*arguments)
    assert refusal(raw(context), accepting(server_ssl(leaf(HOST)))).verdict.reason is Reason.NOT_PINNED


def test_p12_a_connection_that_moves_in_is_not_pinned_and_says_so() -> None:
    """A plain connection that is moved into a pinned context was never guarded: it gets no verdict."""
    client, server = raw(client_ssl()), accepting(server_ssl(leaf(HOST)))
    client.set_context(pinned(pin=ABSENT))
    shake(client, server)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)
