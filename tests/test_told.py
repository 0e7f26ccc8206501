# SPDX-License-Identifier: Apache-2.0
"""What is told of a refusal: to whom, and from which call it is raised; and what is said later on."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from pinned import ABSENT, HOST, both_versions, open_pair, pinned, raw, refusal
from support import (
    PATIENCE,
    Background,
    accepting,
    intermediate,
    leaf,
    make_node,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)

import pinverify
from pinverify import PinnedContext, PinRefused, PinSet, Reason, Verdict, client_context
from pinverify.engine import openssl

# -- From which call a refusal is raised --


def refuse_unheard(context: PinnedContext) -> SSL.Connection:
    """A refused connection whose refusal nobody has raised: pyOpenSSL was not asked for the handshake."""
    client, far = raw(context), accepting(server_ssl(leaf(HOST)))
    for _ in range(3):
        lib.SSL_do_handshake(client._ssl)
        with suppress(SSL.Error):
            far.bio_write(client.bio_read(1 << 16))
        with suppress(SSL.Error):
            far.do_handshake()
        with suppress(SSL.Error):
            client.bio_write(far.bio_read(1 << 16))
    assert context.stats().refused == 1
    lib.ERR_clear_error()
    return client


def refused_untold() -> SSL.Error:
    """What a handshake raises that OpenSSL alone refuses, in a pinned context: no refusal is told."""
    deaf = pinned()
    for name in ("msg", "tlsext_servername", "info"):
        getattr(lib, f"SSL_CTX_set_{name}_callback")(deaf._context, ffi.NULL)
    lib.SSL_CTX_set_verify(deaf._context, SSL.VERIFY_PEER, ffi.NULL)
    client = raw(deaf)
    error, _ = shake(client, accepting(server_ssl(leaf(HOST, under="another root"))))
    assert isinstance(error, SSL.Error)
    assert "certificate verify failed" in str(error)
    return error


def test_p05_a_refusal_is_its_own_threads() -> None:
    """A refusal that one thread has heard of is not raised in another one."""
    client = refuse_unheard(pinned(pin=ABSENT))
    error = Background(refused_untold).result(PATIENCE)
    assert not isinstance(error, PinRefused)
    assert client.get_peer_certificate() is None


def test_p05_an_old_refusal_is_not_another_errors_story() -> None:
    """A connection that fails for another reason says so, though a refusal was not raised before."""
    client = raw(pinned())
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    refuse_unheard(pinned(pin=ABSENT))
    client.bio_write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(SSL.Error) as caught:
        client.do_handshake()
    assert not isinstance(caught.value, PinRefused)
    assert caught.value.args[0]


def test_p05_a_refusal_is_raised_once() -> None:
    """What has been raised is not raised again by the next connection that is refused."""
    refusal(raw(pinned(pin=ABSENT)), accepting(server_ssl(leaf(HOST))))
    assert not isinstance(refused_untold(), PinRefused)


def test_a_refusal_leaves_one_error_of_openssls() -> None:
    """It is told by library and reason; those of a verification that failed, and no others."""
    library, reason = openssl.ERROR_LIBRARY_SSL, openssl.ERROR_CERTIFICATE_VERIFY_FAILED
    assert openssl.is_verification_failure(library << 23 | reason)
    for code in (0, reason, library << 23, library << 23 | reason + 1, library + 1 << 23 | reason):
        assert not openssl.is_verification_failure(code)


# -- To whom it is told, and with what --


def test_a_hook_hears_of_violations_alone() -> None:
    """`on_violation` is for verdicts on pins: it is not called for a host, a name or a CA that is refused."""
    heard = list[Verdict]()
    context = pinned(pin=ABSENT, on_violation=heard.append)
    cases = [
        (leaf("elsewhere.test"), "elsewhere.test", Reason.UNLISTED),
        (leaf("elsewhere.test"), HOST, Reason.OPENSSL),
        (leaf(HOST, under="another root"), HOST, Reason.OPENSSL),
        (leaf(HOST), HOST, Reason.NOT_PINNED),
    ]
    for node, host, reason in cases:
        verdict = refusal(raw(context, host=host), accepting(server_ssl(node))).verdict
        assert verdict.reason is reason
    assert [verdict.reason for verdict in heard] == [Reason.NOT_PINNED]


@both_versions
def test_without_a_ca_a_refusal_is_about_the_leaf(version: int) -> None:
    """What was not looked at is not shown as the chain that was."""
    server = server_ssl(leaf(HOST), version=version)
    verdict = refusal(raw(client_context({HOST: [ABSENT]}, trust="pins")), accepting(server)).verdict
    assert verdict.chain == (leaf(HOST).der,)
    assert verdict.sent == (leaf(HOST).der, intermediate().der)


# -- Later on --


@both_versions
def test_p01_without_a_ca_the_verdict_is_on_the_leaf(version: int) -> None:
    """A connection that the leaf has opened is judged by the leaf, whatever OpenSSL knows of its chain."""
    pins = PinSet([leaf(HOST).pin], deny=[intermediate().pin])
    client, _ = open_pair(client_context({HOST: pins}, trust="pins"), server_ssl(leaf(HOST), version=version))
    verdict = pinverify.verdict(client)
    assert (verdict.reason, verdict.chain) == (Reason.PINNED, (leaf(HOST).der,))


@both_versions
@pytest.mark.parametrize("padding", [10_000, 15_000, 17_000, 60_000])
def test_a_large_chain_is_judged_again(padding: int, version: int) -> None:
    """The verdict has the chain whole, whether it fits in what the engine in C has room for or not."""
    node = root().issue(HOST, padding=padding)
    client, _ = open_pair(
        client_context({HOST: [root().pin]}, trust=root().certificate), server_ssl(node, version=version)
    )
    verdict = pinverify.verdict(client)
    assert (verdict.reason, verdict.depth, list(verdict.chain)) == (Reason.PINNED, 1, node.ders)


@both_versions
def test_a_ca_above_a_pinned_leaf_may_be_of_any_size(version: int) -> None:
    """A certificate that cannot change the verdict is not looked at, and one that can is."""
    authority = make_node("large", issuer=root(), is_ca=True, padding=66_000)
    node = authority.issue(HOST)
    server = server_ssl(node, version=version)
    for pins, reason in (
        (PinSet([node.pin]), Reason.PINNED),
        (PinSet([node.pin], deny=[ABSENT]), Reason.MALFORMED),
        (PinSet([root().pin]), Reason.MALFORMED),
    ):
        context = client_context({HOST: pins}, trust=root().certificate)
        shake(raw(context), accepting(server))
        assert context.stats().by_reason[reason] == 1


def resumed(context: PinnedContext, version: int) -> SSL.Connection:
    """A connection of `context` that has resumed a session."""
    server = server_ssl(leaf(HOST), version=version)
    client = raw(context)
    use_session(client, session_after(raw(context), accepting(server)))
    assert shake(client, accepting(server)) == (None, None)
    assert was_resumed(client)
    return client


@both_versions
def test_what_openssl_refuses_after_it_has_called_back_for_the_leaf_is_told(version: int) -> None:
    """OpenSSL looks at name constraints (RFC 5280 4.2.1.10) when the pins have accepted the chain already."""
    node = root().issue_ca("constrained", permits="elsewhere.test").issue(HOST)
    context, server = pinned(pin=node.pin), accepting(server_ssl(node, version=version))
    error = refusal(raw(context), server)
    assert error.verdict.reason is Reason.OPENSSL
    assert "permitted subtree violation (X509 error 47 at depth 0)" in error.verdict.explain()
    assert context.stats().refused == 1


@both_versions
def test_a_session_that_is_refused_is_of_the_host_asked_for(version: int) -> None:
    """A refusal of a session names the host that the connection asked for, at Finished too; where OpenSSL no
    longer tells it, as in TLS 1.2, the session's.
    """
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    server.set_tlsext_servername_callback(lambda connection: None)
    sessions = [session_after(raw(context), accepting(server)) for _ in range(2)]
    client = raw(context, host="other.example.com")
    use_session(client, sessions[0])
    verdict = refusal(client, accepting(server)).verdict
    assert (verdict.reason, verdict.host) == (Reason.SESSION, "other.example.com")
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
    client = raw(context, host="other.example.com")
    use_session(client, sessions[1])
    verdict = refusal(client, accepting(server)).verdict
    host = "other.example.com" if version == SSL.TLS1_3_VERSION else HOST
    assert (verdict.reason, verdict.host) == (Reason.INTERNAL, host)


@both_versions
def test_p10_a_resumed_connection_does_not_outlive_its_pins(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its verdict is that of pins that have expired, when they have."""
    then = datetime.now(timezone.utc) + timedelta(days=60)
    pins = PinSet([leaf(HOST).pin], expires=then)
    client = resumed(client_context({HOST: pins}, trust=root().certificate), version)
    assert pinverify.verdict(client).reason is Reason.RESUMED
    late = time.time() + 61 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: late)
    with pytest.raises(PinRefused) as caught:
        pinverify.verdict(client)
    assert caught.value.verdict.reason is Reason.EXPIRED
