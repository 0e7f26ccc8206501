# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints where, and its exit status."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from support import intermediate, leaf, make_node, root, server_ssl, serving

from pinverify import InvalidHost
from pinverify.cli.commands import cli
from pinverify.hostnames import host_and_port

HOST = "localhost"
ACCEPTED, REFUSED, USAGE, NO_CONNECTION = 0, 1, 2, 3
CHAIN = [leaf(HOST, "127.0.0.1", "::1"), intermediate()]
SERVER = CHAIN[0]


def pinverify(*args: object, stdin: bytes | None = None, columns: int = 200) -> Result:
    try:
        runner = CliRunner(mix_stderr=False)  # click before 8.2
    except TypeError:
        runner = CliRunner()
    result = runner.invoke(cli, [str(arg) for arg in args], input=stdin, env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def spawn(*args: object, encoding: str = "utf-8", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pinverify", *map(str, args)]
    env = {**os.environ, "PYTHONIOENCODING": encoding, **environment}
    return subprocess.run(command, capture_output=True, text=True, encoding=encoding, env=env, timeout=120)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """The root CA of SERVER in a file."""
    path = tmp_path / "root.pem"
    path.write_bytes(root().pem)
    return path


# -- pins --


def expected_lines() -> list[str]:
    subjects = [node.certificate.subject.rfc4514_string() for node in CHAIN]
    return [f"{node.pin}\t{depth}\t{subjects[depth]}" for depth, node in enumerate(CHAIN)]


def test_pins_of_a_pem_file(tmp_path: Path) -> None:
    """Piped, the pins of a PEM chain are one line each: pin, depth, subject."""
    file = tmp_path / "chain.pem"
    file.write_bytes(SERVER.chain_pem)
    result = pinverify("pins", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == expected_lines()


def test_pins_of_a_der_file(tmp_path: Path) -> None:
    """A file that is one certificate in DER gives its pin."""
    file = tmp_path / "leaf.der"
    file.write_bytes(SERVER.der)
    assert pinverify("pins", file).stdout.splitlines() == expected_lines()[:1]


def test_pins_of_standard_input_without_its_private_key() -> None:
    """Of what else a PEM holds, such as the private key, nothing is read or shown."""
    result = pinverify("pins", "-", stdin=SERVER.key_pem + SERVER.chain_pem)
    assert result.stdout.splitlines() == expected_lines()


def a_request() -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "next.example")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(SERVER.key, hashes.SHA256())


def private(form: PrivateFormat, encryption: Any) -> bytes:
    return bytes(SERVER.key.private_bytes(Encoding.PEM, form, encryption))


KEY = SERVER.key.public_key()
OTHERS = {
    "public key": (KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "(public key)"),
    "public key in DER": (KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "(public key)"),
    "private key": (SERVER.key_pem, "(private key)"),
    "OpenSSL's": (private(PrivateFormat.TraditionalOpenSSL, NoEncryption()), "(private key)"),
    "request": (a_request().public_bytes(Encoding.PEM), "CN=next.example (request)"),
    "request in DER": (a_request().public_bytes(Encoding.DER), "CN=next.example (request)"),
}


@pytest.mark.parametrize(("content", "subject"), OTHERS.values(), ids=OTHERS)
def test_pins_of_what_has_no_certificate_yet(content: bytes, subject: str, tmp_path: Path) -> None:
    """A key, and a request, have the pin that their certificate will have."""
    file = tmp_path / "key"
    file.write_bytes(content)
    result = pinverify("pins", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{SERVER.pin}\t0\t{subject}\n"


def test_pins_of_an_encrypted_key(tmp_path: Path) -> None:
    """A key that is encrypted is said to be so, and nothing of it is shown."""
    file = tmp_path / "key.pem"
    file.write_bytes(private(PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    result = pinverify("pins", file)
    assert result.exit_code == USAGE
    assert result.stdout == "malformed\t0\t(encrypted private key)\n"
    assert "encrypted" in result.stderr


def test_pins_as_json(tmp_path: Path) -> None:
    """JSON has both pins of each certificate, and says that nothing was verified."""
    file = tmp_path / "chain.pem"
    file.write_bytes(SERVER.chain_pem)
    listing = json.loads(pinverify("pins", file, "--format", "json").stdout)
    assert listing["verified"] is False
    assert [entry["pin"] for entry in listing["certificates"]] == [str(node.pin) for node in CHAIN]
    assert [entry["cert_pin"] for entry in listing["certificates"]] == [str(node.cert_pin) for node in CHAIN]


@pytest.mark.parametrize("columns", [80, 120])
def test_pins_as_a_table(tmp_path: Path, columns: int) -> None:
    """In a table no pin is broken, however narrow the terminal and long the subject."""
    file = tmp_path / "leaf.pem"
    node = make_node("an extraordinarily long name that fills more than a line")
    file.write_bytes(node.pem)
    result = pinverify("pins", file, "--format", "table", columns=columns)
    assert str(node.pin) in result.stdout
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= columns


def test_a_malformed_certificate_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    """A certificate that is not DER is an error with its place; the pins of the others are printed."""
    broken = base64.encodebytes(SERVER.der + b"\0")
    file = tmp_path / "chain.pem"
    file.write_bytes(
        b"-----BEGIN CERTIFICATE-----\n" + broken + b"-----END CERTIFICATE-----\n" + intermediate().pem
    )
    result = pinverify("pins", file)
    assert result.exit_code == USAGE
    assert result.stdout.splitlines()[1] == expected_lines()[1]
    assert f"certificate 0 of {file}" in result.stderr


def test_a_subject_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    """Control characters in a subject are shown escaped: no colours, no lines of a peer's own making."""
    file = tmp_path / "leaf.pem"
    node = make_node("a\x1b[31m\nsha256/forged [bold]b[/bold]")
    file.write_bytes(node.pem)
    for form in ("lines", "table", "json"):
        output = pinverify("pins", file, "--format", form).stdout
        assert "\x1b" not in output
        assert "[bold]b[/bold]" in output
    assert len(pinverify("pins", file).stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_wrong_usage(tmp_path: Path, content: bytes) -> None:
    """A file that holds no readable certificate is an error on stderr, exit status 2."""
    file = tmp_path / "file"
    file.write_bytes(content)
    result = pinverify("pins", file)
    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert "certificate" in result.stderr


def test_a_missing_file_is_not_taken_for_a_host(tmp_path: Path) -> None:
    """A path that leads nowhere, and a directory, are called that."""
    assert "there is no file" in pinverify("pins", tmp_path / "missing.pem").stderr
    result = pinverify("pins", tmp_path)
    assert result.exit_code == USAGE
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_pins_of_a_server_are_marked_as_unverified(host: str) -> None:
    """Of a live server the sent chain is shown, with a warning on stderr that it is not verified."""
    with serving(server_ssl(SERVER)) as seen:
        result = pinverify("pins", f"{host}:{seen.port}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == expected_lines()
    assert "NOT VERIFIED" in result.stderr
    assert not seen.data


def test_pins_of_a_server_at_an_ipv6_address() -> None:
    """An IPv6 address in brackets is connected to."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    with serving(server_ssl(SERVER), host="::1") as seen:
        assert pinverify("pins", f"[::1]:{seen.port}").stdout.splitlines() == expected_lines()


def test_the_server_name_is_sent(trust: Path) -> None:
    """Both commands send the name of the host, so that the right certificate is shown."""
    names: list[bytes | None] = []
    context = server_ssl(SERVER)
    context.set_tlsext_servername_callback(lambda connection: names.append(connection.get_servername()))
    with serving(context) as seen:
        pinverify("pins", f"LOCALHOST:{seen.port}")
        check(seen.port, "--pin", SERVER.pin, "--trust", trust, "--name", "Bücher.example")
    assert names == [b"localhost", b"xn--bcher-kva.example"]


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_pins_of_a_server_that_asks_for_a_certificate(version: int) -> None:
    """A server that refuses clients without a certificate has shown its own by then."""
    context = server_ssl(SERVER, version=version)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    with serving(context) as seen:
        assert pinverify("pins", f"127.0.0.1:{seen.port}").stdout.splitlines() == expected_lines()


@pytest.mark.parametrize("command", [["pins"], ["check", "--pin", SERVER.pin]])
def test_no_connection(command: list[str]) -> None:
    """A closed port, and a server that says nothing within the time allowed, are exit status 3."""
    with silent() as port:
        late = pinverify(*command, f"127.0.0.1:{port}", "--connect-timeout", "0.1")
    closed = pinverify(*command, f"127.0.0.1:{port}")
    for result in (late, closed):
        assert (result.exit_code, result.stdout) == (NO_CONNECTION, "")
        assert "no connection to" in result.stderr


# -- check --


def check(port: int, *args: object) -> Result:
    return pinverify("check", f"{HOST}:{port}", *args)


def test_check_accepts_a_pinned_server(trust: Path) -> None:
    """A server with one of the pins is accepted, and the whole verdict printed."""
    with serving(server_ssl(SERVER)) as seen:
        result = check(seen.port, "--pin", leaf("other.example").pin, "--pin", SERVER.pin, "--trust", trust)
    assert (result.exit_code, result.stderr) == (ACCEPTED, "")
    assert result.stdout.startswith(f"accepted {HOST}: pinned\n")
    assert f"depth 0: {SERVER.pin}" in result.stdout
    assert "<- PINNED" in result.stdout


def test_check_refuses_another_key(trust: Path) -> None:
    """A server with another key is refused: exit status 1, with what was expected and what came."""
    pin = leaf("other.example").pin
    with serving(server_ssl(SERVER)) as seen:
        result = check(seen.port, "--pin", pin, "--trust", trust)
    assert (result.exit_code, result.stderr) == (REFUSED, "")
    assert result.stdout.startswith(f"refused {HOST}: ")
    assert str(pin) in result.stdout
    assert str(SERVER.pin) in result.stdout


def test_check_refuses_what_openssl_refuses(trust: Path) -> None:
    """A pinned key does not make good an unknown CA or another name."""
    trust.write_bytes(root("another root").pem)
    with serving(server_ssl(SERVER)) as seen:
        unknown = check(seen.port, "--pin", SERVER.pin, "--trust", trust)
        trust.write_bytes(root().pem)
        other_name = check(seen.port, "--pin", SERVER.pin, "--trust", trust, "--name", "other.example")
    assert unknown.exit_code == other_name.exit_code == REFUSED
    assert "issuer" in unknown.stdout
    assert "hostname mismatch" in other_name.stdout


def test_check_by_another_name(trust: Path) -> None:
    """With --name the certificate must have that name, whatever host is connected to."""
    server = leaf("service.example")
    with serving(server_ssl(server)) as seen:
        result = check(seen.port, "--pin", server.pin, "--trust", trust, "--name", "service.example")
    assert result.exit_code == ACCEPTED
    assert result.stdout.startswith("accepted service.example")


def test_check_without_a_ca() -> None:
    """With --trust pins a self-signed device is known by its key alone."""
    device = make_node("device")
    with serving(server_ssl(device)) as seen:
        pinned = check(seen.port, "--pin", device.pin, "--trust", "pins")
        other = check(seen.port, "--pin", SERVER.pin, "--trust", "pins")
    assert (pinned.exit_code, other.exit_code) == (ACCEPTED, REFUSED)


def test_check_of_a_server_that_breaks_off(trust: Path) -> None:
    """TLS that fails for another reason than the certificate is exit status 3, with OpenSSL's words."""
    context = server_ssl(SERVER, version=SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    with serving(context) as seen:
        result = check(seen.port, "--pin", SERVER.pin, "--trust", trust)
    assert (result.exit_code, result.stdout) == (NO_CONNECTION, "")
    assert "alert" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        [HOST],
        [HOST, "--pin", "sha1/2jmj7l5rSw0yVb/vlWAYkK/YBwk="],
        [HOST, "--pin", SERVER.pin, "--trust", "/nowhere/at/all"],
        [HOST, "--pin", SERVER.pin, "--name", "https://localhost/"],
        ["https://localhost/", "--pin", SERVER.pin],
        ["::1", "--pin", SERVER.pin],
        [f"{HOST}:0", "--pin", SERVER.pin],
        [HOST, "--pin", SERVER.pin, "--connect-timeout", "0"],
    ],
)
def test_wrong_usage(args: list[object]) -> None:
    """What cannot be meant is said on stderr, exit status 2, before any connection."""
    result = pinverify("check", *args)
    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert "Error: " in result.stderr


# -- Addresses --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", ("example.com", 443)),
        ("Example.COM.:8443", ("example.com", 8443)),
        ("bücher.example", ("xn--bcher-kva.example", 443)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("[2001:DB8::0001]", ("2001:db8::1", 443)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    """HOST[:PORT] is read as people write it."""
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *["", ":443", "a:", "a:b", "a:65536", "a:123456", "a:-1", "a b", "*.a.example"],
        *["2001:db8::1", "[::1", "::1]", "[::1]443", "[a]:1", "[192.0.2.1]"],
    ],
)
def test_no_address(text: str) -> None:
    """What is ambiguous or no address is an error."""
    with pytest.raises(InvalidHost):
        host_and_port(text)


# -- The program --


def test_debug_names_the_engine_that_runs(engine: ModuleType) -> None:
    """`debug` tells the engine of its own process, why, and the versions."""
    result = spawn("debug", PINVERIFY_ENGINE=engine.NAME)
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (result.returncode, result.stderr) == (0, "")
    assert facts["engine"] == engine.NAME
    assert facts["why"] == f"PINVERIFY_ENGINE={engine.NAME}"
    assert facts["SHA-256"] == engine.cpu_features()
    assert facts["OpenSSL"].startswith("OpenSSL ")
    assert {"Python", "platform", "pinverify", "pyOpenSSL", "cryptography", "cffi", "idna"} <= {*facts}


def test_version_and_help() -> None:
    """`--version` is the package's, and `--help` names all commands."""
    from importlib.metadata import version

    assert pinverify("--version").stdout.strip().endswith(f" {version('pinverify')}")
    shown = pinverify("--help").stdout
    assert all(f"  {command} " in shown for command in ("check", "debug", "demo", "pins"))


def run_without(module: str, *args: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv[1:] = {args!r}\n"
        "runpy.run_module('pinverify', run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_debug_does_without_the_extra() -> None:
    """`python -m pinverify debug` prints the same with and without click."""
    result = run_without("click", "debug")
    assert result.returncode == 0, result.stderr
    assert result.stdout == spawn("debug").stdout


@pytest.mark.parametrize(("module", "command"), [("click", "demo"), ("click", "--help"), ("rich", "demo")])
def test_other_commands_say_what_they_need(module: str, command: str) -> None:
    """Without the extra every other command says how to install it, exit status 2."""
    result = run_without(module, command)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert "pip install 'pinverify[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_rich_is_imported_for_tables_only(tmp_path: Path) -> None:
    """Help, lines and verdicts do not wait for rich to load."""
    file = tmp_path / "chain.pem"
    file.write_bytes(SERVER.chain_pem)
    for args in (["--help"], ["pins", str(file)], ["debug"]):
        assert run_without("rich", *args).returncode == 0


def test_a_stream_that_cannot_show_a_character_shows_its_code(tmp_path: Path) -> None:
    """In a locale without the subject's letters the pin is printed all the same."""
    file = tmp_path / "leaf.pem"
    node = make_node("Čapek")
    file.write_bytes(node.pem)
    result = spawn("pins", file, encoding="latin-1")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{node.pin}\t0\tCN=\\u010capek\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_a_table(tmp_path: Path) -> None:
    """On a terminal `pins` prints a table, with no escape sequence where NO_COLOR asks for none."""
    import pty

    file = tmp_path / "chain.pem"
    file.write_bytes(SERVER.chain_pem)
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "pinverify", "pins", str(file)]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(command, stdout=theirs, env=env, check=True, timeout=120)
        output = terminal.read(1 << 16).decode()
        os.close(theirs)
    assert "the pin of its key" in output
    assert str(SERVER.pin) in output
    assert "\x1b" not in output
