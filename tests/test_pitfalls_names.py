# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: over whose name was asked for (P02, P08)."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi
from support import accepting, intermediate, leaf, make_node, root, server_ssl, shake

from pinverify import PinnedContext, PinRefused, Reason, client_context

HOST = "host.test"


def pinned_ca(*hosts: str) -> PinnedContext:
    """A context that pins the CA for these hosts: of its customers, each must still show the right name."""
    return client_context({host: [intermediate().pin] for host in hosts}, trust=root().pem)


def raw(context: PinnedContext, sni: bytes | None) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if sni is not None:
        connection.set_tlsext_host_name(sni)
    return connection


def test_p02_another_customer_of_the_pinned_ca_is_refused() -> None:
    """With a CA pinned, its certificate for another host does not do, though nobody asked for a check."""
    context = pinned_ca(HOST)
    error, _ = shake(raw(context, HOST.encode()), accepting(server_ssl(leaf("customer.test"))))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.OPENSSL
    assert "hostname mismatch" in str(error)
    assert shake(raw(context, HOST.encode()), accepting(server_ssl(leaf(HOST)))) == (None, None)


def test_p02_part_of_a_label_is_no_wildcard() -> None:
    """A wildcard stands for a whole label (RFC 9525 6.3): "h*.test" is no certificate for host.test."""
    for pattern, is_accepted in (("h*.api.test", False), ("*.api.test", True)):
        server = server_ssl(intermediate().issue(pattern))
        error, _ = shake(raw(pinned_ca("host.api.test"), b"host.api.test"), accepting(server))
        assert (error is None) == is_accepted


def test_p02_a_connection_without_a_reference_name_is_refused() -> None:
    """In a context for several hosts a connection has to say which one it wants; the message says how."""
    error, _ = shake(raw(pinned_ca(HOST, "other.test"), None), accepting(server_ssl(leaf(HOST))))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.NO_REFERENCE
    assert "set_tlsext_host_name" in str(error)


def test_p02_a_context_for_one_host_holds_that_host() -> None:
    """In a context for one host a connection that names none is held to that one."""
    context = pinned_ca(HOST)
    assert shake(raw(context, None), accepting(server_ssl(leaf(HOST)))) == (None, None)
    error, _ = shake(raw(context, None), accepting(server_ssl(leaf("customer.test"))))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.OPENSSL


def test_p02_a_common_name_is_no_name() -> None:
    """A host in the subject alone does not count (NEVER_CHECK_SUBJECT; RFC 9525 2)."""

    nameless = make_node(HOST, issuer=intermediate())
    error, _ = shake(raw(pinned_ca(HOST), None), accepting(server_ssl(nameless)))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.OPENSSL


def test_p02_a_partial_wildcard_is_no_name() -> None:
    """A certificate for h*.test does not name host.test (NO_PARTIAL_WILDCARDS; RFC 9525 6.3)."""
    error, _ = shake(raw(pinned_ca(HOST), None), accepting(server_ssl(leaf("h*.test"))))
    assert isinstance(error, PinRefused)
    wildcard = pinned_ca("a.host.test")
    assert shake(raw(wildcard, None), accepting(server_ssl(leaf("*.host.test")))) == (None, None)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_p02_an_address_is_a_name_too(address: str) -> None:
    """An IP address is bound and checked, in a context for one host and for several."""
    for context in (pinned_ca(address), pinned_ca(address, HOST)):
        assert shake(context.connection(address), accepting(server_ssl(leaf(address)))) == (None, None)
        for wrong in ("127.0.0.2", "::2", HOST):
            error, _ = shake(context.connection(address), accepting(server_ssl(leaf(wrong))))
            assert isinstance(error, PinRefused), wrong
            assert error.verdict.reason is Reason.OPENSSL
            assert error.verdict.host == address


def test_p02_in_a_context_for_one_host_an_address_is_not_that_host() -> None:
    """A connection that was made for an address is held to it, and not to the one host of its context."""
    server = server_ssl(leaf(HOST, "127.0.0.1"))
    error, _ = shake(pinned_ca(HOST).connection("127.0.0.1"), accepting(server))
    assert isinstance(error, PinRefused)
    assert (error.verdict.reason, error.verdict.host) == (Reason.UNLISTED, "127.0.0.1")


def address_of(connection: SSL.Connection) -> int:
    return int(ffi.cast("uintptr_t", connection._ssl))


def test_p02_a_connection_does_not_inherit_a_host() -> None:
    """A connection that says nothing is not held to the host of one that was at its address before."""
    context, others = pinned_ca("127.0.0.1", HOST), list[SSL.Connection]()
    for _ in range(1000):
        former = address_of(context.connection("127.0.0.1"))  # of which nothing is left
        client = raw(context, None)
        if address_of(client) == former:
            break
        others.append(client)
    assert address_of(client) == former
    error, _ = shake(client, accepting(server_ssl(leaf("127.0.0.1"))))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.NO_REFERENCE


def test_p06_a_host_that_would_never_be_forgotten_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody could take a connection's host back when it is gone, it gets none."""

    def no_memory(*arguments: object) -> None:
        raise MemoryError

    context = pinned_ca("127.0.0.1", HOST)
    client = raw(context, None)
    with monkeypatch.context() as patch:
        patch.setattr("weakref.finalize", no_memory)
        with pytest.raises(MemoryError):
            context._guard.bind(client, "127.0.0.1")
    assert context._guard.reference(client._ssl) == ""
    context._guard.bind(client, "127.0.0.1")
    assert context._guard.reference(client._ssl) == "127.0.0.1"


@pytest.mark.parametrize("spelling", ["HOST.Test", "host.test.", "HOST.TEST."])
def test_p08_another_spelling_of_the_host_is_pinned_all_the_same(spelling: str) -> None:
    """Case and a last dot, in the policy or in the server name, neither lose the pins nor the connection."""
    good, bad = server_ssl(leaf(HOST)), server_ssl(root().issue_ca("unpinned").issue(HOST))
    for context in (pinned_ca(spelling, "other.test"), pinned_ca(HOST, "other.test")):
        for connect in (lambda c: c.connection(spelling), lambda c: raw(c, spelling.rstrip(".").encode())):
            assert shake(connect(context), accepting(good)) == (None, None)
            error, _ = shake(connect(context), accepting(bad))
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is Reason.NOT_PINNED


@pytest.mark.parametrize(
    "sni", [b"https://host.test", b"host.test:443", b"127.0.0.1", b"*.host.test", b"a..b", b"h\xf6st"]
)
def test_p08_a_server_name_that_is_none_is_refused(sni: bytes) -> None:
    """What is not a host name does not come to mean "no pin"; the refusal says what is wrong."""
    context = client_context({HOST: [intermediate().pin]}, trust=root().pem)
    error, _ = shake(raw(context, sni), accepting(server_ssl(leaf(HOST))))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.BAD_REFERENCE


def test_p08_an_unlisted_host_is_refused_unless_the_policy_says_otherwise() -> None:
    """A host without an entry is refused by default; with "pkix" it is OpenSSL's, name included."""
    node = leaf("unlisted.test")
    for unlisted, reason in (("deny", Reason.UNLISTED), ("pkix", Reason.UNLISTED_OK)):
        from pinverify import Policy

        policy = Policy({HOST: [intermediate().pin]}, unlisted=unlisted)  # type: ignore[arg-type]
        context = client_context(policy, trust=root().pem)
        shake(context.connection("unlisted.test"), accepting(server_ssl(node)))
        assert context.stats().by_reason[reason] == 1
        shake(context.connection("unlisted.test"), accepting(server_ssl(leaf("customer.test"))))
        assert context.stats().accepted == (reason is Reason.UNLISTED_OK)
