# SPDX-License-Identifier: Apache-2.0
"""Pins from one format into another, on the command line; and what shells complete."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import intermediate, leaf, server_ssl, serving
from test_cli import pinverify, spawn

from pinverify import InvalidPolicy, Pin, PinSet, Policy
from pinverify.formats import NAMES, WITHOUT_HOSTS, format_named

HOST = "api.example.com"
NODE = leaf(HOST)
KEYS = PinSet([NODE.pin, intermediate().pin])
CERTS = PinSet([NODE.cert_pin, intermediate().cert_pin])


# They know no hashes of certificates.
OF_KEYS = set(NAMES) - {"toml", "tlsa", "envoy", "bare"}


def policy_for(form: str) -> Policy:
    """One entry, with pins of a kind that the format knows."""
    return Policy({HOST: CERTS if form == "bare" else KEYS})


def hosts_of(text: str, form: str) -> dict[str, PinSet]:
    host = HOST if form in WITHOUT_HOSTS else None
    return dict(format_named(form).read(text.encode(), source="file", host=host).policy.hosts)


@pytest.mark.parametrize(("from_", "to"), [*itertools.product(NAMES, NAMES)])
def test_each_format_into_each(from_: str, to: str, tmp_path: Path) -> None:
    """The pins arrive whole, with the host named where a format names none; formats of keys refuse hashes of
    certificates.
    """
    file, policy = tmp_path / "pins", policy_for(from_)
    file.write_text(format_named(from_).write(policy).text)
    host = ["--host", HOST] if {from_, to} & WITHOUT_HOSTS else []
    result = pinverify("convert", file, "--from", from_, "--to", to, *host)
    if {from_, to} in [{"bare", other} for other in OF_KEYS] or (from_ != "bare" and to == "bare"):
        assert (result.exit_code, result.stdout) == (2, "")
        assert "no pins of that kind" in result.stderr
    else:
        assert result.exit_code == 0, result.stderr
        [(pattern, pins)] = hosts_of(result.stdout, to).items()
        assert (pattern, set(pins.allow)) == (HOST, set(policy.hosts[HOST].allow))


def test_the_policy_file_is_what_is_printed_by_default() -> None:
    """Of standard input too; the warnings are on standard error, and the exit status is 0."""
    result = pinverify("convert", "-", "--from", "okhttp", stdin=f"{HOST} {NODE.pin}\n".encode())
    assert (result.exit_code, result.stderr) == (0, "")
    assert hosts_of(result.stdout, "toml") == {HOST: PinSet([NODE.pin])}
    value = str(NODE.pin).replace("/", "//", 1).encode()
    result = pinverify("convert", "-", "--from", "curl", "--host", HOST, stdin=value)
    assert (result.exit_code, result.stderr[:9]) == (0, "warning: ")


def test_an_entry_is_picked_for_a_format_without_hosts(tmp_path: Path) -> None:
    """--host says which; where there are several and none is named, that is asked for."""
    file = tmp_path / "policy.toml"
    Policy({HOST: KEYS, "other.example": [NODE.pin]}).dump(file)
    result = pinverify("convert", file, "--from", "toml", "--to", "curl", "--host", "other.example")
    assert result.stdout == str(NODE.pin).replace("/", "//", 1) + "\n"
    result = pinverify("convert", file, "--from", "toml", "--to", "curl")
    assert (result.exit_code, "name the one to write" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent", "--from", "toml"], "absent': cannot be read"),
        (["-", "--from", "toml"], "standard input: the file is empty"),
        (["-", "--from", "curl"], "the file is empty"),
        (["-", "--from", "word"], "Invalid value for '--from'"),
    ],
)
def test_what_cannot_be_read(arguments: list[str], words: str) -> None:
    """The exit status is 2, nothing is printed, and the error says what is wrong."""
    result = pinverify("convert", *arguments, stdin=b"")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_host_that_nothing_needs_is_refused(tmp_path: Path) -> None:
    """It would otherwise be lost without a word."""
    file = tmp_path / "policy.toml"
    Policy({HOST: KEYS}).dump(file)
    result = pinverify("convert", file, "--from", "toml", "--to", "okhttp", "--host", HOST)
    assert (result.exit_code, "the file names its hosts" in result.stderr) == (2, True)


def test_what_the_target_cannot_say_is_refused(tmp_path: Path) -> None:
    """Denied keys are not dropped: nothing is printed."""
    file = tmp_path / "policy.toml"
    Policy({HOST: PinSet([NODE.pin], deny=[Pin(bytes(32))])}).dump(file)
    result = pinverify("convert", file, "--from", "toml", "--to", "okhttp")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "denies keys" in result.stderr


@pytest.mark.parametrize("form", NAMES)
def test_which_formats_know_hosts(form: str) -> None:
    """The list of those that do not is right: they alone write an entry that is named."""
    module, policy = format_named(form), policy_for(form)
    if form in WITHOUT_HOSTS:
        assert module.write(policy, host=HOST) == module.write(policy)
    else:
        with pytest.raises(InvalidPolicy, match="as a whole"):
            module.write(policy, host=HOST)


# -- pins, in these formats --


@pytest.mark.parametrize("form", NAMES)
def test_pins_in_each_format(form: str, tmp_path: Path) -> None:
    """The pins of a file become an entry for the host that is named."""
    file = tmp_path / "chain.pem"
    file.write_bytes(NODE.chain_pem)
    result = pinverify("pins", file, "--format", form, "--host", HOST)
    assert result.exit_code == 0, result.stderr
    [(pattern, pins)] = hosts_of(result.stdout, form).items()
    assert (pattern, set(pins.allow)) == (HOST, set(policy_for(form).hosts[HOST].allow))


def test_pins_of_a_server_are_for_it() -> None:
    """Its name is the host, and that nothing was verified is told."""
    with serving(server_ssl(leaf("localhost"))) as server:
        result = pinverify("pins", f"localhost:{server.port}", "--format", "toml", "--depth", 0)
    assert hosts_of(result.stdout, "toml") == {"localhost": PinSet([leaf("localhost").pin])}
    assert "NOT VERIFIED" in result.stderr


def test_depths_are_picked(tmp_path: Path) -> None:
    """Of a chain only what is asked for is shown, in any format; a depth that is not there is an error."""
    file = tmp_path / "chain.pem"
    file.write_bytes(NODE.chain_pem)
    lines = pinverify("pins", file, "--depth", 1).stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[str(intermediate().pin), "1"]]
    result = pinverify("pins", file, "--depth", 7)
    assert (result.exit_code, "nothing at depth 7" in result.stderr) == (2, True)


def test_what_has_no_such_pin_is_refused(tmp_path: Path) -> None:
    """A key has no hash of a certificate, a broken certificate no pin; and a file has no host."""
    key, broken, chain = tmp_path / "key.pem", tmp_path / "broken.der", tmp_path / "chain.pem"
    key.write_bytes(NODE.key_pem)
    broken.write_bytes(NODE.der[:-1])
    chain.write_bytes(NODE.chain_pem)
    for file, form, words in (
        (key, "bare", "hashes of certificates"),
        (broken, "toml", "depth 0 of"),
        (chain, "toml", "--host"),
    ):
        host = ["--host", HOST] if file is not chain else []
        result = pinverify("pins", file, "--format", form, *host)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr


# -- completion --


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    """It names the command; where the shell is installed, that finds no fault with it."""
    script = pinverify("completion", shell).stdout
    assert "_PINVERIFY_COMPLETE" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "offered"),
    [("pinverify con", "plain,convert"), ("pinverify convert - --from okh", "plain,okhttp")],
)
def test_bash_is_offered_commands_and_formats(words: str, offered: str) -> None:
    """What the script asks for at each TAB is answered."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert spawn(_PINVERIFY_COMPLETE="bash_complete", **asked).stdout.strip() == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    """A real bash that has read the script completes a command."""
    program = tmp_path / "pinverify"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pinverify "$@"\n')
    program.chmod(0o755)
    code = (
        'eval "$(pinverify completion bash)"; COMP_WORDS=(pinverify aud); COMP_CWORD=1;'
        ' _pinverify_completion pinverify; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "-c", code], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert run.stdout.strip() == "audit", run.stderr
