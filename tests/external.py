# SPDX-License-Identifier: Apache-2.0
"""Other people's TLS as child processes: nginx, `openssl s_server` and `openssl s_client`."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from OpenSSL import SSL
from support import PATIENCE, Node

TLS_OPTION = {SSL.TLS1_2_VERSION: "-tls1_2", SSL.TLS1_3_VERSION: "-tls1_3"}

# For children: no proxy, no configuration of the machine's own OpenSSL, no translated messages.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "OPENSSL_CONF": os.devnull}

_NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{}}
http {{
  log_format requests '$ssl_client_verify $request';
  access_log {directory}/access.log requests;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen {address}:{port} ssl;
    ssl_certificate {directory}/chain.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols {protocols};
    {clients}
    location / {{
      return 200 'name=$ssl_server_name reused=$ssl_session_reused client=$ssl_client_s_dn';
    }}
  }}
}}
"""
_NGINX_PROTOCOLS = {None: "TLSv1.2 TLSv1.3", SSL.TLS1_2_VERSION: "TLSv1.2", SSL.TLS1_3_VERSION: "TLSv1.3"}


def write_identity(identity: Node, directory: Path) -> None:
    """Writes the leaf to cert.pem, the sent chain to chain.pem and the key to key.pem."""
    (directory / "cert.pem").write_bytes(identity.pem)
    (directory / "chain.pem").write_bytes(identity.chain_pem)
    (directory / "key.pem").write_bytes(identity.key_pem)


@dataclass
class Nginx:
    """A running nginx. Its body for any request is what it knows of the connection."""

    port: int
    directory: Path

    def requests(self) -> list[str]:
        """The requests of all connections that have ended, each after its `$ssl_client_verify`."""
        return (self.directory / "access.log").read_text().splitlines()


@contextmanager
def nginx(
    program: str,
    directory: Path,
    identity: Node,
    *,
    host: str = "127.0.0.1",
    version: int | None = None,
    client_root: Node | None = None,
) -> Iterator[Nginx]:
    """nginx with one https server on a free port; with `client_root` it asks for a client certificate."""
    write_identity(identity, directory)
    clients = ""
    if client_root is not None:
        (directory / "clients.pem").write_bytes(client_root.pem)
        clients = f"ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {directory}/clients.pem;"
    with _reserved_port(host) as port:
        values = {"port": port, "protocols": _NGINX_PROTOCOLS[version], "clients": clients}
        address = f"[{host}]" if ":" in host else host
        (directory / "nginx.conf").write_text(_NGINX.format(directory=directory, address=address, **values))
        command = [program, "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "error.log"]
        with _child(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
            _wait_for_listener(process, host, port, directory / "error.log")
            yield Nginx(port, directory)


@contextmanager
def s_server(program: str, directory: Path, identity: Node, version: int) -> Iterator[int]:
    """The port of an `openssl s_server`, which sends each line back reversed to one client after another."""
    write_identity(identity, directory)
    files = {"-cert": "cert.pem", "-cert_chain": "chain.pem", "-key": "key.pem"}
    options = [part for option, name in files.items() for part in (option, str(directory / name))]
    # Port 0, which s_server tells when it listens: nobody can come in between.
    command = [program, "s_server", "-accept", "127.0.0.1:0", "-rev", TLS_OPTION[version], *options]
    with _child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = b""
        while b"ACCEPT " not in said:
            line = process.stdout.readline()
            assert line, f"s_server ended: {said.decode()}"
            said += line
        # It goes on talking, and would stand still when nobody listened.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield int(said.rsplit(b":", 1)[1])


@contextmanager
def s_client(
    program: str, directory: Path, port: int, root: Node, version: int, identity: Node | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """An `openssl s_client` that trusts `root`: what it is told on stdin it sends, and what it gets is on
    stdout.
    """
    (directory / "root.pem").write_bytes(root.pem)
    options = ["-quiet", "-verify_return_error", "-CAfile", directory / "root.pem", TLS_OPTION[version]]
    if identity is not None:
        write_identity(identity, directory)
        options += ["-cert", directory / "cert.pem", "-cert_chain", directory / "chain.pem"]
        options += ["-key", directory / "key.pem"]
    command = [program, "s_client", "-connect", f"127.0.0.1:{port}", *options]
    with _child(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        yield process


@contextmanager
def _child(command: list[str | Path], **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    pipes.setdefault("stdin", subprocess.DEVNULL)
    process = subprocess.Popen(command, env=_ENVIRONMENT, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def _reserved_port(host: str) -> Iterator[int]:
    """A port that the system gives to nobody else, while a child may bind it too: nobody listens yet."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, 0))
        yield int(reserved.getsockname()[1])


def _wait_for_listener(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), PATIENCE).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no nginx: {log.read_text() if log.exists() else ''}") from None
            time.sleep(0.01)
