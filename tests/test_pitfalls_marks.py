# SPDX-License-Identifier: Apache-2.0
"""How pinning could fail here: by what is left of an earlier decision, of an earlier message, or of a guard
that has lost its other callbacks (P05, P12, P18, P20).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hostile import drained, feed, openssl_peer, step
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from pinned import ABSENT, HOST, both_versions, pinned, raw, refusal
from support import (
    SANITIZED,
    Node,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    make_node,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)
from test_pitfalls_faults import instead_of
from test_pitfalls_guard import stopped_at_the_hello
from test_pitfalls_owners import at_each_line
from test_pitfalls_sessions import next_at
from test_pitfalls_threads import BOUND, resident_bytes
from test_told import refuse_unheard

import pinverify
from pinverify import (
    Pin,
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    client_context,
    server_context,
)
from pinverify.engine import openssl, python_connection, python_message

BOTH_WAYS = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN


def deafened(context: PinnedContext) -> PinnedContext:
    """A context whose guard hears of nothing any more, and decides about no hello."""
    lib.SSL_CTX_set_msg_callback(context._context, ffi.NULL)
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
    return context


def is_of_no_use(connection: SSL.Connection) -> None:
    """Checks that a connection has no verdict, and neither sends nor takes application data."""
    for use in (lambda: connection.send(b"secret"), lambda: connection.recv(1)):
        with pytest.raises(SSL.Error) as caught:
            use()
        assert not isinstance(caught.value, SSL.WantReadError)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(connection)


# -- The last callback --


def as_it_is(context: PinnedContext) -> None:
    """Changes nothing."""


def with_an_info_callback(context: PinnedContext) -> None:
    context.set_info_callback(lambda connection, where, value: None)


def with_every_mode(context: PinnedContext) -> None:
    context.set_mode(openssl.GUARDED | openssl.PROVEN)


def with_every_mode_of_openssls(context: PinnedContext) -> None:
    lib.SSL_CTX_set_mode(context._context, openssl.GUARDED | openssl.PROVEN)


@both_versions
@pytest.mark.parametrize(
    "change", [as_it_is, with_an_info_callback, with_every_mode, with_every_mode_of_openssls]
)
def test_p12_a_guard_that_has_only_its_last_callback_left_refuses(
    change: Callable[[PinnedContext], None], version: int
) -> None:
    """A program that has taken away what hears and what decides, and the verification, has a handshake that
    OpenSSL takes for complete: the end of it shuts the connection, raises, and leaves no session to offer.
    """
    context, server = pinned(), server_ssl(intermediate().issue(HOST), version=version)
    change(context)
    deafened(context)
    client = raw(context)
    if change is with_every_mode:
        client.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    else:
        lib.SSL_set_verify(client._ssl, SSL.VERIFY_NONE, ffi.NULL)  # which keeps the guard's callback
    error = refusal(client, accepting(server))
    assert (error.verdict.reason, error.verdict.host) == (Reason.INTERNAL, None)
    is_of_no_use(client)
    again, session = raw(pinned()), client.get_session()
    if session is not None:
        client.set_shutdown(BOTH_WAYS)
        use_session(again, session)
    assert refusal(again, accepting(server)).verdict.reason is Reason.NOT_PINNED
    assert not was_resumed(again)


@both_versions
def test_p12_a_hello_that_no_guard_has_heard_is_refused_for_that(version: int) -> None:
    """Where the message callback is gone, a client ends at the server's hello, and a server ahead of showing
    its certificate, also where nothing decides about hellos.
    """
    device = leaf("device.test", under="clients")
    for deaf in (False, True):
        servers = server_context(leaf(HOST).identity, clients=[device.pin])
        clients = pinned()
        for context in (servers, clients):
            lib.SSL_CTX_set_msg_callback(context._context, ffi.NULL)
        if deaf:
            deafened(servers)
        plain = client_ssl(device)
        plain.set_max_proto_version(version)
        server, client = accepting(servers), raw(plain)
        error, heard = shake(server, client)
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.INTERNAL
        assert "alert" in str(heard)
        assert client.get_peer_certificate() is None
        error = refusal(raw(clients), accepting(server_ssl(leaf(HOST), version=version)))
        assert error.verdict.reason is Reason.INTERNAL


# -- Proof, taken back --


def settle(near: SSL.Connection, far: SSL.Connection) -> Exception | None:
    """Lets both ends go on until a second handshake is over; what ours raises."""
    for _ in range(4):
        for end, other in ((far, near), (near, far)):
            for use in (end.do_handshake, lambda end=end: end.recv(100)):
                try:
                    use()
                except SSL.WantReadError:
                    pass
                except Exception as error:
                    if end is near:
                        return error
            feed(other, drained(end))
    return None


def displacing(connection: SSL.Connection, mode: int, kept: list[object], now: list[bool]) -> Any:
    """An OpenSSL function that, when `now` says so, has another verify callback in the guard's place when
    it returns.
    """

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = real(*arguments)
            if now:
                connection.set_verify(mode, lambda *_: True)
                kept.append((connection._verify_helper, connection._verify_callback))
            return result

        return call

    return wrap


def renegotiating(node: Node, is_server: bool) -> SSL.Context:
    context = openssl_peer([node, intermediate()], SSL.TLS1_2_VERSION, is_server=is_server)
    context.set_options(1 << 8 | 1 << 16)  # a client may start it, and no session is resumed in it
    return context


def test_p12_the_proof_of_the_first_handshake_is_none_of_the_second(engine: ModuleType) -> None:
    """A client that has accepted its server, and whose callbacks are displaced in the renegotiation, does not
    go by what was decided before: the server's other certificate takes the proof back.
    """
    context, kept, now = pinned(), list[object](), list[bool]()
    near, far = raw(context), accepting(renegotiating(leaf(HOST), True))
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    far.set_context(renegotiating(intermediate().issue(HOST), True))
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
    with instead_of("SSL_get_servername", engine, displacing(near, SSL.VERIFY_PEER, kept, now)):
        now.append(True)
        far.renegotiate()
        error = settle(near, far)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    is_of_no_use(near)


def test_p12_a_second_server_hello_takes_the_proof_back() -> None:
    """A renegotiation that resumes a session about which no callback decides ends at Finished, though the
    first handshake was decided about.
    """
    context = pinned()
    near, far = raw(context), accepting(openssl_peer([leaf(HOST), intermediate()], SSL.TLS1_2_VERSION))
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
    far.renegotiate()
    error = settle(near, far)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    is_of_no_use(near)


def test_a_hello_that_is_declined_leaves_the_connection_as_it_was() -> None:
    """OpenSSL declines a renegotiation that a client asks for, and the connection of a server stands."""
    context = server_context(leaf(HOST).identity, clients=[leaf(HOST).pin])
    near, far = accepting(context), raw(openssl_peer([leaf(HOST)], SSL.TLS1_2_VERSION, is_server=False))
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    far.renegotiate()
    step(far)
    feed(near, drained(far))
    with pytest.raises(SSL.WantReadError):
        near.recv(1)
    assert pinverify.verdict(near).reason is Reason.PINNED


def test_p12_a_client_that_is_not_asked_again_is_not_known_any_more(engine: ModuleType) -> None:
    """A server that renegotiates, and that something keeps from asking for a certificate, does not go by the
    one that it saw before: the client's hello takes the proof back.
    """
    device = leaf(HOST)
    context = server_context(leaf(HOST).identity, clients=[device.pin], trust=root().certificate)
    context.set_options(1 << 16)
    kept, now = list[object](), list[bool]()
    near, far = accepting(context), raw(renegotiating(device, False))
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    with instead_of("SSL_set_verify", engine, displacing(near, SSL.VERIFY_NONE, kept, now)):
        now.append(True)
        near.renegotiate()
        error = settle(near, far)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.CHAIN_LENGTH
    is_of_no_use(near)


def test_p12_a_certificate_that_is_shown_later_takes_the_proof_back(engine: ModuleType) -> None:
    """A server that has accepted its client, and whose callback is displaced when it asks again (RFC 8446
    4.6.2), does not go by what was decided before.
    """
    known, stranger = leaf("device.test", under="clients"), leaf("stranger.test", under="clients")
    near = accepting(server_context(leaf(HOST).identity, clients=[known.pin]))
    peers = [openssl_peer([node], SSL.TLS1_3_VERSION, is_server=False) for node in (known, stranger)]
    far, kept, now = raw(peers[0]), list[object](), list[bool]()
    lib.SSL_set_post_handshake_auth(far._ssl, 1)
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    far.set_context(peers[1])
    with instead_of("SSL_set_verify", engine, displacing(near, SSL.VERIFY_PEER, kept, now)):
        now.append(True)
        assert lib.SSL_verify_client_post_handshake(near._ssl) == 1
        error = settle(near, far)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    is_of_no_use(near)


@both_versions
def test_p12_what_is_refused_after_it_was_accepted_has_no_proof(version: int, engine: ModuleType) -> None:
    """OpenSSL looks at name constraints when the pins have accepted. Where something keeps it from acting on
    the refusal, the peer comes to its end without proof.
    """
    node = root().issue_ca("constrained", permits="elsewhere.test").issue(HOST)
    context, kept = pinned(pin=node.pin), list[object]()
    client, now = raw(context), list[bool]()

    def after_the_refusal(real: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = displacing(client, SSL.VERIFY_NONE, kept, now)(real)

        def call(*arguments: Any) -> Any:
            now[:] = [True] * context.stats().by_reason[Reason.OPENSSL]
            return wrapped(*arguments)

        return call

    with instead_of("SSL_set_verify", engine, after_the_refusal):
        error = refusal(client, accepting(server_ssl(node, version=version)))
    assert now
    assert error.verdict.reason is Reason.INTERNAL
    is_of_no_use(client)


# -- Words --


@both_versions
def test_p05_what_was_heard_of_a_connection_is_not_there_for_the_next(version: int) -> None:
    """The memory of an SSL is used again. A connection that was accepted leaves nothing by which another one,
    at the same address and of a guard that hears of nothing, could be accepted too.
    """
    lax, strict, hits = pinned(), deafened(pinned(pin=ABSENT)), 0
    server = server_ssl(leaf(HOST), version=version)
    for _ in range(40):
        client = raw(lax)
        assert shake(client, accepting(server)) == (None, None)
        address = openssl.ffi.cast("uintptr_t", client._ssl)
        del client
        near = next_at(address, strict)
        hits += near._ssl == openssl.ffi.cast("SSL *", address)
        near.set_connect_state()
        near.set_tlsext_host_name(HOST.encode())
        error, _ = shake(near, accepting(server))
        assert isinstance(error, SSL.Error)
        is_of_no_use(near)
    assert hits > 0 or SANITIZED, "no address came again"


@both_versions
def test_p20_a_connection_from_elsewhere_does_not_go_on_by_a_hello_that_broke_off(version: int) -> None:
    """A plain client that was moved to a pinned context, and has the address of one of whose hello the thread
    has heard last, is refused at its own hello.
    """
    context, elsewhere, plain, hits = pinned(), pinned(), client_ssl(), 0
    for _ in range(40):
        broken = stopped_at_the_hello(context, SSL.TLS1_3_VERSION)
        address = openssl.ffi.cast("uintptr_t", broken._ssl)
        del broken
        client, server = next_at(address, plain), accepting(server_ssl(leaf(HOST), version=version))
        hits += client._ssl == openssl.ffi.cast("SSL *", address)
        client.set_connect_state()
        client.set_context(elsewhere)
        error, heard = shake(client, server)
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.MOVED
        if heard is None:  # in TLS 1.3 the server is done by then
            with pytest.raises(SSL.Error) as caught:
                server.recv(1)
            heard = caught.value
        assert "alert handshake failure" in str(heard)
    assert hits > 0 or SANITIZED, "no address came again"


@both_versions
def test_p05_a_word_outlasts_handshakes_in_between(version: int) -> None:
    """A hook that makes handshakes of its own does not have the thread forget whose certificates are judged:
    what OpenSSL finds after that is told for what it is.
    """
    node = root().issue_ca("constrained", permits="elsewhere.test").issue(HOST)
    reports, inner = list[object](), pinned()

    def report(verdict: object) -> None:
        reports.append(verdict)
        for _ in range(2):
            assert shake(raw(inner), accepting(server_ssl(leaf(HOST)))) == (None, None)

    pins = PinSet([ABSENT], mode="report")
    context = client_context({HOST: pins}, trust=root().certificate, on_violation=report)
    error = refusal(raw(context), accepting(server_ssl(node, version=version)))
    assert len(reports) == 1
    assert error.verdict.reason is Reason.OPENSSL
    assert "permitted subtree violation" in str(error)


def test_a_thread_keeps_a_few_words(engine: ModuleType) -> None:
    """However many handshakes break off in it."""
    if engine.NAME != "python":
        return  # in C they have their places
    clients = [stopped_at_the_hello(pinned(), SSL.TLS1_3_VERSION) for _ in range(9)]
    about, heard = python_connection.words.about, python_connection.Heard.HELLO
    kept = [client for client in clients if about(heard, client._ssl) is not None]
    assert kept == clients[-4:]


def test_a_connection_has_no_verdict_ahead_of_finished() -> None:
    """A server whose certificate was accepted has yet to show that it has the key."""
    context = pinned()
    client = raw(context)
    after_records(client, accepting(server_ssl(leaf(HOST), version=SSL.TLS1_2_VERSION)), 2)
    assert context.stats().by_reason[Reason.PINNED] == 1
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)


def test_p03_the_verdict_on_a_session_of_another_host_is_none() -> None:
    """Where it was resumed, the verdict is the one that the handshake was refused for."""
    context, server = pinned(), server_ssl(leaf(HOST), version=SSL.TLS1_3_VERSION)
    server.set_tlsext_servername_callback(lambda connection: None)
    session = session_after(raw(context), accepting(server))
    client = raw(context, host="other.example.com")
    use_session(client, session)
    assert refusal(client, accepting(server)).verdict.reason is Reason.SESSION
    assert was_resumed(client)
    verdict = context._guard.judge(client)
    assert (verdict.reason, verdict.accepted) == (Reason.SESSION, False)


def after_records(client: SSL.Connection, server: SSL.Connection, count: int) -> None:
    """Lets a client read so many records of a server's first flight, and no more (RFC 5246 6.2.1)."""
    step(client)
    feed(server, drained(client))
    step(server)
    flight = drained(server)
    for _ in range(count):
        size = 5 + int.from_bytes(flight[3:5], "big")
        feed(client, flight[:size])
        flight = flight[size:]
        assert isinstance(step(client), SSL.WantReadError)


def test_p05_a_connection_is_not_judged_by_what_was_heard_of_another() -> None:
    """Where a thread has heard last of the certificates of one connection, another one, of which it hears
    nothing, is refused without them: nothing is decided or counted of the first.
    """
    server = server_ssl(leaf(HOST), version=SSL.TLS1_2_VERSION)
    context, deaf = pinned(), deafened(pinned())
    heard = raw(context)
    after_records(heard, accepting(server), 2)  # its hello and its certificates
    before = context.stats()
    assert before.by_reason[Reason.PINNED] == 1
    error, _ = shake(raw(deaf), accepting(server_ssl(intermediate().issue(HOST), version=SSL.TLS1_2_VERSION)))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    assert context.stats() == before


# -- Sessions --


def in_the_scope_of(context: PinnedContext, patch: pytest.MonkeyPatch) -> SSL.Context:
    """A plain context whose sessions are looked for where those of `context` are."""
    plain, scopes = client_ssl(), list[bytes]()
    with patch.context() as inner:
        inner.setattr(SSL.Context, "set_session_id", lambda self, scope: scopes.append(scope))
        context.set_session_id(b"")
    plain.set_session_id(scopes[0])
    return plain


@both_versions
def test_p18_a_session_of_a_denied_key_is_refused_for_that(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of a session names the entry, and that a key is denied."""
    pins = PinSet([ABSENT], deny=[leaf(HOST).pin])
    context = client_context({HOST: pins}, trust=root().certificate)
    server, plain = server_ssl(leaf(HOST), version=version), in_the_scope_of(context, monkeypatch)
    client = raw(context)
    use_session(client, session_after(raw(plain), accepting(server)))
    error = refusal(client, accepting(server))
    assert was_resumed(client)
    assert (error.verdict.reason, error.verdict.pattern) == (Reason.DENIED, HOST)


@both_versions
def test_p18_a_denied_key_that_is_only_reported_is_reported_again(version: int) -> None:
    """A leaf that settles a refusal is no proof of anything, though its place in the chain is the first."""
    pins = PinSet([ABSENT], deny=[leaf(HOST).pin], mode="report")
    context = client_context({HOST: pins}, trust=root().certificate, on_violation=lambda verdict: None)
    server = server_ssl(leaf(HOST), version=version)
    session = session_after(raw(context), accepting(server))
    client = raw(context)
    use_session(client, session)
    assert shake(client, accepting(server)) == (None, None)
    assert not was_resumed(client)
    assert context.stats().by_reason[Reason.DENIED] == 2


@both_versions
def test_p18_a_session_whose_leaf_cannot_be_had_is_refused(version: int, engine: ModuleType) -> None:
    """What a session does not keep, or OpenSSL does not give, is no proof."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    client = raw(context)
    use_session(client, session_after(raw(context), accepting(server)))
    with instead_of("SSL_get_peer_certificate", engine, lambda real: lambda ssl: openssl.ffi.NULL):
        error = refusal(client, accepting(server))
    assert was_resumed(client)
    assert error.verdict.reason is Reason.INTERNAL
    is_of_no_use(client)


@both_versions
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(SSL.Context, "clear_mode"), reason="older pyOpenSSL goes on")
def test_p18_where_a_programs_callback_fails_no_session_is_accepted(version: int) -> None:
    """What ends the handshake ahead of the decision is counted as nothing."""
    context, server, fails = pinned(), server_ssl(leaf(HOST), version=version), list[bool]()

    def answer(connection: SSL.Connection) -> None:
        if fails:
            raise LookupError("no such name")

    context.set_tlsext_servername_callback(answer)
    client = raw(context)
    session = session_after(client, accepting(server))
    fails.append(True)
    client = raw(context)
    use_session(client, session)
    error, _ = shake(client, accepting(server))
    assert isinstance(error, SSL.Error)
    assert was_resumed(client)
    assert (context.stats().accepted, context.stats().refused) == (1, 0)


@openssl.ffi.callback("void(SSL *, int, int)")  # type: ignore[untyped-decorator]
def of_a_connections_own(ssl: Any, where: int, value: int) -> None:
    """A callback for information that a connection may have, in place of its context's."""


def by_information_alone(context: PinnedContext, server: SSL.Connection) -> None:
    lib.SSL_CTX_set_keylog_callback(context._context, ffi.NULL)


def by_keys_alone(context: PinnedContext, server: SSL.Connection) -> None:
    if not hasattr(lib, "SSL_set_info_callback"):
        pytest.skip("older cryptography: connections have no callback of their own")
    lib.SSL_set_info_callback(server._ssl, of_a_connections_own)


def by_keys_that_are_logged(context: PinnedContext, server: SSL.Connection) -> None:
    context.set_keylog_callback(lambda connection, line: None)
    by_keys_alone(context, server)


@pytest.mark.parametrize("change", [by_information_alone, by_keys_alone, by_keys_that_are_logged])
def test_p20_a_session_of_a_default_context_does_not_get_by_any_callback(
    change: Callable[[PinnedContext, SSL.Connection], None],
) -> None:
    """A connection that resumes a session of the plain name under the pinned one is refused by each of the
    callbacks that OpenSSL looks up in the context that the connection has then.
    """
    device = leaf("device.test", under="clients")
    default = server_ssl(leaf(HOST), version=SSL.TLS1_3_VERSION)
    context = server_context(leaf(HOST).identity, clients=[device.pin])
    default.set_session_id(b"default")

    def choose(connection: SSL.Connection) -> None:
        if connection.get_servername() == HOST.encode():
            connection.set_context(context)

    default.set_tlsext_servername_callback(choose)
    plain = client_ssl()
    session = session_after(raw(plain, host="public.example.com"), accepting(default))
    server, client = accepting(default), raw(plain)
    change(context, server)
    use_session(client, session)
    _, error = shake(client, server)
    assert was_resumed(server)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.MOVED
    is_of_no_use(server)


# -- Exceptions --


@both_versions
def test_p06_a_report_that_is_interrupted_refuses(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception ahead of the telling of a violation, where nothing of ours catches it, lets nobody in."""

    def interrupted(*arguments: object) -> None:
        raise LookupError("on the first line")

    pins = PinSet([ABSENT], mode="report")
    context = client_context({HOST: pins}, trust=root().certificate, on_violation=lambda verdict: None)
    place = {"native": "native._decision", "python": "python_guard.PythonGuard.tell"}[engine.NAME]
    monkeypatch.setattr(f"pinverify.engine.{place}", interrupted)
    error = refusal(raw(context), accepting(server_ssl(leaf(HOST), version=version)))
    assert isinstance(error.__cause__, LookupError)
    assert context.stats().accepted == 0


@both_versions
def test_p06_an_exception_on_the_first_line_about_a_hello_refuses(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine in Python catches nothing yet, OpenSSL itself ends the handshake, and a session that
    would be accepted is not.
    """
    if engine.NAME != "python":
        return

    def interrupted(*arguments: object) -> str:
        raise LookupError("on the first line")

    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    client = raw(context)
    use_session(client, session_after(raw(context), accepting(server)))
    monkeypatch.setattr(python_connection.Words, "host", interrupted)
    error = refusal(client, accepting(server))
    assert was_resumed(client)
    assert isinstance(error.__cause__, LookupError)
    is_of_no_use(client)


@both_versions
def test_p06_an_exception_when_a_word_was_left_refuses(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes up in the engine in Python when a message has been announced takes the word back."""
    if engine.NAME != "python":
        return
    real = python_message._announce

    def announce(heard: Any, *arguments: Any) -> None:
        real(heard, *arguments)
        if heard is python_connection.Heard.CERTIFICATES:
            raise LookupError("on the last line")

    monkeypatch.setattr(python_message, "_announce", announce)
    context = pinned()
    error, _ = shake(raw(context), accepting(server_ssl(leaf(HOST), version=version)))
    assert isinstance(error, PinRefused)
    assert context.stats().accepted == 0


@both_versions
def test_p19_an_exception_at_finished_is_a_wrong_finished(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL itself ends the handshake, with an alert."""
    if engine.NAME != "python":
        return

    def fail(*arguments: object) -> None:
        raise LookupError("at the end")

    monkeypatch.setattr(python_message, "_check_finished", fail)
    server = accepting(server_ssl(leaf(HOST), version=version))
    error, heard = shake(raw(pinned()), server)
    assert isinstance(error, PinRefused)
    assert isinstance(error.__cause__, LookupError)
    if heard is None:  # in TLS 1.2 the server is done by then
        with pytest.raises(SSL.Error) as caught:
            server.recv(1)
        heard = caught.value
    assert "alert decrypt error" in str(heard)


def test_p06_an_exception_after_the_handshake_takes_the_proof_back(
    engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the guard fails at a message of a connection that stands, here a ticket, there is no verdict."""
    if engine.NAME != "python":
        return

    def fail(*arguments: object) -> bool:
        raise LookupError("at a ticket")

    client, server = raw(pinned()), accepting(server_ssl(leaf(HOST), version=SSL.TLS1_3_VERSION))
    assert shake(client, server) == (None, None)
    assert pinverify.verdict(client).reason is Reason.PINNED
    monkeypatch.setattr(python_message, "_hold", fail)
    with suppress(SSL.Error):
        client.recv(100)  # the tickets
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_what_is_asked_of_a_connection_leaves_nothing_behind() -> None:
    """A certificate that each verdict left behind would come to more, over thousands of them."""
    device = leaf("device.test", under="clients")
    context, plain, before = server_context(leaf(HOST).identity, clients=[device.pin]), client_ssl(device), 0
    for number in range(3000):
        server, client = accepting(context), raw(plain)
        assert shake(server, client) == (None, None)
        pinverify.verdict(server)
        if number == 500:
            before = resident_bytes()
    assert resident_bytes() - before < BOUND


def test_p26_an_interrupt_is_raised_by_the_call_that_it_came_in(
    engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for a refusal, of which OpenSSL would leave an error."""
    if engine.NAME != "python":
        return  # C is interrupted nowhere but where it tells

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pinverify.engine.python_message._hold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        raw(pinned()).do_handshake()


@both_versions
@pytest.mark.parametrize("pin", [None, ABSENT], ids=["a good peer", "a bad peer"])
def test_p26_an_interrupt_on_any_line_comes_out_as_itself(
    pin: Pin | None, version: int, engine: ModuleType
) -> None:
    """A signal's handler that raises KeyboardInterrupt comes at each line of a handshake. It is raised from
    there every time, and a bad peer is refused.
    """
    if engine.NAME != "python":
        return  # C is interrupted nowhere
    context, server, raised = pinned(pin=pin), server_ssl(leaf(HOST), version=version), list[int]()

    def interrupt() -> None:
        raise KeyboardInterrupt

    def meet() -> None:
        client = raw(context)
        try:
            shake(client, accepting(server))
        except KeyboardInterrupt:
            raised.append(1)
        sys.settrace(None)
        if pin is not None:
            with pytest.raises(SSL.Error):
                client.send(b"secret")

    lines = at_each_line(meet, interrupt)
    assert lines > 50
    assert len(raised) == lines
    assert pin is None or context.stats().accepted == 0


def test_p05_a_refusal_takes_the_place_of_one_that_nobody_has_raised() -> None:
    """What is raised is the refusal of the connection that fails now."""
    other = "other.example.com"
    client, server = raw(pinned(), host=other), accepting(server_ssl(leaf(other)))
    step(client)
    feed(server, drained(client))
    step(server)
    feed(client, drained(server))
    refuse_unheard(pinned(pin=ABSENT))
    error = step(client)
    assert isinstance(error, PinRefused)
    assert (error.verdict.reason, error.verdict.host) == (Reason.UNLISTED, other)


def test_what_a_callback_for_cookies_raises_comes_out() -> None:
    """As from a plain context."""

    def fail(connection: SSL.Connection) -> bytes:
        raise LookupError("no cookie")

    device = leaf("device.test", under="clients")
    plain = SSL.Context(SSL.DTLS_SERVER_METHOD)
    plain.use_certificate(leaf(HOST).certificate)
    plain.use_privatekey(leaf(HOST).key)
    for context in (plain, server_context(leaf(HOST).identity, clients=[device.pin], dtls=True)):
        context.set_cookie_generate_callback(fail)
        context.set_cookie_verify_callback(lambda connection, cookie: True)
        server, client = accepting(context), raw(SSL.Context(SSL.DTLS_CLIENT_METHOD))
        step(client)
        feed(server, drained(client))
        with pytest.raises(LookupError):
            server.DTLSv1_listen()


# -- The chain --


@both_versions
def test_a_root_above_a_pinned_ca_may_be_of_any_size(version: int) -> None:
    """What is above the certificate that settled it is not looked at, unless a key may be denied."""
    large = make_node("large root", is_ca=True, padding=66_000)
    authority = large.issue_ca("authority")
    server = server_ssl(authority.issue(HOST), version=version)
    for pins, reason in (
        (PinSet([authority.pin]), Reason.PINNED),
        (PinSet([authority.pin], deny=[ABSENT]), Reason.MALFORMED),
    ):
        context = client_context({HOST: pins}, trust=large.certificate)
        shake(raw(context), accepting(server))
        assert context.stats().by_reason[reason] == 1


@both_versions
def test_p09_a_refusal_tells_the_depth_of_a_denied_key(version: int) -> None:
    """Counted from the leaf, as the verdict shows the chain."""
    node, server = leaf(HOST), server_ssl(leaf(HOST), version=version)
    for depth, denied in ((1, intermediate()), (2, root())):
        pins = PinSet([node.pin], deny=[denied.pin])
        verdict = refusal(
            raw(client_context({HOST: pins}, trust=root().certificate)), accepting(server)
        ).verdict
        assert (verdict.reason, verdict.depth) == (Reason.DENIED, depth)
        assert verdict.chain[depth] == denied.der
