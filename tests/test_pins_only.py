# SPDX-License-Identifier: Apache-2.0
"""What cannot be asked of a context without a CA: to leave a peer to OpenSSL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pinned import ABSENT, HOST, both_versions, open_pair, raw
from support import accepting, client_ssl, intermediate, leaf, root, server_ssl, shake
from test_cli import pinverify as command

import pinverify
from pinverify import InvalidPolicy, PinSet, Policy, Reason, client_context, server_context

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "report": ({"mode": "report"}, "mode='enforce'"),
    "pkix": ({"on_expiry": "pkix"}, "on_expiry='deny'"),
    "pkix, with a day": ({"on_expiry": "pkix", "expires": "2020-01-01"}, "on_expiry='deny'"),
}
every_option = pytest.mark.parametrize(("options", "instead"), OPTIONS.values(), ids=OPTIONS)


def asked(options: dict[str, Any]) -> str:
    """The option as a message has it."""
    name, value = next(iter(options.items()))
    return f"{name}={value!r}"


@every_option
def test_a_host_cannot_be_left_to_openssl_without_a_ca(options: dict[str, Any], instead: str) -> None:
    """The error names the pattern, the option, the reason and what to write; with a CA there is none."""
    hosts = {"other.test": [ABSENT], f"*.{HOST}": PinSet([ABSENT], **options)}
    with pytest.raises(InvalidPolicy) as caught:
        client_context(hosts, trust="pins")
    for words in (f"'*.{HOST}'", asked(options), "trust='pins'", "there is no CA", instead, "trust='ca.pem'"):
        assert words in str(caught.value)
    del hosts[f"*.{HOST}"]
    client_context(hosts, trust="pins")


@every_option
def test_a_client_cannot_be_left_to_openssl_without_a_ca(options: dict[str, Any], instead: str) -> None:
    """A server is without a CA by default, and says so."""
    clients = PinSet([ABSENT], **options)
    for trust in ({}, {"trust": "pins"}):
        with pytest.raises(InvalidPolicy) as caught:
            server_context(leaf(HOST).identity, clients=clients, **trust)
        for words in ("'clients'", asked(options), "the default of a server", instead):
            assert words in str(caught.value)


def test_hosts_without_an_entry_cannot_be_left_to_openssl_without_a_ca() -> None:
    """unlisted="pkix" is refused too, whichever way the policy was made."""
    policy = Policy({HOST: [ABSENT]}, unlisted="pkix")
    with pytest.raises(InvalidPolicy, match=r"unlisted='pkix'.* there is no CA.* Write unlisted='deny'"):
        client_context(policy, trust="pins")


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@every_option
def test_with_a_ca_it_is_left_to_openssl(options: dict[str, Any], instead: str) -> None:
    """The same policies make a context where there is a CA, at either end."""
    pins = PinSet([ABSENT], **options)
    client_context({HOST: pins}, trust=root().certificate)
    server_context(leaf(HOST).identity, clients=pins, trust=root().certificate)


@both_versions
def test_without_a_ca_pins_decide(version: int) -> None:
    """What is left of pins-only mode works at both ends: enforced pins, with a day on which they expire."""
    device = intermediate("clients").issue()
    pins = PinSet([leaf(HOST).pin, device.pin], expires="2099-01-01")
    client, _ = open_pair(client_context({HOST: pins}, trust="pins"), server_ssl(leaf(HOST), version=version))
    assert pinverify.verdict(client).reason is Reason.PINNED
    caller, server = client_ssl(device), accepting(server_context(leaf(HOST).identity, clients=pins))
    caller.set_max_proto_version(version)
    assert shake(raw(caller), server) == (None, None)
    assert pinverify.verdict(server).reason is Reason.PINNED


@pytest.mark.parametrize("name", ["check", "audit"])
def test_commands_take_it_for_wrong_usage(name: str, tmp_path: Path) -> None:
    """A policy file that only reports, with --trust pins: exit status 2, and the message."""
    policy, hosts = tmp_path / "policy.toml", tmp_path / "hosts.txt"
    Policy({HOST: PinSet([ABSENT], mode="report")}).dump(policy)
    hosts.write_text(f"{HOST}\n", encoding="utf-8")
    target = HOST if name == "check" else hosts
    result = command(name, target, "--policy", policy, "--trust", "pins")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mode='report'" in result.stderr
