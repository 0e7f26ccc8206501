# SPDX-License-Identifier: Apache-2.0
"""The examples run: against real servers, with the right pin and with a wrong one."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from support import PATIENCE, intermediate, leaf, root, server_ssl, serving

from pinverify import Pin, Policy

EXAMPLES = Path(__file__).parent.parent / "examples"
HOST = "localhost"
SERVER = leaf(HOST)
ABSENT = Pin(bytes(32))

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, engine: ModuleType) -> None:
    """The examples run in processes of their own; they get the engine of this test."""
    monkeypatch.setenv("PINVERIFY_ENGINE", engine.NAME)


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with root.pem, good.toml and bad.toml."""
    (tmp_path / "root.pem").write_bytes(root().pem)
    Policy({HOST: [SERVER.pin]}).dump(tmp_path / "good.toml")
    Policy({HOST: [ABSENT]}).dump(tmp_path / "bad.toml")
    return tmp_path


def test_the_raw_client(files: Path) -> None:
    """It gets its line back from the pinned server, and says why it refuses another."""
    with serving(server_ssl(SERVER)) as seen:
        where = [HOST, seen.port, "hello", "--trust", files / "root.pem", "--address", "127.0.0.1"]
        good = run("raw_client.py", files / "good.toml", *where)
        assert (good.returncode, good.stdout, good.stderr) == (0, "hello\n", "")
        bad = run("raw_client.py", files / "bad.toml", *where)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert f'add it to the entry: "{SERVER.pin}"' in bad.stderr
    assert seen.data == [b"hello\n"]


@contextmanager
def device_server(files: Path, *devices: Pin) -> Iterator[int]:
    """The port of the device server, as a process."""
    (files / "chain.pem").write_bytes(SERVER.chain_pem)
    (files / "key.pem").write_bytes(SERVER.key_pem)
    lines = [f"{pin} device-{number}\n" for number, pin in enumerate(devices)]
    (files / "devices.txt").write_text("".join(lines))
    command = [sys.executable, str(EXAMPLES / "device_server.py"), "chain.pem", "key.pem", "devices.txt"]
    command += ["--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(command, cwd=files, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rpartition(" ")[2])
    finally:
        process.kill()
        process.communicate()


def test_the_device_server(files: Path) -> None:
    """It greets each device by its name, and talks to no stranger; the raw client is the device."""
    known, other, stranger = (intermediate("devices").issue() for _ in range(3))
    with device_server(files, known.pin, other.pin) as port:
        for device, greeting in ((known, "device-0: hi\n"), (other, "device-1: hi\n"), (stranger, None)):
            (files / "device.pem").write_bytes(device.chain_pem)
            (files / "device.key").write_bytes(device.key_pem)
            where = [HOST, port, "hi", "--trust", files / "root.pem", "--address", "127.0.0.1"]
            identity = ["--identity", files / "device.pem", files / "device.key"]
            result = run("raw_client.py", files / "good.toml", *where, *identity)
            if greeting is not None:
                assert (result.returncode, result.stdout, result.stderr) == (0, greeting, "")
            else:
                assert (result.returncode, result.stdout) == (1, "")
                assert "the connection failed" in result.stderr


def test_the_high_rate_client(files: Path) -> None:
    """All of its connections are accepted, or all refused with the reason."""
    with serving(server_ssl(SERVER)) as seen:
        options = ["--count", 100, "--at-once", 20, "--trust", files / "root.pem", "--address", "127.0.0.1"]
        good = run("high_rate_client.py", files / "good.toml", HOST, seen.port, *options)
        bad = run("high_rate_client.py", files / "bad.toml", HOST, seen.port, *options)
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("{'accepted': 100} ")
    assert bad.returncode == 1, bad.stderr
    assert bad.stdout.startswith("{'NOT_PINNED': 100} ")


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test asks for what it wants to know."""


@contextmanager
def https() -> Iterator[int]:
    """The port of an HTTPS server of the standard library."""
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as pem:
        pem.write(SERVER.key_pem + SERVER.chain_pem)
        pem.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem.name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_the_http_client(files: Path) -> None:
    """requests gets its page over a pinned connection, and an SSLError with the reason over another."""
    with https() as port:
        url = f"https://{HOST}:{port}/"
        good = run("https_get.py", files / "good.toml", url, "--trust", files / "root.pem")
        assert (good.returncode, good.stdout) == (0, "200 hello\n"), good.stderr
        bad = run("https_get.py", files / "bad.toml", url, "--trust", files / "root.pem")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "not_pinned" in bad.stderr


def test_each_example_is_tested() -> None:
    """None is left out above."""
    here = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in here] == []
