# SPDX-License-Identifier: Apache-2.0
"""A real nginx on a core of its own, which makes a full handshake of every connection."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.common import Unavailable
from benchmarks.keys import key_pem, pem
from pinverify.demo.pki import Owner

__all__ = ["Site", "cores", "nginx", "on_core"]

_PATIENCE = 10
_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  ssl_session_cache off;
  ssl_session_tickets off;
  {sites}
}}
"""
_SITE = """\
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {folder}/{name}.pem;
    ssl_certificate_key {folder}/{name}.key;
    ssl_protocols TLSv{tls};
    location / {{ return 200 'ok'; }}
  }}
"""


class Site:
    """One server of nginx's: who it is, and which TLS it speaks."""

    def __init__(self, owner: Owner, tls: str, port: int) -> None:
        self.owner, self.tls, self.port = owner, tls, port


def cores() -> tuple[int, int]:
    """The core of the servers and that of the clients; the same one where there is only one."""
    all_cores = sorted(os.sched_getaffinity(0))
    return all_cores[0], all_cores[-1]


def on_core(core: int) -> Callable[[], None]:
    """What pins a new process to a core, for the `preexec_fn` of Popen."""
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def nginx(folder: Path, wanted: list[tuple[Owner, str]]) -> Iterator[list[Site]]:
    """nginx with a site for each server and version of TLS."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise Unavailable("nginx is not installed")
    with ExitStack() as stack:
        sites, texts = [], []
        for number, (owner, tls) in enumerate(wanted):
            port = stack.enter_context(_reserved_port())
            sites.append(Site(owner, tls, port))
            (folder / f"{number}.pem").write_bytes(pem(owner.chain[:-1] or owner.chain))
            (folder / f"{number}.key").write_bytes(key_pem(owner))
            texts.append(_SITE.format(folder=folder, name=number, port=port, tls=tls))
        (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, sites="".join(texts)))
        process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"],
            stdin=subprocess.DEVNULL,
            preexec_fn=on_core(cores()[0]),
        )
        try:
            _wait(process, sites[-1].port, folder / "error.log")
            yield sites
        finally:
            process.terminate()
            process.wait(_PATIENCE)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that the system gives to nobody else, while a child may bind it too: nobody listens yet."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield int(reserved.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), _PATIENCE).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"nginx does not start: {log.read_text()}") from None
            time.sleep(0.01)
