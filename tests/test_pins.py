# SPDX-License-Identifier: Apache-2.0
"""Pins and sets of them: their texts, where they come from, and what is refused."""

from __future__ import annotations

import base64
import copy
import dataclasses
import datetime as dt
import hashlib
import pickle
import re
import warnings
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import example, given
from hypothesis import strategies as st

from pinverify.errors import InvalidPin, InvalidPolicy, MalformedCertificate, PinverifyError
from pinverify.pins import Kind, Pin, PinSet

DIGEST = hashlib.sha256(b"a key").digest()
B64 = base64.b64encode(DIGEST).decode()
DIGESTS = st.binary(min_size=32, max_size=32)
PINS = st.builds(Pin, DIGESTS, st.sampled_from(Kind))
UTC = dt.timezone.utc


def a_pin(number: int, kind: Kind = Kind.SPKI) -> Pin:
    return Pin(hashlib.sha256(b"%d" % number).digest(), kind)


# -- Text --


@given(PINS)
@example(Pin(b"\xff" * 32))
@example(Pin(b"\xfc" + bytes(31)))
def test_a_pin_survives_its_text(pin: Pin) -> None:
    """str and parse are inverse, also where the base64 starts with the slash that curl's form has."""
    assert Pin.parse(str(pin)) == pin
    assert Pin.parse(str(pin), kind=pin.kind) == pin
    assert eval(repr(pin)) == pin


@given(DIGESTS)
@example(b"\xff" * 32)
def test_every_form_gives_the_same_pin(digest: bytes) -> None:
    """The forms of curl, RFC 7469 and fingerprints are other spellings of the same pins."""
    b64, pairs = base64.b64encode(digest).decode(), [f"{octet:02x}" for octet in digest]
    assert Pin.parse(f"sha256/{b64}") == Pin(digest, Kind.SPKI)
    assert Pin.parse(f"sha256//{b64}") == Pin(digest, Kind.SPKI)
    assert Pin.parse(f'pin-sha256="{b64}"') == Pin(digest, Kind.SPKI)
    assert Pin.parse(f"cert-sha256/{b64}") == Pin(digest, Kind.CERT)
    for text in ("".join(pairs), "".join(pairs).upper(), ":".join(pairs), ":".join(pairs).upper()):
        assert Pin.parse(text, kind="spki") == Pin(digest, Kind.SPKI)
        assert Pin.parse(text, kind="cert") == Pin.parse(text, kind=Kind.CERT) == Pin(digest, Kind.CERT)


def base64_of(size: int) -> str:
    return base64.b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a pin; write 'sha256/"),
        (B64, "not a pin; write 'sha256/"),
        ("SHA256/" + B64, "not a pin; write 'sha256/"),
        ("sha256:" + B64, "not a pin; write 'sha256/"),
        (" sha256/" + B64, "not a pin"),
        (f"pin-sha256={B64}", "not a pin"),
        (f"pin-sha256='{B64}'", "not a pin"),
        ("sha256/", "0 bytes"),
        ("sha256/" + B64.rstrip("="), "padding"),
        ("sha256//" + B64.rstrip("="), "padding"),
        ("sha256/" + B64 + "=", "padding|base64"),
        ("sha256/" + B64 + "\n", "white space"),
        ("sha256/ " + B64, "white space"),
        ("sha256/" + B64[:20] + "\n" + B64[20:], "white space"),
        ("sha256/" + base64.urlsafe_b64encode(b"\xff" * 32).decode(), "URL-safe"),
        ("sha256/" + "A" * 42 + "B=", "leaves unused"),
        ("sha256/" + "é" * 43 + "=", "base64"),
        ("sha256/" + base64_of(31), "31 bytes"),
        ("sha256/" + base64_of(33), "33 bytes"),
        ("sha256/" + base64_of(16), "16 bytes, as a digest of MD5"),
        ("sha256/" + base64_of(20), "20 bytes, as a digest of SHA-1"),
        ("cert-sha256/" + base64_of(20), "SHA-1"),
        ('pin-sha256="' + base64_of(64) + '"', "64 bytes, as a digest of SHA-512"),
        ("sha256/" + DIGEST.hex(), "48 bytes"),
        ("sha1/" + base64_of(20), "SHA1, and only SHA-256"),
        ("sha-1/" + base64_of(20), "SHA-1, and only SHA-256"),
        ("md5/" + base64_of(16), "MD5"),
        ('pin-sha1="' + base64_of(20) + '"', "SHA1"),
        ("cert-sha1/" + base64_of(20), "SHA1"),
        ("sha512/" + base64_of(64), "SHA512"),
        ("SHA384:" + base64_of(48), "SHA384"),
        (DIGEST.hex(), "kind='spki'"),
        (DIGEST.hex(":"), "kind='spki'"),
        (DIGEST[:20].hex(), "20 bytes, as a digest of SHA-1"),
        (DIGEST[:20].hex(":"), "20 bytes, as a digest of SHA-1"),
        (DIGEST[:16].hex(), "16 bytes, as a digest of MD5"),
        (DIGEST.hex()[:-2], "31 bytes"),
        (DIGEST.hex()[:-1], "not a pin"),
        (DIGEST.hex(":", 2), "not a pin"),
        (DIGEST.hex(":") + ":", "not a pin"),
        (DIGEST.hex(" "), "not a pin"),
        (b"sha256/", "not the text of a pin"),
        (DIGEST, r"Pin\(digest\)"),
        (None, "not the text of a pin"),
    ],
)
def test_p09_what_is_no_pin_is_an_error(text: Any, says: str) -> None:
    """A digest that could never match (cut short, unpadded, of another hash or kind) is not taken."""
    with pytest.raises(InvalidPin, match=says):
        Pin.parse(text)


@pytest.mark.parametrize("text", [DIGEST[:20].hex(), DIGEST[:16].hex(":"), "sha1/" + base64_of(20)])
def test_p09_a_kind_does_not_make_a_weak_hash_good(text: str) -> None:
    """SHA-1 and MD5 are refused with a kind too."""
    with pytest.raises(InvalidPin, match=r"SHA-?1|MD5"):
        Pin.parse(text, kind="cert")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("sha256/", "cert"), ("sha256//", Kind.CERT), ("cert-sha256/", "spki"), ("cert-sha256/", Kind.SPKI)],
)
def test_p09_text_and_kind_must_not_contradict(text: str, kind: Kind | str) -> None:
    """The hash of a key cannot be taken for that of a certificate, or the other way round."""
    with pytest.raises(InvalidPin, match="kind says otherwise"):
        Pin.parse(text + B64, kind=kind)


@pytest.mark.parametrize("kind", ["SPKI", "key", "", 0, 1, b"spki"])
def test_an_unknown_kind_is_an_error(kind: Any) -> None:
    """A kind is 'spki', 'cert' or a member of Kind."""
    with pytest.raises(InvalidPin, match="'spki' and 'cert'"):
        Pin.parse(DIGEST.hex(), kind=kind)


@given(st.one_of(st.text(), st.text('sha256/cert-pin="AB+-_ :0af').map("sha256/".__add__)))
def test_parse_raises_nothing_but_invalid_pin(text: str) -> None:
    """Whatever the text, it is a pin that has that text or InvalidPin."""
    try:
        pin = Pin.parse(text)
    except InvalidPin:
        return
    assert str(pin).rpartition("/")[2] in text


@pytest.mark.parametrize("digest", [b"", DIGEST[:31], DIGEST + b"\0", bytearray(DIGEST), DIGEST.hex(), None])
def test_p09_a_digest_is_32_bytes(digest: Any) -> None:
    """A Pin cannot be made with anything but 32 bytes."""
    with pytest.raises(InvalidPin, match="32 bytes"):
        Pin(digest)


def test_a_pin_is_a_value() -> None:
    """Pins compare, sort and hash by content, cannot be changed, and can be pickled and copied."""
    pin, cert = Pin(DIGEST), Pin(DIGEST, Kind.CERT)
    assert pin != cert
    assert pin < cert
    assert len({pin, Pin(DIGEST), cert}) == 2
    assert pickle.loads(pickle.dumps(cert)) == copy.deepcopy(cert) == cert
    with pytest.raises(dataclasses.FrozenInstanceError):
        pin.digest = b""  # type: ignore[misc]


def test_an_error_is_short_and_tells_no_private_key() -> None:
    """Messages cut what they show, and show nothing of a PEM."""
    with pytest.raises(InvalidPin, match="in all") as caught:
        Pin.parse("sha256/" + "A" * 1_000_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(InvalidPin) as caught:
        Pin.parse("-----BEGIN PRIVATE KEY-----\nMC4CAQ")
    assert "MC4CAQ" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PinverifyError)


# -- Certificates and keys --


def certificate_of(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.public_key(key.public_key()).sign(key, hashes.SHA256())


KEY = ec.generate_private_key(ec.SECP256R1())
CERT = certificate_of(KEY, "a")
DER = CERT.public_bytes(Encoding.DER)
PEM = CERT.public_bytes(Encoding.PEM)
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def as_pyopenssl(cert: x509.Certificate) -> Any:
    from OpenSSL.crypto import X509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return X509.from_cryptography(cert)


@pytest.mark.parametrize(
    "cert",
    [DER, PEM, PEM.replace(b"\n", b"\r\n"), b"text ahead\n" + KEY_PEM + PEM, CERT, as_pyopenssl(CERT)],
    ids=["der", "pem", "crlf", "pem-with-key", "cryptography", "pyopenssl"],
)
def test_a_certificate_comes_in_many_shapes(cert: Any) -> None:
    """DER, PEM and the objects of both libraries give the same pins."""
    assert Pin.from_certificate(cert) == Pin(hashlib.sha256(SPKI).digest(), Kind.SPKI)
    assert Pin.from_certificate(cert, kind="cert") == Pin(hashlib.sha256(DER).digest(), Kind.CERT)
    assert Pin.from_certificate(cert, Kind.CERT).kind is Kind.CERT


@pytest.mark.parametrize(
    ("cert", "says"),
    [
        (PEM + PEM, "2 blocks of CERTIFICATE; choose"),
        (KEY_PEM, "there is PRIVATE KEY"),
        (PEM[:-10], "nothing complete"),
        (PEM.replace(b"M", b"!", 1), "not base64"),
        (PEM.decode(), "contents"),
        ("cert.pem", "contents"),
        (KEY, "a certificate was expected"),
        (None, "a certificate was expected"),
    ],
)
def test_p09_what_is_no_certificate_is_an_error(cert: Any, says: str) -> None:
    """What is not one certificate is refused, and the message says what it is."""
    for kind in Kind:
        with pytest.raises(InvalidPin, match=says):
            Pin.from_certificate(cert, kind=kind)


@pytest.mark.parametrize("der", [b"", b"garbage", DER[:-1], DER + b"\0", SPKI])
def test_p09_bytes_that_are_no_certificate_are_not_hashed(der: bytes) -> None:
    """The hash of anything but a certificate would never match, of either kind."""
    for kind in Kind:
        with pytest.raises(MalformedCertificate):
            Pin.from_certificate(der, kind=kind)


def armoured(label: str, der: bytes) -> bytes:
    return (
        f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()
    )


@pytest.mark.parametrize(
    "key", [SPKI, armoured("PUBLIC KEY", SPKI), KEY.public_key()], ids=["der", "pem", "object"]
)
def test_a_public_key_has_the_pin_of_its_certificate(key: Any) -> None:
    """A pin can be had of a key before there is a certificate."""
    assert Pin.from_public_key(key) == Pin.from_certificate(DER)


def test_a_public_key_is_hashed_as_it_stands() -> None:
    """A key with a compressed point has another hash, as its certificate would."""
    point = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    for key in (spki, armoured("PUBLIC KEY", spki)):
        assert (
            Pin.from_public_key(key).digest
            == hashlib.sha256(spki).digest()
            != Pin.from_public_key(SPKI).digest
        )


RSA = rsa.generate_private_key(65537, 2048)
ENCRYPTED = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
PKCS1 = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (KEY, "private key"),
        (KEY_PEM, "there is PRIVATE KEY"),
        (KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "private key"),
        (KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()), "private key"),
        (ENCRYPTED, "not a readable public key"),
        (RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()), "private key"),
        (PKCS1, "PKCS #1"),
        (armoured("RSA PUBLIC KEY", PKCS1), "there is RSA PUBLIC KEY"),
        (armoured("PUBLIC KEY", PKCS1), "PKCS #1"),
        (PEM, "there is CERTIFICATE"),
        (DER, "not a readable public key"),
        (CERT, "a public key was expected"),
        (SPKI + b"\0", "not a readable public key"),
        (b"", "SubjectPublicKeyInfo"),
        ("key.pem", "contents"),
        (None, "a public key was expected"),
    ],
)
def test_p09_what_is_no_public_key_is_an_error(key: Any, says: str) -> None:
    """Private keys, PKCS #1 and certificates have hashes that never match; the message tells no key."""
    with pytest.raises(InvalidPin, match=says) as caught:
        Pin.from_public_key(key)
    assert len(str(caught.value)) < 300


# -- Sets --


def test_a_set_keeps_order_and_drops_repetitions() -> None:
    """Pins come out as they went in, once each, whether given as pins or as texts."""
    one, two, cert = a_pin(1), a_pin(2), a_pin(1, Kind.CERT)
    pins = PinSet([two, str(one), cert, one, str(two)], deny=iter([a_pin(3), a_pin(3)]))
    assert pins.allow == (two, one, cert)
    assert pins.deny == (a_pin(3),)
    assert (pins.mode, pins.expires, pins.on_expiry) == ("enforce", None, "deny")


@pytest.mark.parametrize("allow", [[], (), iter(()), {}])
def test_p09_an_empty_set_is_an_error(allow: Any) -> None:
    """No pin at all is a mistake, and never means that all are accepted."""
    with pytest.raises(InvalidPin, match="no pin is allowed"):
        PinSet(allow, deny=[a_pin(1)])


@pytest.mark.parametrize("allow", ["sha256/" + B64, b"sha256/", a_pin(1), None, 7])
def test_p09_a_single_pin_goes_into_a_list(allow: Any) -> None:
    """A lone pin or text is not read letter by letter; the message says what to do."""
    with pytest.raises(InvalidPin, match="put pins in a list"):
        PinSet(allow)
    with pytest.raises(InvalidPin, match="put pins in a list"):
        PinSet([a_pin(2)], deny=allow)


def test_p09_a_pin_is_not_allowed_and_denied() -> None:
    """A contradiction is found when the set is made, and the pin is named."""
    with pytest.raises(InvalidPin, match=re.escape(f"{a_pin(2)} is both")):
        PinSet([a_pin(1), a_pin(2)], deny=[a_pin(2)])
    assert PinSet([a_pin(1)], deny=[a_pin(1, Kind.CERT)]).deny == (a_pin(1, Kind.CERT),)


def test_p09_a_bad_pin_in_a_set_is_an_error() -> None:
    """One bad pin among good ones is not skipped."""
    with pytest.raises(InvalidPin, match="31 bytes"):
        PinSet([a_pin(1), "sha256/" + base64_of(31)])
    with pytest.raises(InvalidPin, match=r"Pin\(digest\)"):
        PinSet([DIGEST])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"mode": "warn"}, "mode is 'warn', and has to be 'enforce' or 'report'"),
        ({"mode": None}, "'enforce' or 'report'"),
        ({"on_expiry": "open"}, "on_expiry is 'open', and has to be 'deny' or 'pkix'"),
        ({"expires": "soon"}, "expires is 'soon'"),
        ({"expires": "2027-02-30"}, "expires is '2027-02-30'"),
        ({"expires": "20270601"}, "ISO 8601"),
        ({"expires": "2027-W01-1"}, "ISO 8601"),
        ({"expires": "2027-06-01\n"}, "ISO 8601"),
        ({"expires": "2027-06-01T00:00:00"}, "offset from UTC"),
        ({"expires": dt.datetime(2027, 6, 1)}, "offset from UTC"),
        ({"expires": "0001-01-01T00:00+23:00"}, "expires is"),
        ({"expires": 1_800_000_000}, "expires is 1800000000"),
        ({"expires": ""}, "expires is ''"),
    ],
)
def test_p10_a_bad_option_is_an_error(option: dict[str, Any], says: str) -> None:
    """An option that is not understood is InvalidPolicy and says what is allowed; there is no fallback."""
    with pytest.raises(InvalidPolicy, match=says):
        PinSet([a_pin(1)], **option)


@pytest.mark.parametrize(
    ("expires", "moment"),
    [
        ("2027-06-01", dt.datetime(2027, 6, 1, tzinfo=UTC)),
        (dt.date(2027, 6, 1), dt.datetime(2027, 6, 1, tzinfo=UTC)),
        ("2027-06-01T12:30Z", dt.datetime(2027, 6, 1, 12, 30, tzinfo=UTC)),
        ("2027-06-01 12:30:15.999+02:00", dt.datetime(2027, 6, 1, 10, 30, 15, tzinfo=UTC)),
        (
            dt.datetime(2027, 6, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            dt.datetime(2027, 5, 31, 23, tzinfo=UTC),
        ),
        (dt.datetime(2027, 6, 1, 1, 1, 1, 999_999, tzinfo=UTC), dt.datetime(2027, 6, 1, 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_p10_an_expiry_is_a_moment_in_utc(expires: Any, moment: dt.datetime) -> None:
    """Dates and times are kept in UTC, never later than what was given."""
    kept = PinSet([a_pin(1)], expires=expires).expires
    assert kept == moment
    assert kept is not None
    assert kept.tzinfo is UTC


def test_a_set_is_a_value() -> None:
    """Sets compare and hash by what they mean, cannot be changed, and can be pickled and derived from."""
    pins = PinSet([a_pin(1), a_pin(2)], deny=[a_pin(3)], expires="2027-06-01")
    same = PinSet([a_pin(2), a_pin(1)], deny=[a_pin(3)], expires=dt.date(2027, 6, 1))
    assert pins == same
    assert hash(pins) == hash(same)
    assert pins != pins.allow
    assert pickle.loads(pickle.dumps(pins)) == copy.deepcopy(pins) == pins
    changes = (
        {"allow": [a_pin(1)]},
        {"deny": []},
        {"expires": None},
        {"on_expiry": "pkix"},
        {"mode": "report"},
    )
    assert not [change for change in changes if dataclasses.replace(pins, **change) == pins]
    report = dataclasses.replace(pins, mode="report")
    assert report.allow == pins.allow
    with pytest.raises(dataclasses.FrozenInstanceError):
        pins.mode = "report"  # type: ignore[misc]


def test_a_set_of_digests() -> None:
    """from_digests makes the pins of one kind, and checks them like any others."""
    digests = [a_pin(number).digest for number in range(3)]
    assert PinSet.from_digests(digests, "cert", mode="report") == PinSet(
        [Pin(digest, Kind.CERT) for digest in digests], mode="report"
    )
    with pytest.raises(InvalidPin, match="32 bytes"):
        PinSet.from_digests([*digests, b"short"])
    with pytest.raises(InvalidPin, match="no pin"):
        PinSet.from_digests([])


def test_the_repr_of_a_set_is_short() -> None:
    """A repr names some pins and counts the rest."""
    pins = PinSet.from_digests([a_pin(number).digest for number in range(2000)])
    assert "1,997 more" in repr(pins)
    assert len(repr(pins)) < 400
    assert str(a_pin(1)) in repr(PinSet([a_pin(1)]))
