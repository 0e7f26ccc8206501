# SPDX-License-Identifier: Apache-2.0
"""Certificates, servers and handshakes for the tests. All of it is real: TLS over sockets or memory BIOs."""

from __future__ import annotations

import datetime
import importlib.util
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from OpenSSL._util import lib as openssl_lib

from pinverify import Pin

DAY = datetime.timedelta(days=1)


def new_key(kind: str = "P-256") -> Any:
    """A private key: "P-256", "P-384", "Ed25519" or "RSA-2048"."""
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
    curves = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
    return (
        ed25519.Ed25519PrivateKey.generate() if kind == "Ed25519" else ec.generate_private_key(curves[kind]())
    )


@dataclass(frozen=True)
class Node:
    """A certificate with its private key and the certificates above it."""

    certificate: x509.Certificate
    key: Any
    issuer: Node | None = None

    @property
    def chain(self) -> list[x509.Certificate]:
        """This certificate and all above it, the root included, leaf first."""
        return [self.certificate, *(self.issuer.chain if self.issuer else [])]

    @property
    def sent(self) -> list[x509.Certificate]:
        """What a server sends: the chain without its root."""
        return self.chain[:-1] if self.issuer else self.chain

    @property
    def identity(self) -> tuple[list[x509.Certificate], Any]:
        return self.sent, self.key

    @cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def ders(self) -> list[bytes]:
        return [certificate.public_bytes(Encoding.DER) for certificate in self.chain]

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.sent)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pin(self) -> Pin:
        return Pin.from_certificate(self.certificate)

    @property
    def cert_pin(self) -> Pin:
        return Pin.from_certificate(self.certificate, kind="cert")

    def issue_ca(self, name: str, **options: Any) -> Node:
        return make_node(name, issuer=self, is_ca=True, **options)

    def issue(self, *hosts: str, **options: Any) -> Node:
        return make_node(hosts[0] if hosts else "device", hosts=hosts, issuer=self, **options)


def make_node(
    name: str,
    *,
    hosts: tuple[str, ...] = (),
    issuer: Node | None = None,
    is_ca: bool = False,
    key: Any = None,
    kind: str = "P-256",
    days: tuple[int, int] = (-1, 30),
    padding: int = 0,
    permits: str = "",
    usages: tuple[x509.ObjectIdentifier, ...] = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ),
) -> Node:
    """A certificate for `hosts` (names and addresses), self-signed without an `issuer`, valid for `days`
    around today, with `padding` octets that mean nothing. A CA `permits` names in one domain, if it is given.
    """
    key = key or new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False
        )
    if not is_ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    if permits:
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName(permits)], None), critical=True)
    if padding:
        filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(padding))
        builder = builder.add_extension(filler, False)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Node(builder.sign(signer, algorithm), key, issuer)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@cache
def _made(*path: str) -> Node:
    """The node at a path such as ("root", "intermediate"): CAs, one under the other."""
    return _made(*path[:-1]).issue_ca(path[-1]) if len(path) > 1 else make_node(path[0], is_ca=True)


@cache
def _leaf(under: str, *hosts: str) -> Node:
    return intermediate(under).issue(*hosts)


def root(name: str = "root") -> Node:
    """A root CA, the same one for each call with that name."""
    return _made(name)


def intermediate(under: str = "root") -> Node:
    """A CA under a root, the same one for each call with that name."""
    return _made(under, f"{under} intermediate")


def leaf(*hosts: str, under: str = "root") -> Node:
    """A leaf for `hosts` under the intermediate of a root; the same one for each call with those names."""
    return _leaf(under, *hosts)


def server_ssl(identity: Node, *, extra: tuple[Node, ...] = (), version: int | None = None) -> SSL.Context:
    """A plain pyOpenSSL context of a server, which sends its chain and then `extra`."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(identity.certificate)
    for certificate in [*identity.sent[1:], *(node.certificate for node in extra)]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(identity.key)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context


def client_ssl(identity: Node | None = None) -> SSL.Context:
    """A plain pyOpenSSL context of a client that trusts everybody."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if identity is not None:
        context.use_certificate(identity.certificate)
        for certificate in identity.sent[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(identity.key)
    return context


def accepting(context: SSL.Context) -> SSL.Connection:
    """The server's end of a connection over memory BIOs."""
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    return connection


def shake(client: SSL.Connection, server: SSL.Connection) -> tuple[Exception | None, Exception | None]:
    """Runs a handshake over memory BIOs to its end; what each side raised, the client's first."""
    errors: list[Exception | None] = [None, None]
    ends = ((0, client, server), (1, server, client))
    for _ in range(12):
        for index, near, far in ends:
            if errors[index] is None:
                try:
                    near.do_handshake()
                except SSL.WantReadError:
                    pass
                except Exception as error:
                    errors[index] = error
            with suppress(SSL.WantReadError):
                far.bio_write(near.bio_read(1 << 20))
    return errors[0], errors[1]


def exchange(near: SSL.Connection, far: SSL.Connection, data: bytes = b"ping") -> bytes:
    """Sends `data` from one end to the other over memory BIOs."""
    near.send(data)
    far.bio_write(near.bio_read(1 << 20))
    return far.recv(1 << 16)


@dataclass
class Served:
    """What a `Server` saw: application data received, certificates of its clients, and errors, a list
    each.
    """

    port: int = 0
    data: list[bytes] = field(default_factory=list)
    client_certificates: list[x509.Certificate | None] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


def _serve(connection: SSL.Connection, sock: socket.socket, seen: Served) -> None:
    try:
        connection.do_handshake()
        seen.client_certificates.append(connection.get_peer_certificate(as_cryptography=True))
        while data := connection.recv(1 << 16):
            seen.data.append(data)
            connection.sendall(data)
    except (SSL.ZeroReturnError, SSL.SysCallError):
        pass
    except Exception as error:
        seen.errors.append(error)
    finally:
        sock.close()


@contextmanager
def serving(context: SSL.Context | Callable[[], SSL.Context], *, host: str = "127.0.0.1") -> Iterator[Served]:
    """A threaded echo server over real sockets on loopback; `context` may be a function that gives one a
    connection.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=256)
    seen = Served(port=listener.getsockname()[1])
    closing = threading.Event()

    def accept() -> None:
        while not closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(None)
            connection = SSL.Connection(context if isinstance(context, SSL.Context) else context(), sock)
            connection.set_accept_state()
            threading.Thread(target=_serve, args=(connection, sock, seen), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


# Under AddressSanitizer memory that was freed is not used again for a while.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")

PATIENCE = 30  # seconds until something that says nothing is given up


class Background(Future[Any]):
    """What a function comes to that runs in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        threading.Thread(target=self._run, args=(function,), daemon=True).start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self.set_result(function())
        except BaseException as error:
            self.set_exception(error)


def need_extension() -> None:
    """Skips the test where the C extension was left out, and fails it in CI where it is only missing."""
    from conftest import missing

    if importlib.util.find_spec("pinverify._native") is not None:
        return
    if os.environ.get("PINVERIFY_BUILD_NATIVE") == "0":
        pytest.skip("built without the extension")
    missing("the C extension (pinverify._native)")


def use_session(connection: SSL.Connection, session: SSL.Session) -> None:
    """`Connection.set_session` without pyOpenSSL's own check of the context: what is behind it shows."""
    assert openssl_lib.SSL_set_session(connection._ssl, session._session) == 1


def offered(session: SSL.Session, version: int) -> SSL.Session:
    """A session that the guard has kept from being offered, made fit for `version` again."""
    assert openssl_lib.SSL_SESSION_set_protocol_version(session._session, version) == 1
    return session


def was_resumed(connection: SSL.Connection) -> bool:
    return bool(openssl_lib.SSL_session_reused(connection._ssl))


def session_after(client: SSL.Connection, server: SSL.Connection) -> SSL.Session:
    """The session of a handshake over memory BIOs, fit to be resumed."""
    assert shake(client, server) == (None, None)
    assert exchange(server, client) == b"ping"  # with it come the tickets of TLS 1.3
    session = client.get_session()
    assert session is not None
    for end in (client, server):
        end.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)  # else OpenSSL drops the session
    return session
