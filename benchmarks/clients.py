# SPDX-License-Identifier: Apache-2.0
"""The clients whose connections are counted, each as its own documentation would have it.

Run as a program, this module is one of them: `python -m benchmarks.clients NAME TARGET` with the Target as
JSON. Each line on stdin is a job, {"pin": "right" | "wrong", "count": …, "threads": …}; each line on stdout
says what came of it: {"done": …, "wall": seconds, "cpu": seconds of all threads}, where a connection that
fails ends the job. peers/client.go keeps to the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

__all__ = ["CLIENTS", "UNPINNED", "Client", "Target", "callback_context"]


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1, and what its peers know of it."""

    port: int
    host: str
    root: str  # the path of the trust anchor, in PEM
    pin: str  # of the leaf's key: the digest in base64
    fingerprint: str  # the SHA-256 of the leaf, in hexadecimal

    def pins(self, which: str) -> tuple[str, str]:
        """The pin and the fingerprint: the right ones, or some that nobody has."""
        if which == "right":
            return self.pin, self.fingerprint
        return "A" * 43 + "=", "00" * 32

    @property
    def json(self) -> str:
        return json.dumps(asdict(self))


Connect = Callable[[], object]


def _tcp(target: Target) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", target.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _request(target: Target) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n".encode()


def _pyopenssl(target: Target, context: Any, http: bool) -> Connect:
    """Connections of an OpenSSL.SSL.Context, pinned or not."""
    from OpenSSL import SSL

    name = target.host.encode()

    def connect() -> None:
        with _tcp(target) as sock:
            connection = SSL.Connection(context, sock)
            connection.set_tlsext_host_name(name)
            connection.set_connect_state()
            connection.do_handshake()
            if http:
                connection.sendall(_request(target))
                while _received(connection):
                    pass
            else:
                connection.shutdown()

    def _received(connection: SSL.Connection) -> bytes:
        try:
            return connection.recv(4096)
        except SSL.ZeroReturnError:
            return b""

    return connect


def unpinned(target: Target, which: str, http: bool, *, named: bool = False) -> Connect:
    """pyOpenSSL that verifies the chain. It does not look at the name, unless OpenSSL is told to behind its
    back.
    """
    from cryptography.hazmat.bindings._rust import _openssl
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(target.root)
    context.set_verify(SSL.VERIFY_PEER)
    if named:
        param, name = _openssl.lib.SSL_CTX_get0_param(context._context), target.host.encode()
        if _openssl.lib.X509_VERIFY_PARAM_set1_host(param, name, len(name)) != 1:
            raise MemoryError("X509_VERIFY_PARAM_set1_host")
    return _pyopenssl(target, context, http)


def pinverify(target: Target, which: str, http: bool) -> Connect:
    """A pinned context; PINVERIFY_ENGINE says which engine."""
    from pinverify import client_context

    pin, _ = target.pins(which)
    return _pyopenssl(target, client_context({target.host: ["sha256/" + pin]}, trust=target.root), http)


def callback_context(digest: bytes) -> Any:
    """A context with the verify callback that one writes in Python, on cryptography; without anchors."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from OpenSSL import SSL

    pins = {digest}

    def verify(connection: SSL.Connection, cert: Any, error: int, depth: int, ok: int) -> bool:
        if not ok or depth > 0:
            return bool(ok)
        key = cert.to_cryptography().public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).digest() in pins

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, verify)
    return context


def callback(target: Target, which: str, http: bool) -> Connect:
    """pyOpenSSL with such a callback."""
    context = callback_context(b64decode(target.pins(which)[0]))
    context.load_verify_locations(target.root)
    return _pyopenssl(target, context, http)


def _stdlib_context(target: Target) -> Any:
    import ssl

    return ssl.create_default_context(cafile=target.root)


def stdlib(target: Target, which: str, http: bool) -> Connect:
    """The ssl module, which verifies chain and name."""
    context = _stdlib_context(target)

    def connect() -> None:
        with context.wrap_socket(_tcp(target), server_hostname=target.host):
            pass

    return connect


def stdlib_checked(target: Target, which: str, http: bool) -> Connect:
    """The ssl module, and a look at the leaf's key when the handshake is done."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    context, pins = _stdlib_context(target), {b64decode(target.pins(which)[0])}

    def connect() -> None:
        with context.wrap_socket(_tcp(target), server_hostname=target.host) as connection:
            key = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).public_key()
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if hashlib.sha256(spki).digest() not in pins:
                raise ConnectionError("not pinned")

    return connect


def urllib3(target: Target, which: str, http: bool, *, pinned: bool = True) -> Connect:
    """urllib3; with assert_fingerprint, which looks at the leaf when the handshake is done."""
    from urllib3 import HTTPSConnectionPool

    options = {"assert_fingerprint": target.pins(which)[1]} if pinned else {"assert_hostname": target.host}
    pool = HTTPSConnectionPool(
        "127.0.0.1",
        target.port,
        maxsize=4,
        retries=False,
        ca_certs=target.root,
        server_hostname=target.host,
        **options,
    )
    return lambda: pool.request("GET", "/", headers={"Host": target.host, "Connection": "close"}).data


def pycurl(target: Target, which: str, http: bool, *, pinned: bool = True) -> Connect:
    """libcurl; with CURLOPT_PINNEDPUBLICKEY, which looks at the leaf when the handshake is done."""
    from pycurl import Curl

    local = threading.local()

    def connect() -> None:
        if not hasattr(local, "curl"):
            curl = local.curl = Curl()
            curl.setopt(curl.URL, f"https://{target.host}:{target.port}/")
            curl.setopt(curl.RESOLVE, [f"{target.host}:{target.port}:127.0.0.1"])
            curl.setopt(curl.CAINFO, target.root)
            curl.setopt(curl.SSL_SESSIONID_CACHE, 0)
            curl.setopt(curl.FRESH_CONNECT, 1)
            curl.setopt(curl.FORBID_REUSE, 1)
            curl.setopt(curl.NOSIGNAL, 1)
            curl.setopt(curl.WRITEFUNCTION, lambda data: None)
            if pinned:
                curl.setopt(curl.PINNEDPUBLICKEY, "sha256//" + target.pins(which)[0])
        local.curl.perform()

    return connect


def aiohttp(target: Target, which: str, count: int, tasks: int, *, pinned: bool = True) -> None:
    """aiohttp; its Fingerprint is of the leaf, in place of all verification of the chain."""
    import aiohttp

    fingerprint = aiohttp.Fingerprint(bytes.fromhex(target.pins(which)[1]))
    how = fingerprint if pinned else _stdlib_context(target)
    url, numbers = f"https://127.0.0.1:{target.port}/", itertools.count()

    async def work(session: aiohttp.ClientSession) -> None:
        while next(numbers) < count:
            async with session.get(url, ssl=how, server_hostname=target.host) as response:
                await response.read()

    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            await asyncio.gather(*(work(session) for _ in range(tasks)))

    asyncio.run(run())


class Client(NamedTuple):
    """One of the clients: what stands in charts, and how it connects."""

    title: str
    make: Callable[..., Any]
    pinned: bool = True
    engine: str | None = None
    http: bool = False  # it sends a request and reads the response, since it cannot do without
    asynchronous: bool = False  # its threads are tasks, and it makes all connections itself

    def rounds(self, target: Target, which: str) -> Callable[[int, int], None]:
        """What makes so many connections in so many threads."""
        if self.asynchronous:
            return partial(self.make, target, which)
        return partial(_in_threads, self.make(target, which, self.http))


UNPINNED = "pyopenssl"
CLIENTS: dict[str, Client] = {
    UNPINNED: Client("pyOpenSSL, no pin", unpinned, pinned=False),
    "named": Client("pyOpenSSL, no pin, name checked", partial(unpinned, named=True), pinned=False),
    "native": Client("pinverify", pinverify, engine="native"),
    "python": Client("pinverify, Python engine", pinverify, engine="python"),
    "callback": Client("pyOpenSSL, Python callback", callback),
    "ssl": Client("ssl, no pin", stdlib, pinned=False),
    "ssl-checked": Client("ssl, check afterwards", stdlib_checked),
    UNPINNED + "-http": Client("pyOpenSSL, no pin", unpinned, pinned=False, http=True),
    "native-http": Client("pinverify", pinverify, engine="native", http=True),
    "urllib3": Client("urllib3, no pin", partial(urllib3, pinned=False), pinned=False, http=True),
    "urllib3-pinned": Client("urllib3, assert_fingerprint", urllib3, http=True),
    "aiohttp": Client("aiohttp, no pin", partial(aiohttp, pinned=False), False, http=True, asynchronous=True),
    "aiohttp-pinned": Client("aiohttp, Fingerprint", aiohttp, http=True, asynchronous=True),
    "pycurl": Client("pycurl, no pin", partial(pycurl, pinned=False), pinned=False, http=True),
    "pycurl-pinned": Client("pycurl, PINNEDPUBLICKEY", pycurl, http=True),
}


def _in_threads(connect: Connect, count: int, threads: int) -> None:
    numbers, failures = itertools.count(), list[BaseException]()

    def work() -> None:
        try:
            while next(numbers) < count and not failures:
                connect()
        except BaseException as error:
            failures.append(error)

    if threads == 1:
        work()
    else:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if failures:
        raise failures[0]


def _jobs() -> Iterator[dict[str, Any]]:
    return map(json.loads, sys.stdin)


def main() -> None:
    client, target = CLIENTS[sys.argv[1]], Target(**json.loads(sys.argv[2]))
    ready: dict[str, Callable[[int, int], None]] = {}
    for job in _jobs():
        which = job["pin"]
        if which not in ready:
            ready[which] = client.rounds(target, which)
        done, wall, cpu = True, time.perf_counter(), time.process_time()
        try:
            ready[which](job["count"], job["threads"])
        except Exception as error:
            done = False
            print(f"{client.title}: {error!r}", file=sys.stderr)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"done": done, "wall": wall, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] in CLIENTS and (asked := CLIENTS[sys.argv[1]].engine):
        os.environ["PINVERIFY_ENGINE"] = asked
    main()
