# SPDX-License-Identifier: Apache-2.0
"""`pinverify lint`: what it prints where, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import intermediate, root, server_ssl, serving
from test_cli import pinverify, spawn

from pinverify import Pin, PinSet, Policy

HOST = "api.lint.test"
NODE = intermediate().issue(HOST, days=(-1, 90))
BACKUP = Pin(bytes(32))


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    Policy({HOST: [NODE.pin]}).dump(path)
    return path


def test_findings_are_text(policy: Path) -> None:
    """Each finding has its severity, entry, why and code, and below what to do; the sum goes to stderr."""
    result = pinverify("lint", policy)
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith(f"warning {HOST}: there is one pin")
    assert first.endswith("[no-backup]")
    assert second.startswith("        -> add the pin")
    assert result.stderr == "1 warning\n"


def test_findings_are_json(policy: Path) -> None:
    """With --format json they are a list of objects, and nothing else is on stdout."""
    result = pinverify("lint", policy, "--format", "json")
    [finding] = json.loads(result.stdout)
    assert finding.keys() == {"code", "severity", "entry", "why", "remedy"}
    assert (finding["code"], finding["severity"], finding["entry"]) == ("no-backup", "warning", HOST)
    assert (result.exit_code, result.stderr) == (1, "")


def test_a_pin_that_stands_twice(tmp_path: Path) -> None:
    """A policy does not show it any more; its file does, by entry and line."""
    path = tmp_path / "policy.toml"
    path.write_text(f'[[host]]\nname = "{HOST}"\npins = ["{NODE.pin}", "{BACKUP}", "{NODE.pin}"]\n')
    [finding] = json.loads(pinverify("lint", path, "--format", "json").stdout)
    assert (finding["code"], finding["severity"]) == ("duplicate-pin", "warning")
    assert finding["why"] == f"line 3: {HOST}: pins has the same pin twice"


def test_the_exit_status_depends_on_severity(policy: Path, tmp_path: Path) -> None:
    """--fail-on says which findings make it 1."""
    assert pinverify("lint", policy, "--fail-on", "error").exit_code == 0
    good = tmp_path / "good.toml"
    Policy({HOST: PinSet([NODE.pin, BACKUP], mode="report")}).dump(good)
    assert pinverify("lint", good).exit_code == 0
    assert pinverify("lint", good, "--fail-on", "info").exit_code == 1


def test_nothing_found(tmp_path: Path) -> None:
    """A good policy gives no output on stdout."""
    path = tmp_path / "policy.toml"
    Policy({HOST: [NODE.pin, BACKUP]}).dump(path)
    result = pinverify("lint", path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing found\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[host]]\nname = "a"\npins = ["x"]\n', "policy.toml:3: entry 'a': 'x' is not a pin"),
        ("unlistd = 5\n", "policy.toml:1: unknown key 'unlistd'; did you mean 'unlisted'?"),
        (None, "cannot be read: No such file"),
    ],
)
def test_no_policy_in_the_file(text: str | None, words: str, tmp_path: Path) -> None:
    """A file that is none is an error of usage, which names file, line and entry."""
    path = tmp_path / "policy.toml"
    if text is not None:
        path.write_text(text)
    result = pinverify("lint", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_live(policy: Path, tmp_path: Path) -> None:
    """--live asks the host where --connect-to has it."""
    anchors = tmp_path / "root.pem"
    anchors.write_bytes(root().pem)
    with serving(server_ssl(NODE)) as running:
        where = f"{HOST}=127.0.0.1:{running.port}"
        result = pinverify("lint", policy, "--live", "--trust", anchors, "--connect-to", where)
    assert result.exit_code == 1
    assert "[matched]" in result.stdout
    assert "[backup-in-chain]" in result.stdout
    assert pinverify("lint", policy, "--live", "--connect-to", "nonsense").exit_code == 2


@pytest.mark.slow
def test_no_colour_when_piped(policy: Path) -> None:
    """Neither in a pipe nor where NO_COLOR asks for none."""
    for environment in ({}, {"NO_COLOR": "1"}):
        assert "\x1b" not in spawn("lint", policy, **environment).stdout
