# SPDX-License-Identifier: Apache-2.0
"""A pinned context is a Context: what it can be told before its first connection, and what it keeps to."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import certifi
import pytest
from OpenSSL import SSL
from OpenSSL._util import lib as openssl_lib
from OpenSSL.crypto import X509
from pinned import ABSENT, HOST, open_pair, pinned, raw, refusal
from support import accepting, client_ssl, exchange, intermediate, leaf, root, server_ssl, shake

import pinverify
from pinverify import (
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    client_context,
    server_context,
    trust,
)

Setting = Callable[[SSL.Context], object]

# What a Context can be told. Nothing of it may let a server in whose key is not pinned.
SETTINGS: dict[str, Setting] = {
    "set_session_cache_mode": lambda context: context.set_session_cache_mode(SSL.SESS_CACHE_BOTH),
    "set_timeout": lambda context: context.set_timeout(60),
    "set_options": lambda context: context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION),
    "set_mode": lambda context: context.set_mode(SSL.MODE_RELEASE_BUFFERS),
    "set_min_proto_version": lambda context: context.set_min_proto_version(SSL.TLS1_3_VERSION),
    "set_max_proto_version": lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION),
    "set_cipher_list": lambda context: context.set_cipher_list(b"ECDHE+AESGCM"),
    "set_verify_depth": lambda context: context.set_verify_depth(4),
    "set_app_data": lambda context: context.set_app_data("mine"),
    "set_session_id": lambda context: context.set_session_id(b"mine"),
    "set_alpn_protos": lambda context: context.set_alpn_protos([b"h2"]),
    "set_info_callback": lambda context: context.set_info_callback(lambda *_: None),
    "set_keylog_callback": lambda context: context.set_keylog_callback(lambda *_: None),
    "set_ocsp_client_callback": lambda context: context.set_ocsp_client_callback(lambda *_: True),
    "set_cookies": lambda context: (
        context.set_cookie_generate_callback(lambda *_: b"cookie"),
        context.set_cookie_verify_callback(lambda *_: True),
    ),
    "set_default_verify_paths": lambda context: context.set_default_verify_paths(),
    "get_cert_store": lambda context: context.get_cert_store(),
    "use_certificate": lambda context: (
        context.use_certificate(leaf("device").certificate),
        context.use_privatekey(leaf("device").key),
    ),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


@every_setting
def test_a_context_takes_what_a_context_takes(setting: Setting) -> None:
    """Each setting is taken, the right server is accepted after it as before, and the wrong one refused."""
    for pin, is_accepted in ((None, True), (ABSENT, False)):
        context = pinned(pin=pin)
        setting(context)
        client, server = raw(context), accepting(server_ssl(leaf(HOST)))
        error, _ = shake(client, server)
        if is_accepted:
            assert error is None
            assert pinverify.verdict(client).reason is Reason.PINNED
            assert exchange(client, server) == b"ping"
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is Reason.NOT_PINNED


def test_it_is_a_context() -> None:
    """It is one for `isinstance`, says which engine decides and by what policy, and serves any number."""
    context = pinned()
    assert isinstance(context, SSL.Context)
    assert context.engine in {"native", "python"}
    assert list(context.policy.hosts) == [HOST]
    server = server_ssl(leaf(HOST))
    for _ in range(3):
        open_pair(context, server)
    assert context.stats().accepted == 3


def test_settings_end_with_the_first_connection() -> None:
    """What it is told later is refused, or taken where pyOpenSSL is too old to know: the pins stay."""
    for setting in SETTINGS.values():
        context = pinned(pin=ABSENT)
        raw(context)
        with warnings.catch_warnings(), suppress(ValueError, PinverifyError):
            warnings.simplefilter("ignore", DeprecationWarning)
            setting(context)
        assert refusal(raw(context), accepting(server_ssl(leaf(HOST)))).verdict.reason is Reason.NOT_PINNED


def test_anchors_are_settled_with_the_first_connection() -> None:
    """The store of a context in use stays as it is, and the error says so."""
    context = pinned()
    raw(context)
    changes = (
        context.get_cert_store,
        context.set_default_verify_paths,
        lambda: context.load_verify_locations(certifi.where()),
    )
    for change in changes:
        # An older pyOpenSSL does not know what is in use. There the context gets a store of its own.
        knows = hasattr(context, "_used")
        with pytest.raises(PinverifyError, match="once it has made a connection") if knows else nullcontext():
            change()


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION, 0])
def test_no_version_below_tls_1_2(version: int) -> None:
    """The floor can be raised, and not lowered; 0 would mean the lowest there is."""
    for context in (pinned(), server_context(leaf(HOST).identity, clients=[ABSENT])):
        with pytest.raises(PinverifyError, match=r"below TLS 1\.2"):
            context.set_min_proto_version(version)


def test_an_old_server_is_not_talked_to() -> None:
    """A server that knows nothing above TLS 1.1 gets no handshake, with either version asked for."""
    old = server_ssl(leaf(HOST))
    old.set_min_proto_version(SSL.TLS1_VERSION)
    old.set_max_proto_version(SSL.TLS1_1_VERSION)
    old.set_cipher_list(b"ALL@SECLEVEL=0")
    for minimum in ("TLSv1.2", "TLSv1.3"):
        error, _ = shake(raw(pinned(minimum_version=minimum)), accepting(old))
        assert isinstance(error, SSL.Error)


def test_minimum_version() -> None:
    """minimum_version="TLSv1.3" keeps a TLS 1.2 server out, and lets one with 1.3 in."""
    context = pinned(minimum_version="TLSv1.3")
    error, _ = shake(raw(context), accepting(server_ssl(leaf(HOST), version=SSL.TLS1_2_VERSION)))
    assert isinstance(error, SSL.Error)
    client, _ = open_pair(context, server_ssl(leaf(HOST)))
    assert client.get_protocol_version_name() == "TLSv1.3"


# -- Trust anchors --


def with_added(add: Callable[[PinnedContext], object]) -> PinnedContext:
    """A context that trusts another root, to which `add` adds the one of the tests."""
    context = client_context({HOST: [leaf(HOST).pin]}, trust=root("another root").certificate)
    add(context)
    return context


def test_anchors_can_be_added(tmp_path: Path) -> None:
    """By store or by file; the server's root is trusted then, and its key has to be pinned all the same."""
    file = tmp_path / "root.pem"
    file.write_bytes(root().pem)

    def to_store(context: PinnedContext) -> None:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(X509.from_cryptography(root().certificate))

    for add in (to_store, lambda context: context.load_verify_locations(str(file))):
        context = with_added(add)
        assert shake(raw(context), accepting(server_ssl(leaf(HOST)))) == (None, None)
        stranger = server_ssl(leaf(HOST, under="another root"))
        assert refusal(raw(context), accepting(stranger)).verdict.reason is Reason.NOT_PINNED


def test_anchors_that_are_added_are_one_contexts_own() -> None:
    """Contexts share the anchors that they were made with; what one adds, no other one trusts."""
    anchors = root("a third root").certificate
    before, changed = (client_context({HOST: [leaf(HOST).pin]}, trust=anchors) for _ in range(2))
    store = changed.get_cert_store()
    assert store is not None
    store.add_cert(X509.from_cryptography(root().certificate))
    after = client_context({HOST: [leaf(HOST).pin]}, trust=anchors)
    assert shake(raw(changed), accepting(server_ssl(leaf(HOST)))) == (None, None)
    for context in (before, after):
        assert refusal(raw(context), accepting(server_ssl(leaf(HOST)))).verdict.reason is Reason.OPENSSL


def test_trust_comes_in_many_shapes(tmp_path: Path) -> None:
    """A file, a directory, PEM, DER, cryptography's objects and pyOpenSSL's, one or many, mean the same."""
    file = tmp_path / "roots.pem"
    file.write_bytes(root("another root").pem + root().pem)
    certificate = root().certificate
    shapes = [file, str(file), tmp_path, file.read_bytes(), root().der, certificate, [root().pem, root().der]]
    for shape in [*shapes, X509.from_cryptography(certificate), iter([certificate]), (certificate,)]:
        context = client_context({HOST: [leaf(HOST).pin]}, trust=shape)
        assert shake(raw(context), accepting(server_ssl(leaf(HOST)))) == (None, None)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """Anchors are parsed once, but of a file as it is now."""
    file = tmp_path / "root.pem"
    for node, is_trusted in ((root("another root"), False), (root(), True), (root("a third root"), False)):
        file.write_bytes(node.pem)
        context = client_context({HOST: [leaf(HOST).pin]}, trust=file)
        error, _ = shake(raw(context), accepting(server_ssl(leaf(HOST))))
        assert (error is None) == is_trusted


def test_system_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the system's anchors count, SSL_CERT_FILE included; a CA of the tests is none of them."""
    server = server_ssl(leaf(HOST))
    context = client_context({HOST: [leaf(HOST).pin]})
    assert refusal(raw(context), accepting(server)).verdict.reason is Reason.OPENSSL
    file = tmp_path / "root.pem"
    file.write_bytes(root().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    context = client_context({HOST: [leaf(HOST).pin]})
    assert shake(raw(context), accepting(server)) == (None, None)


def test_the_systems_anchors_are_told_apart_by_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors of another file or directory are other anchors, and have another fingerprint."""
    fingerprints = set()
    for file, directory in (("/nowhere/a", "b"), ("/nowhere/", "ab"), ("/nowhere/a", ""), ("/nowhere/", "b")):
        monkeypatch.setenv("SSL_CERT_FILE", file)
        monkeypatch.setenv("SSL_CERT_DIR", directory)
        fingerprints.add(trust.load_anchors("system").fingerprint)
    assert len(fingerprints) == 4


def test_where_the_system_has_no_anchors_certifi_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenSSL finds neither file nor directory, the list of certifi stands in, whole."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(SSL.Context, "set_default_verify_paths", lambda context: None)
    monkeypatch.setattr(trust, "_system_directories", list)
    trust._system.cache_clear()
    try:
        context = client_context({HOST: [leaf(HOST).pin]})
    finally:
        trust._system.cache_clear()
    store = context.get_cert_store()
    assert store is not None
    listed = Path(certifi.where()).read_text(encoding="utf-8").count("-----BEGIN CERTIFICATE-----")
    assert openssl_lib.sk_X509_OBJECT_num(openssl_lib.X509_STORE_get0_objects(store._store)) == listed


# -- Counters --


def test_the_counters_tell_what_happened() -> None:
    """Each handshake that was judged is counted once, by its reason; what reports is counted as accepted."""
    policy = {
        HOST: PinSet([leaf(HOST).pin]),
        "wrong.test": PinSet([ABSENT]),
        "denied.test": PinSet([ABSENT], deny=[root().pin]),
        "report.test": PinSet([ABSENT], mode="report"),
    }
    context = client_context(policy, trust=root().certificate, on_violation=lambda verdict: None)
    for host in (HOST, HOST, "wrong.test", "denied.test", "report.test", "unlisted.test"):
        shake(raw(context, host=host), accepting(server_ssl(leaf(host))))
    shake(raw(context), accepting(server_ssl(leaf("elsewhere.test"))))
    stats = context.stats()
    assert (stats.accepted, stats.refused, stats.reported) == (3, 4, 1)
    assert {reason: count for reason, count in stats.by_reason.items() if count} == {
        Reason.PINNED: 2,
        Reason.NOT_PINNED: 2,
        Reason.DENIED: 1,
        Reason.UNLISTED: 1,
        Reason.OPENSSL: 1,
    }
    assert pinned().stats().accepted == 0  # another context's own


@pytest.mark.slow
def test_the_counters_lose_nothing_under_threads() -> None:
    """Eight threads on one context count to their sum."""
    context, server = pinned(), server_ssl(leaf(HOST))

    def work() -> None:
        for _ in range(50):
            open_pair(context, server)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert context.stats().accepted == 400


# -- Identities --


def test_a_client_shows_its_identity(tmp_path: Path) -> None:
    """Each shape of an identity makes the client show the same chain."""
    device = intermediate("clients").issue()
    chain, key, both = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "both.pem"
    chain.write_bytes(device.chain_pem)
    key.write_bytes(device.key_pem)
    both.write_bytes(device.key_pem + device.chain_pem)
    pairs = [(chain, key), (device.chain_pem, device.key_pem), (device.sent, device.key)]
    for identity in [*pairs, both, both.read_bytes(), (device.certificate, device.key)]:
        server = server_context(leaf(HOST).identity, clients=[device.pin])
        client, far = raw(pinned(identity=identity)), accepting(server)
        assert shake(client, far) == (None, None)
        assert pinverify.verdict(far).chain == (device.der,)


def test_a_server_asks_for_a_certificate() -> None:
    """A client without one is refused by OpenSSL; one that is known to another server too."""
    device = intermediate("clients").issue()
    server = server_context(leaf(HOST).identity, clients=[ABSENT])
    _, error = shake(raw(client_ssl()), accepting(server))
    assert "peer did not return a certificate" in str(error)
    _, error = shake(raw(client_ssl(device)), accepting(server))
    assert isinstance(error, PinRefused)
