# SPDX-License-Identifier: Apache-2.0
"""How pinning failed here, once: by sessions that nobody had decided about (P18), by refusals that had no
result (P19), and by connections between two contexts (P20).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw, refusal
from support import (
    Node,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    make_node,
    offered,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)
from test_pitfalls_faults import instead_of

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

BOTH_WAYS = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN
OTHER = "other.example.com"


def device(name: str = "device.test", under: str = "clients") -> Node:
    return leaf(name, under=under)


def caller(node: Node | None, version: int, name: str = HOST) -> SSL.Connection:
    """A plain client, for one version of TLS."""
    context = client_ssl(node)
    context.set_max_proto_version(version)
    return raw(context, host=name)


def again(client: SSL.Connection, session: SSL.Session | None, name: str = HOST) -> SSL.Connection:
    """Another connection of a client's context, with a session to resume if there is one."""
    other = raw(client.get_context(), host=name)
    if session is not None:
        use_session(other, session)
    return other


def server_of(*known: Node, **options: Any) -> PinnedContext:
    """A server of ours that knows some clients by their keys."""
    return server_context(leaf(HOST).identity, clients=[node.pin for node in known], **options)


def what_is_left(connection: SSL.Connection) -> SSL.Session | None:
    """The session that a broken connection leaves, if any, kept as a program would that wants it."""
    session = connection.get_session()
    connection.set_shutdown(BOTH_WAYS)
    return session


def reporting(server: Node, told: list[Verdict], **entry: Any) -> PinnedContext:
    """A client that only reports, to `told`."""
    pins = PinSet([ABSENT], mode="report", **entry)
    return client_context({HOST: pins}, trust=root().certificate, on_violation=told.append)


# -- P18: sessions --


def of_a_ca(version: int) -> tuple[SSL.Context, SSL.Context]:
    return SSL.Context(SSL.TLS_CLIENT_METHOD), server_ssl(
        intermediate().issue("attacker.test"), version=version
    )


def of_no_ca(version: int) -> tuple[SSL.Context, SSL.Context]:
    plain = SSL.Context(SSL.TLS_CLIENT_METHOD)
    plain.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    evil = make_node("evil", is_ca=True).issue("attacker.test")
    return plain, server_ssl(evil, version=version)


@both_versions
@pytest.mark.parametrize("make", [of_a_ca, of_no_ca], ids=lambda make: make.__name__)
def test_p18_a_connection_that_was_moved_in_leaves_no_session_to_go_by(make: Any, version: int) -> None:
    """A plain connection that is moved to a pinned context is refused, and neither the session that it leaves
    nor one that it has made before lets in its peer, of which nobody has looked at the key.
    """
    context = pinned()
    plain, server = make(version)
    moved = raw(plain)
    moved.set_context(context)
    assert refusal(moved, accepting(server)).verdict.reason is Reason.MOVED
    late = raw(plain)
    late_session = session_after(late, accepting(server))
    late.set_context(context)
    for session in (what_is_left(moved), late_session, late.get_session()):
        client = again(raw(context), session)
        error, _ = shake(client, accepting(server))
        assert isinstance(error, SSL.Error)
        with pytest.raises(SSL.Error):
            client.send(b"secret")
    assert context.stats().accepted == 0


@both_versions
def test_p18_a_plain_session_in_the_scope_of_ours_is_judged_by_its_leaf(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain context that is given the very session id of ours puts its sessions where ours are looked for.
    What lets a peer in is the key that such a session keeps, and nothing else.
    """
    context, plain, scopes = pinned(), client_ssl(), list[bytes]()
    with monkeypatch.context() as patch:
        patch.setattr(SSL.Context, "set_session_id", lambda self, scope: scopes.append(scope))
        context.set_session_id(b"")
    plain.set_session_id(scopes[0])
    for node, reason in ((intermediate().issue(HOST), Reason.SESSION), (leaf(HOST), Reason.RESUMED)):
        server = server_ssl(node, version=version)
        client = again(raw(context), session_after(raw(plain), accepting(server)))
        error, _ = shake(client, accepting(server))
        assert was_resumed(client)
        assert context.stats().by_reason[reason] == 1
        if reason.accepts:
            assert error is None
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is reason


def pin_of_a_ca() -> PinnedContext:
    return pinned(pin=root().pin)


def in_report_mode() -> PinnedContext:
    return reporting(leaf(HOST), [])


@both_versions
@pytest.mark.parametrize("make", [pin_of_a_ca, in_report_mode], ids=lambda make: make.__name__)
def test_p18_a_session_whose_leaf_is_no_proof_is_not_offered(
    make: Callable[[], PinnedContext], version: int
) -> None:
    """Where something else than the leaf's own pin let the peer in, each connection is a full handshake; and
    a session that a program has made fit to be offered is refused.
    """
    context, server = make(), server_ssl(leaf(HOST), version=version)
    session = session_after(raw(context), accepting(server))
    client = again(raw(context), session)
    assert shake(client, accepting(server)) == (None, None)
    assert not was_resumed(client)
    assert context.stats().accepted == 2
    client = again(raw(context), offered(session, version))
    assert refusal(client, accepting(server)).verdict.reason is Reason.SESSION


@both_versions
def test_p18_a_violation_is_told_again_on_each_connection(version: int) -> None:
    """In report mode a session does not make of a violation something orderly."""
    told = list[Verdict]()
    context, server = reporting(leaf(HOST), told), server_ssl(leaf(HOST), version=version)
    session = session_after(raw(context), accepting(server))
    client = again(raw(context), session)
    assert shake(client, accepting(server)) == (None, None)
    assert [verdict.reason for verdict in told] == [Reason.NOT_PINNED] * 2
    assert pinverify.verdict(client).reason is Reason.NOT_PINNED
    assert context.stats().reported == 2


@both_versions
def test_p18_a_server_takes_no_session_of_a_client_it_knew_by_its_ca(version: int) -> None:
    """A client whose CA is pinned shows its certificate each time; one whose own key is does not have to."""
    trust = root("clients").certificate
    for pin, resumes in ((root("clients").pin, False), (device().pin, True)):
        context = server_context(leaf(HOST).identity, clients=[pin], trust=trust)
        client = caller(device(), version)
        client = again(client, session_after(client, accepting(context)))
        server = accepting(context)
        assert shake(client, server) == (None, None)
        assert was_resumed(server) is resumes
        assert pinverify.verdict(server).reason is (Reason.RESUMED if resumes else Reason.PINNED)


def virtual_hosts(trusted: str, known: Node, version: int) -> PinnedContext:
    """A server that moves connections for OTHER to a plain context, which trusts another CA."""
    context = server_of(known, trust=root(trusted).certificate)
    plain = server_ssl(leaf(OTHER), version=version)
    store = plain.get_cert_store()
    assert store is not None
    store.add_cert(SSL.X509.from_cryptography(root("other clients").certificate))

    def choose(connection: SSL.Connection) -> None:
        if connection.get_servername() == OTHER.encode():
            connection.set_context(plain)

    context.set_tlsext_servername_callback(choose)
    return context


@both_versions
@pytest.mark.parametrize(("first", "then"), [(HOST, OTHER), (OTHER, HOST)])
def test_p18_no_session_goes_from_one_virtual_host_to_another(first: str, then: str, version: int) -> None:
    """A client that was let in under the trust anchors of one name is not under those of the other."""
    known = device(under="clients" if first == HOST else "other clients")
    context = virtual_hosts("clients", known, version)
    client = caller(known, version, name=first)
    session = session_after(client, accepting(context))
    server = accepting(context)
    assert shake(again(client, session, first), server) == (None, None)
    assert was_resumed(server) is (first == HOST)  # by its chain, where the connection has been moved
    server = accepting(context)
    _, error = shake(again(client, session, then), server)
    if error is None:  # in TLS 1.2 OpenSSL stays with the name of the session
        assert (server.get_servername(), version) == (HOST.encode(), SSL.TLS1_2_VERSION)
        assert server.get_context() is context
    else:
        with pytest.raises(PinverifyError, match="there is no verdict"):
            pinverify.verdict(server)


# -- P19: refusals --


def displacing(connection: list[SSL.Connection], mode: int) -> Callable[..., Any]:
    """An OpenSSL function that has, when it returns, another verify callback in the guard's place, as a
    second thread might put it there.
    """
    kept = list[object]()  # pyOpenSSL frees a callback that may be running

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = real(*arguments)
            connection[0].set_verify(mode, lambda *_: True)
            kept.append((connection[0]._verify_helper, connection[0]._verify_callback))
            return result

        return call

    return wrap


@both_versions
def test_p19_a_client_that_refuses_at_the_end_gives_nothing_away(version: int, engine: ModuleType) -> None:
    """A server whose certificate another callback has let through gets an alert in place of the client's
    certificate, and leaves no session.
    """
    evil = server_ssl(intermediate().issue(HOST), version=version)
    evil.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context, clients = pinned(identity=device().identity), list[SSL.Connection]()
    clients.append(raw(context))
    server = accepting(evil)
    with instead_of("SSL_get_servername", engine, displacing(clients, SSL.VERIFY_PEER)):
        error, heard = shake(clients[0], server)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    assert server.get_peer_certificate() is None
    assert "alert" in str(heard)
    client = again(clients[0], what_is_left(clients[0]))
    assert refusal(client, accepting(evil)).verdict.reason is Reason.NOT_PINNED
    assert not was_resumed(client)


@both_versions
@pytest.mark.parametrize("trust", ["pins", "CA"])
def test_p19_a_client_that_is_refused_at_the_end_has_no_ticket(
    trust: str, version: int, engine: ModuleType
) -> None:
    """A server sends an alert to whom another callback has let through, and nothing to come back with."""
    context = server_of(device(), trust=root("clients").pem if trust == "CA" else "pins")
    servers = [accepting(context)]
    client = caller(device("stranger.test"), version)
    with instead_of("SSL_set_verify", engine, displacing(servers, SSL.VERIFY_PEER)):
        heard, error = shake(client, servers[0])
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    if heard is None:  # in TLS 1.3 the client is done by then
        with pytest.raises(SSL.Error) as caught:
            client.recv(1)
        heard = caught.value
    assert "alert" in str(heard)
    server = accepting(context)
    _, error = shake(again(client, what_is_left(client)), server)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.NOT_PINNED
    assert not was_resumed(server)


@both_versions
def test_p19_a_refusal_under_a_plain_context_comes_out_where_it_belongs(version: int) -> None:
    """Where a server was moved to a plain context, whose helper pyOpenSSL asks, the operation still fails;
    and no other connection of the thread hears of it.
    """
    plain, context = server_ssl(leaf(HOST), version=version), server_of(device())

    def meddle(connection: SSL.Connection, *_: object) -> None:
        connection.set_verify(SSL.VERIFY_NONE)

    for each in (plain, context):
        each.set_info_callback(meddle)
    context.set_tlsext_servername_callback(lambda connection: connection.set_context(plain))
    innocent = raw(pinned()), accepting(server_ssl(leaf(HOST), version=version))
    assert shake(*innocent) == (None, None)
    exchange(*reversed(innocent))
    server = accepting(context)
    _, error = shake(caller(device("stranger.test"), version), server)
    assert isinstance(error, SSL.Error)
    with pytest.raises(SSL.WantReadError):
        innocent[0].recv(1)
    for use in (lambda: server.recv(1), lambda: server.send(b"secret")):
        with pytest.raises(SSL.Error):
            use()
    assert (context.stats().accepted, context.stats().refused) == (0, 1)


# -- P20: between two contexts --


@both_versions
def test_p20_a_server_that_chooses_a_pinned_context_by_name_refuses(version: int) -> None:
    """A plain default context and `set_context(pinned)` for a name would authenticate nobody: no client gets
    in, known or not, with a certificate or without, and the error says what to do instead.
    """
    default, context = server_ssl(leaf(HOST), version=version), server_of(device())
    default.set_tlsext_servername_callback(lambda connection: connection.set_context(context))
    for node in (device(), device("stranger.test"), None):
        server = accepting(default)
        heard, error = shake(caller(node, version), server)
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.MOVED
        assert "make it from the pinned context" in str(error)
        assert "alert" in str(heard)
        with pytest.raises(SSL.Error):
            server.send(b"secret")
    assert context.stats().by_reason[Reason.MOVED] == 3


@both_versions
def test_p20_a_session_of_the_default_context_does_not_get_by(version: int) -> None:
    """Who has a session of the plain name resumes it under the pinned one, where no certificate is asked for;
    and is refused when the handshake is done.
    """
    default, context = server_ssl(leaf(HOST), version=version), server_of(device())
    default.set_session_id(b"default")

    def choose(connection: SSL.Connection) -> None:
        if connection.get_servername() == HOST.encode():
            connection.set_context(context)

    default.set_tlsext_servername_callback(choose)
    client = caller(None, version, name="public.example.com")
    session = session_after(client, accepting(default))
    server, client = accepting(default), again(client, session)
    _, error = shake(client, server)
    assert was_resumed(server)
    if version == SSL.TLS1_2_VERSION:  # OpenSSL stays with the name of the session, and so with its context
        assert server.get_context() is default
        return
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.MOVED
    for use in (lambda: server.send(b"secret"), lambda: server.recv(1)):
        with pytest.raises(SSL.Error):
            use()


@both_versions
def test_p20_of_two_pinned_contexts_none_decides_for_the_other(version: int) -> None:
    """A server that was made from one pinned context and moved to another by name is refused: the pins of the
    second were never asked. So is a session of the first.
    """
    first, second = server_of(device("stranger.test")), server_of(device())
    moves = list[PinnedContext]()
    first.set_tlsext_servername_callback(lambda connection: [connection.set_context(to) for to in moves])
    for node in (device("stranger.test"), device()):
        client = caller(node, version)
        shake(client, accepting(first))
        moves.append(second)
        for kept in (None, what_is_left(client)):
            server = accepting(first)
            _, error = shake(again(client, kept), server)
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is (Reason.SESSION if was_resumed(server) else Reason.MOVED)
        moves.clear()
    assert second.stats().accepted == 0
    assert second.stats().by_reason[Reason.MOVED] > 0


@both_versions
@pytest.mark.parametrize("who", ["device.test", "stranger.test", None])
def test_p20_a_server_moved_ahead_of_its_handshake_is_its_own_contexts(who: str | None, version: int) -> None:
    """Whatever context it was given since, its own shows the certificate and decides; names move it later."""
    for other in (server_ssl(leaf(OTHER), version=version), server_of(device("other.test"))):
        server = accepting(server_of(device()))
        server.set_context(other)
        client = caller(device(who) if who else None, version)
        _, error = shake(client, server)
        shown = client.get_peer_certificate(as_cryptography=True)
        assert shown == leaf(HOST).certificate
        if who == "device.test":
            assert error is None
            assert pinverify.verdict(server).reason is Reason.PINNED
        else:
            assert isinstance(error, SSL.Error)


def test_p20_a_connection_that_moves_in_after_its_handshake_has_no_verdict() -> None:
    """It was never pinned, and says so."""
    client, server = raw(client_ssl()), accepting(server_ssl(intermediate().issue(HOST)))
    assert shake(client, server) == (None, None)
    client.set_context(pinned())
    with pytest.raises(PinverifyError, match="was not made from a pinned context"):
        pinverify.verdict(client)


@both_versions
@pytest.mark.parametrize("informs", [False, True], ids=["", "with a callback of its own"])
def test_p20_no_session_gets_by_a_move_of_another_kind(informs: bool, version: int) -> None:
    """A server that is moved in, for whatever reason, while it resumes a plain session is refused; a callback
    for information of the connection's own does not change that.
    """
    if informs and not hasattr(SSL.Connection, "set_info_callback"):
        pytest.skip("older pyOpenSSL")
    default, context, moves = (
        server_ssl(leaf(HOST), version=version),
        server_of(device()),
        list[SSL.Context](),
    )
    default.set_session_id(b"default")
    default.set_tlsext_servername_callback(lambda connection: [connection.set_context(to) for to in moves])
    client = caller(None, version)
    session = session_after(client, accepting(default))
    moves.append(context)
    server, client = accepting(default), again(client, session)
    if informs:
        server.set_info_callback(lambda *_: None)
    _, error = shake(client, server)
    assert was_resumed(server)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.MOVED
    for use in (lambda: server.send(b"secret"), lambda: server.recv(1)):
        with pytest.raises(SSL.Error):
            use()


@both_versions
def test_p20_an_interrupt_in_the_last_barrier_ends_the_connection(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a program has callbacks of its own for information and key logs, and the guard's, which runs
    ahead of them, is interrupted, a connection that was moved in is shut all the same.
    """
    if not hasattr(SSL.Connection, "set_info_callback"):
        pytest.skip("older pyOpenSSL")
    default, context, moves = (
        server_ssl(leaf(HOST), version=version),
        server_of(device()),
        list[SSL.Context](),
    )
    interrupts = list[object]()

    def interrupted(*arguments: object) -> None:
        interrupts.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(context._guard), "log_keys", staticmethod(interrupted))
    context.set_keylog_callback(lambda *_: None)
    default.set_session_id(b"default")
    default.set_tlsext_servername_callback(lambda connection: [connection.set_context(to) for to in moves])
    client = caller(None, version)
    session = session_after(client, accepting(default))
    moves.append(context)
    server = accepting(default)
    server.set_info_callback(lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        shake(again(client, session), server)
    assert interrupts
    with pytest.raises(SSL.Error):
        server.send(b"secret")


def asked_again(context: SSL.Context) -> SSL.Context:
    """A server that takes another group than clients offer, and asks for another hello (RFC 8446 4.1.4)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an older pyOpenSSL warns when it is imported
        from OpenSSL.crypto import get_elliptic_curve

        context.set_tmp_ecdh(get_elliptic_curve("secp384r1"))
    return context


def test_p20_a_hello_that_is_asked_for_again_is_decided_about_again() -> None:
    """For a good client, one of its sessions, a stranger, a move to a plain context and to a pinned one."""
    moves, known = list[SSL.Context](), device()
    context = asked_again(server_of(known))
    context.set_tlsext_servername_callback(lambda connection: [connection.set_context(to) for to in moves])
    client = caller(known, SSL.TLS1_3_VERSION)
    session = session_after(client, accepting(context))
    server = accepting(context)
    assert shake(again(client, session), server) == (None, None)
    assert was_resumed(server)
    _, error = shake(caller(device("stranger.test"), SSL.TLS1_3_VERSION), accepting(context))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.NOT_PINNED
    for to, reason in (
        (asked_again(server_ssl(leaf(HOST))), None),
        (asked_again(server_of(known)), Reason.MOVED),
    ):
        moves[:] = [to]
        _, error = shake(again(client, None), accepting(context))
        if reason is None:
            assert error is None
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is reason


# -- P05: handshakes within handshakes --


def in_alpn(context: SSL.Context, nested: Callable[[], object]) -> None:
    context.set_alpn_select_callback(lambda connection, offered: (nested(), offered[0])[1])


def in_server_name(context: SSL.Context, nested: Callable[[], object]) -> None:
    context.set_tlsext_servername_callback(lambda connection: nested())


def in_info(context: SSL.Context, nested: Callable[[], object]) -> None:
    context.set_info_callback(lambda connection, where, value: nested())


def in_keylog(context: SSL.Context, nested: Callable[[], object]) -> None:
    context.set_keylog_callback(lambda connection, line: nested())


@both_versions
@pytest.mark.parametrize(
    "place", [in_alpn, in_server_name, in_info, in_keylog], ids=lambda place: place.__name__
)
def test_p05_a_handshake_within_a_handshake_disturbs_neither(place: Any, version: int) -> None:
    """A server whose callback makes pinned connections of its own knows its clients all the same, and nobody
    else; and so with a session.
    """
    context, outcomes = server_of(device()), list[object]()
    inner = pinned(), server_ssl(leaf(HOST))
    place(context, lambda: outcomes.append(shake(raw(inner[0]), accepting(inner[1]))))
    plain = client_ssl(device())
    plain.set_max_proto_version(version)
    plain.set_alpn_protos([b"h2"])
    client = raw(plain)
    session = session_after(client, accepting(context))
    server = accepting(context)
    assert shake(again(client, session), server) == (None, None)
    assert pinverify.verdict(server).reason is Reason.RESUMED
    stranger = client_ssl(device("stranger.test"))
    stranger.set_max_proto_version(version)
    _, error = shake(raw(stranger), accepting(context))
    assert isinstance(error, SSL.Error)
    if (
        place is not in_info
    ):  # OpenSSL calls that one behind the failure, and the inner handshake clears its error
        assert isinstance(error, PinRefused)
    assert context.stats().by_reason[Reason.NOT_PINNED] == 1
    assert outcomes
    assert set(outcomes) == {(None, None)}
