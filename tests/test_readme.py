# SPDX-License-Identifier: Apache-2.0
"""What README.md shows is run as it stands there, but for hosts, ports, files and pins."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import Node, client_ssl, leaf, root, server_ssl, serving

from pinverify import Pin, Policy, Reason

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
PIN = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")
HOST = "api.example.com"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def block(language: str, words: str) -> str:
    (found,) = [text for text in blocks(language) if words in text]
    return found


def swap(text: str, before: str, after: str) -> str:
    assert before in text, f"README.md no longer shows {before!r}"
    return text.replace(before, after)


def run_client(port: int, pins: list[Pin], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(root().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    code = swap(block("python", "client_context"), f'("{HOST}", 443)', f'("127.0.0.1", {port})')
    shown = PIN.findall(code)
    for before, after in zip(shown, pins, strict=True):
        code = swap(code, before, str(after))
    exec(compile(code, "README.md", "exec"), {})


def test_the_client_talks_to_a_server_with_the_backup_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client as shown accepts a server that has the second of its pins, and gets an answer."""
    with serving(server_ssl(leaf(HOST))) as seen:
        run_client(seen.port, [leaf("old.example").pin, leaf(HOST).pin], monkeypatch, tmp_path)
    assert "GET / HTTP/1.0" in capsys.readouterr().out


def test_the_client_refuses_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client as shown ends with the whole story when no key is pinned, and sends nothing."""
    pins = [leaf("old.example").pin, leaf("older.example").pin]
    with (
        serving(server_ssl(leaf(HOST))) as seen,
        pytest.raises(SystemExit, match=r"refused api\.example\.com"),
    ):
        run_client(seen.port, pins, monkeypatch, tmp_path)
    assert not seen.data


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the server as shown, which pins the key of `leaf("device")` and takes two connections."""
    (tmp_path / "server-chain.pem").write_bytes(leaf(HOST).chain_pem)
    (tmp_path / "server-key.pem").write_bytes(leaf(HOST).key_pem)
    monkeypatch.chdir(tmp_path)
    code = swap(block("python", "server_context"), 'socket.create_server(("", 8443))', "LISTENER")
    code = swap(code, "while True:", "for _ in range(2):")
    code = PIN.sub(str(leaf("device").pin), code)
    ready = threading.Event()
    code = swap(code, "listener = ", "READY.set()\nlistener = ")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names = {"LISTENER": listener, "READY": ready}
        threading.Thread(target=exec, args=(compile(code, "README.md", "exec"), names), daemon=True).start()
        assert ready.wait(30)
        yield listener.getsockname()[1]


def knock(port: int, client: Node) -> bytes:
    """What the server says to a client, or b"" if it refuses."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        connection = SSL.Connection(client_ssl(client), sock)
        connection.set_connect_state()
        try:
            connection.do_handshake()
            return connection.recv(1024)
        except SSL.Error:
            return b""


def test_the_server_welcomes_the_pinned_client_alone(port: int) -> None:
    """The server as shown serves the client whose key is pinned, and no other of the same CA."""
    assert knock(port, leaf("intruder")) == b""
    assert knock(port, leaf("device")) == f"welcome, {leaf('device').pin}\n".encode()


def test_the_policy_file_is_one(tmp_path: Path) -> None:
    """The policy file as shown is read, with an entry that enforces two pins."""
    path = tmp_path / "policy.toml"
    path.write_text(block("toml", "[[host]]"), encoding="utf-8")
    [(name, pins)] = Policy.load(path).hosts.items()
    assert (name, len(pins.allow), pins.mode) == (HOST, 2, "enforce")


def test_openssl_prints_the_same_pin(program: Callable[[str], str], tmp_path: Path) -> None:
    """The one-liner with the openssl command prints the pin that pinverify computes."""
    program("openssl")
    (tmp_path / "server.pem").write_bytes(leaf(HOST).pem)
    line = block("sh", "openssl x509").strip()
    printed = subprocess.run(line, shell=True, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert f"sha256/{printed.stdout.strip()}" == str(leaf(HOST).pin)


@pytest.mark.parametrize("words", ["pinverify demo", "-m pytest"])
def test_each_command_is_a_line_in_a_block_of_its_own(words: str) -> None:
    """The commands that CI takes from README.md are there once, one line each."""
    assert block("sh", words).count("\n") == 1


def test_every_reason_is_in_the_tables() -> None:
    """The tables list each Reason once, those that refuse in the first."""
    refused, accepted = README.split("| reason | the peer was accepted because |")
    rows = re.compile(r"^\| `([A-Z_]+)` \|", re.MULTILINE)
    names = {reason.name for reason in Reason if not reason.accepts}
    assert sorted(rows.findall(refused)) == sorted(names)
    assert sorted(rows.findall(accepted.partition("##")[0])) == sorted({*Reason.__members__} - names)


def test_links_lead_somewhere() -> None:
    """Each link to a file of the project has that file at its end."""
    links = re.findall(r"\]\(([^):]+)\)", README)
    assert links
    assert [link for link in links if not (Path(__file__).parent.parent / link).exists()] == []
