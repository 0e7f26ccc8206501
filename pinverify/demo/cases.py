# SPDX-License-Identifier: Apache-2.0
"""The cases of the demonstration: one handshake each, and what must come of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from OpenSSL import SSL
from OpenSSL.crypto import X509

from pinverify.context import PinnedContext, client_context, server_context
from pinverify.decision import Reason
from pinverify.demo.loopback import Client, ForeignSession, Outcome, meet, serving
from pinverify.demo.pki import HOST, Owner, Pki

__all__ = ["CASES", "Case", "Result", "run"]


class Case(NamedTuple):
    """`reason` is None where something other than pinverify decides; `play` gives the outcome."""

    title: str
    accepts: bool
    reason: Reason | None
    play: Callable[[Pki], Outcome]


class Result(NamedTuple):
    """A case and what came of it."""

    case: Case
    outcome: Outcome

    @property
    def as_expected(self) -> bool:
        """Whether it came out as it must, and for the reason that it must."""
        return self.outcome[:2] == (self.case.accepts, self.case.reason)


def run(pki: Pki, cases: Iterable[Case] | None = None) -> Iterator[Result]:
    """Plays one case after the other; by default all."""
    for case in CASES if cases is None else cases:
        yield Result(case, case.play(pki))


def _pinned(pki: Pki, *owners: Owner, host: str = HOST, identity: Owner | None = None) -> PinnedContext:
    """A client context that trusts both CAs and pins the keys of `owners`."""
    pins = [owner.pin for owner in owners]
    return client_context({host: pins}, trust=pki.trusted, identity=identity.identity if identity else None)


def _ask(server: SSL.Context, client: Client) -> Outcome:
    """What the client makes of the server."""
    with serving(server) as running:
        return meet(running, client)[0]


def _ask_by_name(server: SSL.Context, context: PinnedContext) -> Outcome:
    return _ask(server, lambda sock: context.connection(HOST, sock))


def _right_key(pki: Pki) -> Outcome:
    return _ask_by_name(pki.server.context(), _pinned(pki, pki.server))


def _backup_key(pki: Pki) -> Outcome:
    return _ask_by_name(pki.backup.context(), _pinned(pki, pki.server, pki.backup))


def _intermediate(pki: Pki) -> Outcome:
    return _ask_by_name(pki.server.context(), _pinned(pki, pki.intermediate))


def _wrong_key(pki: Pki) -> Outcome:
    return _ask_by_name(pki.stranger.context(), _pinned(pki, pki.server))


def _other_ca_without_pins(pki: Pki) -> Outcome:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    store = context.get_cert_store()
    assert store is not None
    for certificate in pki.trusted:
        store.add_cert(X509.from_cryptography(certificate))
    return _ask(pki.attacker.context(), lambda sock: _raw(context, sock, HOST))


def _other_ca(pki: Pki) -> Outcome:
    return _ask_by_name(pki.attacker.context(), _pinned(pki, pki.server))


def _appended(pki: Pki) -> Outcome:
    return _ask_by_name(pki.attacker.context(pki.server), _pinned(pki, pki.server))


def _wrong_name(pki: Pki) -> Outcome:
    return _ask_by_name(pki.neighbour.context(), _pinned(pki, pki.intermediate))


def _no_reference(pki: Pki) -> Outcome:
    context = _pinned(pki, pki.server, host="**.example")  # a context for one host would know it
    return _ask(pki.server.context(), lambda sock: _raw(context, sock, None))


def _callback_replaced(pki: Pki) -> Outcome:
    context = _pinned(pki, pki.server)

    def client(sock: socket.socket) -> SSL.Connection:
        connection = _raw(context, sock, HOST)
        connection.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        return connection

    return _ask(pki.stranger.context(), client)


def _resumed(pki: Pki) -> Outcome:
    context = _pinned(pki, pki.server)
    return _resume(pki, context, context)


def _resumed_elsewhere(pki: Pki) -> Outcome:
    return _resume(pki, _pinned(pki, pki.server), _pinned(pki, pki.backup))


def _resume(pki: Pki, before: PinnedContext, after: PinnedContext) -> Outcome:
    """Makes a session in one context, and offers it in the other."""
    made: list[SSL.Connection] = []

    def first(sock: socket.socket) -> SSL.Connection:
        made.append(before.connection(HOST, sock))
        return made[0]

    def second(sock: socket.socket) -> SSL.Connection:
        connection = after.connection(HOST, sock)
        session = made[0].get_session()
        assert session is not None
        try:
            connection.set_session(session)
        except ValueError as error:
            raise ForeignSession from error
        return connection

    with serving(pki.server.context(), connections=2) as running:
        earlier, _ = meet(running, first)
        later, _ = meet(running, second)
    return later if earlier.accepted else earlier._replace(why=f"no session to begin with: {earlier.why}")


def _known_client(pki: Pki) -> Outcome:
    return _knock(pki, pki.client)


def _unknown_client(pki: Pki) -> Outcome:
    return _knock(pki, pki.other_client)


def _knock(pki: Pki, client: Owner) -> Outcome:
    """What a server that pins one client makes of `client`."""
    server = server_context(pki.server.identity, clients=[pki.client.pin], trust=[pki.ca.certificate])
    context = _pinned(pki, pki.server, identity=client)
    with serving(server) as running:
        return meet(running, lambda sock: context.connection(HOST, sock))[1]


def _raw(context: SSL.Context, sock: socket.socket, host: str | None) -> SSL.Connection:
    """A connection as plain pyOpenSSL makes one."""
    connection = SSL.Connection(context, sock)
    if host is not None:
        connection.set_tlsext_host_name(host.encode("ascii"))
    connection.set_connect_state()
    return connection


CASES = (
    Case("right key", True, Reason.PINNED, _right_key),
    Case("backup key, second pin", True, Reason.PINNED, _backup_key),
    Case("intermediate CA pinned", True, Reason.PINNED, _intermediate),
    Case("right CA, wrong key", False, Reason.NOT_PINNED, _wrong_key),
    Case("MITM, trusted CA, no pins", True, None, _other_ca_without_pins),
    Case("MITM, trusted CA, pins", False, Reason.NOT_PINNED, _other_ca),
    Case("MITM appends the pinned cert", False, Reason.NOT_PINNED, _appended),
    Case("pinned CA, wrong name", False, Reason.OPENSSL, _wrong_name),
    Case("no reference name", False, Reason.NO_REFERENCE, _no_reference),
    Case("wrong key, callback replaced", False, Reason.NOT_PINNED, _callback_replaced),
    Case("session resumed, same policy", True, Reason.RESUMED, _resumed),
    Case("session from another policy", False, None, _resumed_elsewhere),
    Case("server: pinned client", True, Reason.PINNED, _known_client),
    Case("server: unknown client", False, Reason.NOT_PINNED, _unknown_client),
)
