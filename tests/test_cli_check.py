# SPDX-License-Identifier: Apache-2.0
"""`pinverify check`: the diagnosis and the chain, for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support import Node, intermediate, leaf, make_node, root, server_ssl, serving
from test_cli import pinverify

from pinverify import Pin, Policy

HOST = "localhost"
NODE = leaf(HOST, "127.0.0.1", "::1")
ABSENT = Pin(bytes(32))


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(root().pem)
    return path


def test_the_chain_as_json(trust: Path) -> None:
    """Each certificate, verified or only sent, has its place, key, pin, days, and whether it is pinned."""
    stranger = make_node("stranger", is_ca=True)
    with serving(server_ssl(NODE, extra=(stranger,))) as seen:
        where = f"{HOST}:{seen.port}"
        result = pinverify("check", where, "--pin", intermediate().pin, "--trust", trust, "--format", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["accepted"], found["reason"], found["depth"]) == (0, True, "PINNED", 1)
    assert (found["host"], found["entry"], found["diagnosis"]) == (HOST, HOST, None)
    assert found["expected"] == [str(intermediate().pin)]
    places = [(link["depth"], link["sent"], link["matched"], link["pin"]) for link in found["chain"]]
    assert places == [
        (0, True, False, str(NODE.pin)),
        (1, True, True, str(intermediate().pin)),
        (2, False, False, str(root().pin)),
        (None, True, False, str(stranger.pin)),
    ]
    first = found["chain"][0]
    assert (first["subject"], first["issuer"], first["key"]) == (
        "CN=localhost",
        "CN=root intermediate",
        "P-256",
    )
    assert first["days_left"] == 29


@pytest.mark.parametrize(
    ("kind", "key"), [("RSA-2048", "RSA 2048"), ("Ed25519", "Ed25519"), ("P-384", "P-384")]
)
def test_kinds_of_keys(kind: str, key: str, trust: Path) -> None:
    """A key is named as people name it."""
    node = intermediate().issue(HOST, kind=kind)
    with serving(server_ssl(node)) as seen:
        result = pinverify(
            "check", f"{HOST}:{seen.port}", "--pin", node.pin, "--trust", trust, "--format", "json"
        )
    assert json.loads(result.stdout)["chain"][0]["key"] == key


def test_by_a_policy_file(trust: Path, tmp_path: Path) -> None:
    """--policy takes the place of --pin; one of the two has to be there."""
    path = tmp_path / "policy.toml"
    Policy({HOST: [NODE.pin]}).dump(path)
    with serving(server_ssl(NODE)) as seen:
        where = f"{HOST}:{seen.port}"
        assert pinverify("check", where, "--policy", path, "--trust", trust).exit_code == 0
        for options in ([], ["--policy", path, "--pin", NODE.pin], ["--policy", tmp_path / "missing"]):
            result = pinverify("check", where, *options)
            assert (result.exit_code, result.stdout) == (2, "")


FORMER = {
    "rotated": (intermediate().issue(HOST), "another key than before"),
    "another CA": (root().issue_ca("another").issue(HOST), "another CA than before"),
}


@pytest.mark.parametrize(("server", "words"), FORMER.values(), ids=FORMER)
def test_compared_with_a_former_chain(server: Node, words: str, trust: Path, tmp_path: Path) -> None:
    """--former has the chain that the host had, and the diagnosis says what has changed."""
    former = tmp_path / "former.pem"
    former.write_bytes(b"".join(node for node in (NODE.chain_pem, root().pem)))
    with serving(server_ssl(server)) as seen:
        where = f"{HOST}:{seen.port}"
        result = pinverify("check", where, "--pin", NODE.pin, "--trust", trust, "--former", former)
    assert result.exit_code == 1
    assert words in result.stdout.splitlines()[0]
    assert f'add it to the entry: "{server.pin}"' in result.stdout


@pytest.mark.slow
def test_on_a_terminal_it_is_a_table(trust: Path) -> None:
    """There the chain has columns, and no pin is broken; NO_COLOR takes the colours away."""
    with serving(server_ssl(NODE)) as seen:
        command = ["check", f"{HOST}:{seen.port}", "--pin", str(ABSENT), "--trust", str(trust)]
        text = on_a_terminal(*command)
    assert "days left" in text
    assert str(NODE.pin) in text
    assert "issued by CN=root intermediate" in text
    assert str(ABSENT) in text
    assert "\x1b" not in text


def on_a_terminal(*command: str) -> str:
    """What a command prints on a terminal of 100 columns."""
    near, far = pty.openpty()
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "pinverify", *command], stdout=far, stdin=far, env=env)
    os.close(far)
    text = b""
    try:
        while data := os.read(near, 1 << 16):
            text += data
    except OSError:  # the other end is closed
        pass
    process.wait(60)
    os.close(near)
    return text.decode()
