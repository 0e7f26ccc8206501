# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in sessions that were resumed unchecked (P03)."""

from __future__ import annotations

import gc
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Literal

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib as openssl_lib
from pinned import ABSENT, HOST, VERSIONS, both_versions, pinned, raw, refusal
from support import (
    SANITIZED,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    offered,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)

import pinverify
from pinverify import (
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    Stats,
    client_context,
    server_context,
)
from pinverify.engine import openssl


def session_of(context: SSL.Context, server: SSL.Context, host: str = HOST) -> SSL.Session:
    """A session to be resumed, of an accepted connection."""
    return session_after(raw(context, host=host), accepting(server))


def resuming(context: SSL.Context, session: SSL.Session, host: str = HOST) -> SSL.Connection:
    client = raw(context, host=host)
    use_session(client, session)
    return client


def is_cut_off(client: SSL.Connection) -> bool:
    """Whether a connection has no verdict, and neither sends nor takes application data."""
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    with pytest.raises(SSL.Error) as caught:
        client.recv(100)
    assert not isinstance(caught.value, SSL.WantReadError)  # it does not even wait for some
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)
    return True


def is_broken_off(client: SSL.Connection) -> bool:
    """Whether OpenSSL has given a connection up, which then has no verdict, whatever its program does."""
    client.set_shutdown(0)
    for use in (client.do_handshake, partial(client.send, b"secret"), partial(client.recv, 100)):
        with pytest.raises(SSL.Error) as caught:
            use()
        assert not isinstance(caught.value, SSL.WantReadError)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)
    return True


@both_versions
def test_p03_a_session_of_the_same_policy_is_resumed(version: int) -> None:
    """A context for one host resumes a session of its own, and of another context that is like it."""
    server = server_ssl(leaf(HOST), version=version)
    contexts = pinned(), pinned()
    for context in contexts:
        client, far = resuming(context, session_of(contexts[0], server)), accepting(server)
        assert shake(client, far) == (None, None)
        assert was_resumed(client)
        verdict = pinverify.verdict(client)
        assert (verdict.reason, verdict.accepted, verdict.chain) == (Reason.RESUMED, True, (leaf(HOST).der,))
        assert exchange(client, far) == b"ping"
    assert _brief(contexts[1].stats()) == (1, 0, 1)


def _brief(stats: Stats) -> tuple[int, int, int]:
    return stats.accepted, stats.refused, stats.by_reason[Reason.RESUMED]


def another_pin() -> PinnedContext:
    return pinned(pin=ABSENT)


def another_denied_key() -> PinnedContext:
    return client_context({HOST: PinSet([leaf(HOST).pin], deny=[ABSENT])}, trust=root().certificate)


def other_anchors() -> PinnedContext:
    trust = [root().certificate, root("another root").certificate]
    return client_context({HOST: [leaf(HOST).pin]}, trust=trust)


def no_anchors() -> PinnedContext:
    return client_context({HOST: [leaf(HOST).pin]}, trust="pins")


def anchors_added() -> PinnedContext:
    context = pinned()
    assert context.get_cert_store() is not None  # whoever asks for it may add to it
    return context


OTHER_POLICIES = [another_pin, another_denied_key, other_anchors, no_anchors, anchors_added]


@both_versions
@pytest.mark.parametrize("make", OTHER_POLICIES, ids=lambda make: make.__name__)
def test_p03_a_session_of_another_policy_is_refused(make: object, version: int) -> None:
    """A session of a context with other pins or anchors is of no use, though the server would resume it."""
    assert callable(make)
    server = server_ssl(leaf(HOST), version=version)
    client = resuming(make(), session_of(pinned(), server))
    error, _ = shake(client, accepting(server))
    assert isinstance(error, SSL.Error)
    assert "session in different context" in str(error)
    assert is_cut_off(client)


@both_versions
def test_p03_a_session_of_another_scope_is_refused(version: int) -> None:
    """Contexts to which a program has given session ids of their own resume their own sessions alone."""
    server, ids = server_ssl(leaf(HOST), version=version), (b"one", b"one", b"another")
    first, same, other = (pinned() for _ in ids)
    for context, name in zip((first, same, other), ids, strict=True):
        context.set_session_id(name)
    client = resuming(same, session_of(first, server))
    assert shake(client, accepting(server)) == (None, None)
    assert was_resumed(client)
    client = resuming(other, session_of(first, server))
    error, _ = shake(client, accepting(server))
    assert isinstance(error, SSL.Error)
    assert "session in different context" in str(error)


@both_versions
def test_p03_a_session_of_anchors_that_were_added_is_ones_own(version: int) -> None:
    """Two contexts that may trust anybody by now do not take each other's sessions."""
    server = server_ssl(leaf(HOST), version=version)
    first, other = anchors_added(), anchors_added()
    client = resuming(first, session_of(first, server))
    assert shake(client, accepting(server)) == (None, None)
    assert was_resumed(client)
    error, _ = shake(resuming(other, session_of(first, server)), accepting(server))
    assert isinstance(error, SSL.Error)
    assert "session in different context" in str(error)


@both_versions
def test_p03_a_session_of_a_plain_context_is_refused(version: int) -> None:
    """Neither a connection of a pinned context nor one that was moved out of it resumes a plain session."""
    server, plain = server_ssl(leaf(HOST), version=version), client_ssl()
    for move in (lambda client: None, lambda client: client.set_context(plain)):
        client = raw(pinned(pin=ABSENT))
        move(client)
        use_session(client, session_of(plain, server))
        error, _ = shake(client, accepting(server))
        assert isinstance(error, SSL.Error)
        assert is_cut_off(client)


@both_versions
def test_p03_a_session_says_nothing_of_another_host(version: int) -> None:
    """A context for one host does not resume its session for another one, even if the server would."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    server.set_tlsext_servername_callback(lambda connection: None)
    client = resuming(context, session_of(context, server), "other.example.com")
    assert refusal(client, accepting(server)).verdict.reason is Reason.SESSION
    assert is_broken_off(client)


@pytest.mark.skipif(not hasattr(SSL.Context, "clear_mode"), reason="older pyOpenSSL")
@both_versions
def test_p03_a_program_that_clears_every_mode_changes_nothing_for_sessions(version: int) -> None:
    """The bit that tells a pinned connection from a plain one stays, so that its session is judged."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    server.set_tlsext_servername_callback(lambda connection: None)
    context.clear_mode(0xFFFFFFFF)
    client = resuming(context, session_of(context, server), "other.example.com")
    assert refusal(client, accepting(server)).verdict.reason is Reason.SESSION
    assert is_broken_off(client)


@both_versions
def test_p03_a_program_that_takes_the_callback_for_names_away_opens_nothing(version: int) -> None:
    """A session that no callback has judged comes to its end at Finished, with an alert."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    session = session_of(context, server)
    openssl_lib.SSL_CTX_set_tlsext_servername_callback(context._context, openssl.ffi.NULL)
    client, far = resuming(context, session), accepting(server)
    error, heard = shake(client, far)
    assert isinstance(error, PinRefused)
    assert (error.verdict.reason, error.verdict.host) == (Reason.INTERNAL, HOST)
    assert is_broken_off(client)
    assert "alert decrypt error" in str(heard)


def for_many_hosts() -> PinnedContext:
    return client_context({"**.example.com": [leaf(HOST).pin]}, trust=root().certificate)


@both_versions
def test_p03_in_a_context_for_many_hosts_no_session_is_offered(version: int) -> None:
    """A context for more than one host cannot know whose a session was, and makes a full handshake."""
    context, server = for_many_hosts(), server_ssl(leaf(HOST), version=version)
    client, far = resuming(context, session_of(context, server)), accepting(server)
    assert shake(client, far) == (None, None)
    assert not was_resumed(client)
    assert pinverify.verdict(client).reason is Reason.PINNED
    assert context.stats().by_reason[Reason.PINNED] == 2


@both_versions
def test_p03_in_a_context_for_many_hosts_a_session_that_is_offered_is_refused(version: int) -> None:
    """Where a program has made such a session one that is offered, it is refused."""
    context, server = for_many_hosts(), server_ssl(leaf(HOST), version=version)
    client, far = resuming(context, offered(session_of(context, server), version)), accepting(server)
    error, heard = shake(client, far)
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.SESSION
    assert is_broken_off(client)
    assert context.stats().by_reason[Reason.SESSION] == 1
    if heard is None:  # in TLS 1.3 the server is done by then
        with pytest.raises(SSL.Error) as caught:
            far.recv(100)
        heard = caught.value
    assert "alert handshake failure" in str(heard)


@both_versions
def test_p03_a_session_the_server_does_not_resume_is_no_matter(version: int) -> None:
    """Where the server makes a full handshake of it, the chain is judged as ever."""
    context = pinned()
    session = session_of(context, server_ssl(leaf(HOST), version=version))
    for server, is_accepted in ((server_ssl(leaf(HOST), version=version), True), (stranger(version), False)):
        client, far = resuming(context, session), accepting(server)
        if is_accepted:
            assert shake(client, far) == (None, None)
            assert pinverify.verdict(client).reason is Reason.PINNED
            assert not was_resumed(client)
        else:
            assert refusal(client, far).verdict.reason is Reason.NOT_PINNED


def stranger(version: int) -> SSL.Context:
    return server_ssl(intermediate().issue(HOST), version=version)


@both_versions
def test_p03_without_a_session_another_host_is_unlisted(version: int) -> None:
    """A context for one host refuses another one for what it is, though it looks out for its sessions."""
    far = accepting(server_ssl(leaf("other.example.com"), version=version))
    verdict = refusal(raw(pinned(), host="other.example.com"), far).verdict
    assert (verdict.reason, verdict.host) == (Reason.UNLISTED, "other.example.com")


class Aged:
    """A session at each end of a policy whose pins expire in a moment, to be resumed when they have."""

    def __init__(self, version: int, then: datetime, on_expiry: Literal["deny", "pkix"]) -> None:
        self.reason = Reason.EXPIRED if on_expiry == "deny" else Reason.EXPIRED_OK
        device = intermediate("clients").issue()
        pins = PinSet([leaf(HOST).pin, device.pin], expires=then, on_expiry=on_expiry)
        self._client = client_context({HOST: pins}, trust=root().certificate)
        trust = root("clients").certificate
        self._server = server_context(leaf(HOST).identity, clients=pins, trust=trust)
        self._plain_server, self._plain_client = server_ssl(leaf(HOST), version=version), client_ssl(device)
        self._plain_client.set_max_proto_version(version)
        self._sessions = (
            session_of(self._client, self._plain_server),
            session_of(self._plain_client, self._server),
        )

    def check(self) -> None:
        """Both ends have the decision of pins that have expired, and keep to it."""
        ends = resuming(self._client, self._sessions[0]), accepting(self._plain_server)
        self._check(self._client, *ends)
        ends = resuming(self._plain_client, self._sessions[1]), accepting(self._server)
        self._check(self._server, *reversed(ends))

    def _check(self, context: PinnedContext, ours: SSL.Connection, theirs: SSL.Connection) -> None:
        error, _ = shake(ours, theirs)
        assert was_resumed(ours)
        assert context.stats().by_reason[self.reason] == 1
        if self.reason.accepts:
            assert error is None
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is self.reason
            assert is_broken_off(ours)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
def test_p03_a_session_does_not_outlive_its_pins() -> None:
    """Pins that have expired since decide over a resumed session as they do over a chain, at both ends."""
    then = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=4)
    aged = [Aged(version, then, on_expiry) for version in VERSIONS.values() for on_expiry in ("deny", "pkix")]
    assert datetime.now(timezone.utc) < then, "the machine is too slow for this test"
    while (left := then - datetime.now(timezone.utc)) >= timedelta(0):
        time.sleep(left.total_seconds() + 0.1)
    for sessions in aged:
        sessions.check()


@both_versions
def test_p03_a_server_resumes_the_sessions_of_its_clients(version: int) -> None:
    """A server knows a client again by its session, under the same policy."""
    device = intermediate("clients").issue()
    server = server_context(leaf(HOST).identity, clients=[device.pin])
    caller = client_ssl(device)
    caller.set_max_proto_version(version)
    near, peer = accepting(server), resuming(caller, session_of(caller, server))
    assert shake(near, peer) == (None, None)
    assert was_resumed(near)
    assert pinverify.verdict(near).reason is Reason.RESUMED
    assert pinverify.verdict(near).pins == (device.pin,)  # it is still known who it is
    assert exchange(peer, near) == b"ping"
    assert _brief(server.stats()) == (2, 0, 1)


# -- The callback for server names, which judges sessions, and that of the program, which it calls --


@both_versions
def test_p03_a_callback_of_the_program_saves_no_session(version: int) -> None:
    """The program's own callback runs once in each handshake, ahead of the decision on a session."""
    context, server, seen = for_many_hosts(), server_ssl(leaf(HOST), version=version), list[SSL.Connection]()
    context.set_tlsext_servername_callback(lambda connection: None)
    context.set_tlsext_servername_callback(seen.append)  # the last one counts
    client = raw(context)
    session = offered(session_after(client, accepting(server)), version)
    assert seen == [client]
    again = resuming(context, session)
    assert refusal(again, accepting(server)).verdict.reason is Reason.SESSION
    assert seen == [client, again]


@both_versions
@pytest.mark.parametrize("own", ["none", "names", "fails"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_servers_callback_for_names_works_as_in_a_plain_context(own: str, version: int) -> None:
    """It sees each name, acknowledges it or not, and what it raises does to the handshake what it would."""
    device = intermediate("clients").issue()
    caller = client_ssl(device)
    caller.set_max_proto_version(version)
    plain = server_ssl(leaf(HOST), version=version)
    plain.set_session_id(b"plain")
    plain.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    outcomes = []
    for server in (plain, server_context(leaf(HOST).identity, clients=[device.pin])):
        seen = list[bytes | None]()

        def answer(connection: SSL.Connection, seen: list[bytes | None] = seen) -> None:
            seen.append(connection.get_servername())
            if own == "fails":
                raise LookupError("no such name")

        if own != "none":
            server.set_tlsext_servername_callback(answer)
        far, near = raw(caller), accepting(server)
        errors = [str(error) for error in shake(far, near)]
        session = far.get_session()
        if errors == ["None", "None"]:
            session = session_of(caller, server)
            near = accepting(server)
            assert shake(resuming(caller, session), near) == (None, None)
            assert was_resumed(near)
        # A resumed session of TLS 1.2 has the name if it was acknowledged.
        outcomes.append((errors, seen, near.get_servername()))
    assert outcomes[0] == outcomes[1]


def test_a_servers_callback_for_names_lives_as_long_as_its_connections() -> None:
    """A connection that was moved to a plain context asks the callback of the context that it was made in,
    though the program has let go of that.
    """
    device, seen = intermediate("clients").issue(), list[SSL.Connection]()
    context = server_context(leaf(HOST).identity, clients=[device.pin])
    context.set_tlsext_servername_callback(lambda connection: seen.append(connection))
    server = accepting(context)
    server.set_context(server_ssl(leaf(HOST)))
    del context
    gc.collect()
    assert shake(raw(client_ssl(device)), server) == (None, None)
    assert seen == [server]


@both_versions
@pytest.mark.parametrize("is_gone", [False, True], ids=["alive", "gone"])
def test_p05_a_connection_from_elsewhere_has_nothing_to_do_with_what_was_heard_last(
    is_gone: bool, version: int
) -> None:
    """A plain connection that was moved to a pinned context is of no guard's: not of one that had a
    connection at the same address, of which this thread has heard a hello that broke off.
    """
    device, seen = intermediate("clients").issue(), list[SSL.Connection]()
    caller, plain = client_ssl(device), server_ssl(leaf(HOST), version=version)
    elsewhere, hits = server_context(leaf(HOST).identity, clients=[device.pin]), 0
    for _ in range(40):
        context = server_context(leaf(HOST).identity, clients=[device.pin])
        context.set_tlsext_servername_callback(seen.append)
        broken = accepting(context)
        broken.bio_write(bytes.fromhex("160301000a 01000006 0303ffffffff"))
        with pytest.raises(SSL.Error, match="length mismatch"):
            broken.do_handshake()
        address = openssl.ffi.cast("uintptr_t", broken._ssl)
        del broken
        near = next_at(address, plain)
        hits += near._ssl == openssl.ffi.cast("SSL *", address)
        if is_gone:
            del context
            gc.collect()
        near.set_context(elsewhere)
        _, error = shake(raw(caller), near)
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.MOVED
    assert seen == []
    assert hits > 0 or SANITIZED, "no address came again"


def next_at(address: Any, context: SSL.Context) -> SSL.Connection:
    """A server's connection of `context`, made anew until it is where a former one was, if it ever is."""
    made = list[SSL.Connection]()
    for _ in range(60):
        made.append(accepting(context))
        if made[-1]._ssl == openssl.ffi.cast("SSL *", address):
            break
    return made[-1]
