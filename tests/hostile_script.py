# SPDX-License-Identifier: Apache-2.0
"""Hostile peers by tlslite-ng: they send what their script says, with a signature and a Finished that are
right over that.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hostile import OURS, THEIRS, answering, assert_cut_off, device
from OpenSSL import SSL
from pinned import HOST, raw
from support import PATIENCE, Background, Node, use_session

import pinverify
from pinverify import PinnedContext, Verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore, for those who want that
    from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
    from tlslite.constants import ContentType
    from tlslite.messages import Message

SERVER_HELLO, NEW_SESSION_TICKET, CERTIFICATE = 2, 4, 11
SERVER_KEY_EXCHANGE, CERTIFICATE_VERIFY, FINISHED, COMPRESSED_CERTIFICATE = 12, 15, 20, 25

_CLOSED = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN
_VERSIONS = {SSL.TLS1_2_VERSION: (3, 3), SSL.TLS1_3_VERSION: (3, 4)}

# What goes out in place of one handshake message, which is given with its header (RFC 8446 4).
Script = Callable[[bytes], Iterable[bytes]]


def honest(message: bytes) -> list[bytes]:
    """The script of a peer that sends what it should."""
    return [message]


def instead_of(kind: int, *messages: bytes) -> Script:
    """A script that sends `messages` in place of each message of type `kind`."""
    return lambda message: messages if message[0] == kind else [message]


def message_of(kind: int, body: bytes) -> bytes:
    """A handshake message with its header."""
    return bytes([kind]) + _prefixed(body, 3)


def certificate_message(ders: Iterable[bytes], version: int) -> bytes:
    """A Certificate message with these octets for certificates (RFC 5246 7.4.2, RFC 8446 4.4.2)."""
    is_newer = version == SSL.TLS1_3_VERSION
    listed = b"".join(_prefixed(der, 3) + bytes(2 * is_newer) for der in ders)  # of no extensions
    return message_of(CERTIFICATE, bytes(is_newer) + _prefixed(listed, 3))  # for no request in particular


def _prefixed(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


class _Scripted(TLSConnection):
    """A connection of tlslite-ng whose handshake messages go by a script."""

    def __init__(self, sock: socket.socket, script: Script) -> None:
        super().__init__(sock)
        self._script = script
        self.shown: list[bytes] = []  # the certificates that it has received

    def _sendMsg(
        self, msg: Any, randomizeFirstBlock: bool = True, update_hashes: bool = True
    ) -> Iterator[int]:
        messages = [msg]
        if msg.contentType == ContentType.handshake and update_hashes:  # else it was queued, see below
            messages = self._rewrite(msg)
        for message in messages:
            yield from super()._sendMsg(message, randomizeFirstBlock, update_hashes)

    def _queue_message(self, msg: Any) -> None:
        for message in self._rewrite(msg):
            super()._queue_message(message)

    def _rewrite(self, msg: Any) -> list[Message]:
        return [
            Message(ContentType.handshake, bytearray(octets)) for octets in self._script(bytes(msg.write()))
        ]

    def send_message(self, octets: bytes) -> None:
        """Sends a handshake message as it is, script or not."""
        for _ in super()._sendMsg(Message(ContentType.handshake, bytearray(octets))):
            pass

    def _getMsg(self, *arguments: Any) -> Iterator[Any]:
        for result in super()._getMsg(*arguments):
            if getattr(result, "cert_chain", None):
                self.shown += [bytes(certificate.bytes) for certificate in result.cert_chain.x509List]
            yield result


@dataclass
class Hostile:
    """A peer with an identity and a script, and what it has got out of its last connection."""

    identity: Node
    version: int
    script: Script = honest
    settings: dict[str, Any] = field(default_factory=dict)
    record_size: int = 1 << 14  # of its handshake
    afterwards: bytes = b""  # a handshake message behind the handshake
    shown: list[bytes] = field(default_factory=list)
    data: bytes = b""
    error: Exception | None = None
    session: SSL.Session | None = None  # what a client of ours could resume

    def run(self, sock: socket.socket, is_server: bool) -> None:
        """Does the handshake, sends data and waits for some."""
        connection = _Scripted(sock, self.script)
        try:
            connection.recordSize = self.record_size
            self._handshake(connection, is_server)
            connection.recordSize = 1 << 14
            if self.afterwards:
                connection.send_message(self.afterwards)
            connection.write(THEIRS)
            self.data = bytes(connection.read(max=100))
        except Exception as error:  # a refused one hears of it in many ways
            self.error = error
        finally:
            self.shown = connection.shown
            sock.close()

    def _handshake(self, connection: _Scripted, is_server: bool) -> None:
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = _VERSIONS[self.version]
        settings.certificate_compression_send = []  # a client of tlslite-ng compresses, asked or not
        settings.keyShares = ["x25519"]  # quicker than one of each
        for name, value in self.settings.items():
            setattr(settings, name, value)
        chain, key = X509CertChain(), parsePEMKey(self.identity.key_pem.decode(), private=True)
        chain.parsePemList(self.identity.chain_pem.decode())
        if is_server:
            connection.handshakeServer(certChain=chain, privateKey=key, reqCert=True, settings=settings)
        else:
            connection.handshakeClientCert(chain, key, settings=settings, serverName=HOST)


def sending(identity: Node, version: int, ders: Iterable[bytes]) -> Hostile:
    """A peer that holds the key of `identity`, and sends `ders` for its certificates."""
    return Hostile(identity, version, instead_of(CERTIFICATE, certificate_message(ders, version)))


def meet(
    context: PinnedContext, peer: Hostile, *, is_server: bool = False, session: SSL.Session | None = None
) -> Verdict | Exception:
    """As `judge`, with a scripted peer over sockets."""
    accepted_before = context.stats().accepted
    near, far = socket.socketpair()
    with near, far:
        running = Background(partial(peer.run, far, not is_server))
        connection = answering(context, near) if is_server else raw(context, near)
        if session is not None:
            use_session(connection, session)
        error = Background(connection.do_handshake).exception(PATIENCE)
        if error is None:
            connection.send(OURS)
            assert connection.recv(100) == THEIRS
        else:
            assert_cut_off(connection)
        near.shutdown(socket.SHUT_RDWR)
        running.result(PATIENCE)
        if error is None:
            assert (peer.data, peer.error) == (OURS, None)
            assert is_server or session is not None or peer.shown == [device().der]
            verdict, peer.session = pinverify.verdict(connection), connection.get_session()
            connection.set_shutdown(_CLOSED)  # else OpenSSL drops the session
            return verdict
    assert isinstance(error, Exception)
    assert peer.data == b""
    assert is_server or peer.shown == [] or context.stats().accepted > accepted_before
    return error
