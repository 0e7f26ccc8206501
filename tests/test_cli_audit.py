# SPDX-License-Identifier: Apache-2.0
"""`pinverify audit`: what it writes, what it takes up again, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import intermediate, root, server_ssl, serving
from test_cli import pinverify

from pinverify import Pin, Policy

NODE = intermediate().issue("*.audit.test")
ACCEPTED, REFUSED, USAGE, NO_VERDICT, STOPPED = 0, 1, 2, 3, 130


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with root.pem and policy.toml."""
    (tmp_path / "root.pem").write_bytes(root().pem)
    Policy({"*.audit.test": [NODE.pin], "bad.audit.test": [Pin(bytes(32))]}).dump(tmp_path / "policy.toml")
    return tmp_path


def hosts(files: Path, port: int, *names: str) -> Path:
    path = files / "hosts.txt"
    path.write_text("".join(f"{name}.audit.test 127.0.0.1:{port}\n" for name in names) + "\n# the end\n")
    return path


def audit(files: Path, *options: object) -> Any:
    where = ["--policy", files / "policy.toml", "--trust", files / "root.pem"]
    return pinverify("audit", files / "hosts.txt", *where, *options)


def lines(path: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["target"] for line in found}) == len(found)
    return {line["target"]: line for line in found}


def test_outcomes_are_lines_of_json(files: Path) -> None:
    """One a host on stdout, and the sum on stderr."""
    with serving(server_ssl(NODE)) as running:
        hosts(files, running.port, "a", "b", "c")
        result = audit(files)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["target"] for line in found} == {f"{name}.audit.test:443" for name in "abc"}
    assert {(line["accepted"], line["reason"]) for line in found} == {(True, "PINNED")}
    assert (result.exit_code, result.stderr) == (ACCEPTED, "3 accepted, 0 refused, 0 without a verdict\n")


def test_the_exit_status(files: Path) -> None:
    """A refusal counts for more than a host that does not answer."""
    with serving(server_ssl(NODE)) as running:
        hosts(files, running.port, "a", "bad")
        assert audit(files).exit_code == REFUSED
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        hosts(files, port, "a")
        result = audit(files)
        assert (result.exit_code, result.stderr) == (
            NO_VERDICT,
            "0 accepted, 0 refused, 1 without a verdict\n",
        )


def test_it_is_taken_up_where_it_was_left(files: Path) -> None:
    """What the file has is not asked again, and a line that was cut off is written anew."""
    output = files / "out.jsonl"
    with serving(server_ssl(NODE)) as running:
        hosts(files, running.port, "a", "b")
        assert audit(files, "--output", output).exit_code == ACCEPTED
        before = output.read_bytes()
        with output.open("ab") as file:
            file.write(b'{"target": "c.audit.test:443", "acc')
        hosts(files, running.port, "a", "b", "c", "bad")
        result = audit(files, "--output", output)
    assert result.exit_code == REFUSED
    assert result.stderr == "3 accepted, 1 refused, 0 without a verdict\n"
    assert output.read_bytes().startswith(before)
    assert lines(output).keys() == {f"{name}.audit.test:443" for name in ("a", "b", "c", "bad")}


@pytest.mark.parametrize("text", ["not JSON\n", "notes", '{"target": 5}\nno', "[]\n", '{"other": 5}\n'])
def test_another_file_is_not_written_to(text: str, files: Path) -> None:
    """A file that is not an audit's stays as it is."""
    output = files / "notes.txt"
    output.write_text(text)
    hosts(files, 9, "a")
    result = audit(files, "--output", output)
    assert result.exit_code == USAGE
    assert "not the output of an audit" in result.stderr
    assert output.read_text() == text


BAD: dict[str, list[str]] = {
    "no hosts": ["missing.txt", "--policy", "policy.toml"],
    "no policy": ["hosts.txt", "--policy", "missing.toml"],
    "a directory": ["hosts.txt", "--policy", "policy.toml", "--output", "."],
    "no CAs": ["hosts.txt", "--policy", "policy.toml", "--trust", "missing.pem"],
    "no jobs": ["hosts.txt", "--policy", "policy.toml", "--jobs", "0"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_wrong_usage(arguments: list[str], files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said ahead of the first connection."""
    hosts(files, 9, "a")
    monkeypatch.chdir(files)
    result = pinverify("audit", *arguments)
    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert "Error: " in result.stderr


def test_a_bad_line(files: Path) -> None:
    """A line that is no host is named by its number."""
    (files / "hosts.txt").write_text("a.test\nhttps://b.test/\n")
    result = audit(files)
    assert result.exit_code == USAGE
    assert "line 2: 'https://b.test/'" in result.stderr


def _hear_of_ctrl_c() -> None:
    """A shell starts what runs in the background deaf to SIGINT, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_a_valid_file(files: Path) -> None:
    """Stopped in the middle, the file has whole lines, and the next run does the rest."""
    output = files / "out.jsonl"
    names = [f"h{number}" for number in range(600)]  # more than are done until the signal comes
    with serving(server_ssl(NODE)) as running:
        hosts(files, running.port, *names)
        command = [sys.executable, "-m", "pinverify", "audit", "hosts.txt", "--policy", "policy.toml"]
        command += ["--trust", "root.pem", "--output", "out.jsonl", "--jobs", "2"]
        process = subprocess.Popen(
            command, cwd=files, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_of_ctrl_c
        )
        while not output.exists() or output.read_bytes().count(b"\n") < 5:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == STOPPED, said
        assert "stopped; " in said
        assert 5 <= len(lines(output)) < len(names)
        result = audit(files, "--output", output, "--jobs", "8")
    assert (result.exit_code, len(lines(output))) == (ACCEPTED, len(names))
