# SPDX-License-Identifier: Apache-2.0
"""What can be tried out in full: each short input of the DER readers, each change of one octet of a
certificate, each place of a pin in a chain with each of its bits wrong.

Both engines answer, and the answers are held to one another, to tables and to OpenSSL.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial, reduce
from pathlib import Path

import cryptography_vectors
import pytest
from agreement import UNIX_NOW, agreed
from agreement import engine as engine
from broken_der import Element, as_v1, element, parsed, paths, rewritten, with_unique_ids
from conftest import missing
from OpenSSL import crypto
from support import leaf, make_node

from pinverify import Kind, Pin, PinSet, Policy, Reason
from pinverify.decision import Decision, Status
from pinverify.engine import openssl
from pinverify.engine.der import Cursor, NotDER, _bit_string

# -- Each input of the DER readers --

ROOT = Path(__file__).parents[1]
COUNTS = [256**size for size in range(4)]  # of the inputs with that many octets


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[memoryview]:
    """What the getters of the C core say of each input, by its size and then by its number."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("a C compiler")
    assert compiler is not None
    program = tmp_path_factory.mktemp("der") / "test_der_exhaustive"
    sources = [ROOT / "tests/c/test_der_exhaustive.c", ROOT / "csrc/pv_der.c"]
    includes = [f"-I{ROOT / folder}" for folder in ("csrc", "tests/c")]
    subprocess.run([compiler, "-std=c11", "-O2", *includes, *sources, "-o", program], check=True)
    dump = memoryview(subprocess.run([program, "dump"], check=True, stdout=subprocess.PIPE).stdout)
    ends = list(itertools.accumulate(COUNTS))
    assert len(dump) == ends[-1]
    return [dump[end - count : end] for count, end in zip(COUNTS, ends, strict=True)]


def answer(data: bytes, start: int, end: int) -> int:
    """The octet that test_der_exhaustive.c prints of an input, as the Python engine has it.

    The input is `data[start:end]`. Ahead of it stand the tag and the length of a BIT STRING, whose contents
    it is to be.
    """
    found = 0
    try:
        tag, contents, whole = Cursor(data, start, end).any()
    except NotDER:
        pass
    else:
        assert tag == data[start]
        assert data[start:end].startswith(whole)
        assert whole.endswith(contents.rest())
        found = len(whole) << 4 | len(contents.rest()) << 1
    try:
        _bit_string(Cursor(data, start - 2, end))
    except NotDER:
        return found
    return found | 1


def answers_of_python(size: int, front: bytes = b"") -> bytes:
    """The answers for all inputs of `size` octets that begin with `front`.

    The inputs stand one behind the other, so that a reader that went on past the end of its own would find
    octets to go on with.
    """
    head = bytes([0x03, size]) + front
    rests = itertools.product(range(256), repeat=size - len(front))
    data = b"".join(head + bytes(rest) for rest in rests)
    step = 2 + size
    return bytes(answer(data, end - size, end) for end in range(step, len(data) + 1, step))


def test_the_readers_agree_on_each_input_of_up_to_two_octets(answers: list[memoryview]) -> None:
    """The Python reader takes and refuses what the getters in C do, which are held to tables there."""
    for size in range(3):
        assert answers_of_python(size) == answers[size]
    taken = [[number for number in range(COUNTS[size]) if answers[size][number] >> 4] for size in range(3)]
    assert taken == [[], [], [tag << 8 for tag in range(256) if tag % 32 != 31]]


@pytest.mark.slow
def test_the_readers_agree_on_each_input_of_three_octets(answers: list[memoryview]) -> None:
    """All of the 16,777,216 there are."""
    for first, second in itertools.product(range(256), repeat=2):
        start = (first << 8 | second) << 8
        assert answers_of_python(3, bytes([first, second])) == answers[3][start : start + 256], (
            first,
            second,
        )


# -- Each change of one octet of a certificate --


def vector(name: str) -> bytes:
    """The certificate in a file of cryptography's vectors, as DER."""
    with cryptography_vectors.open_vector_file(f"x509/{name}", "rb") as file:
        pem = crypto.load_certificate(crypto.FILETYPE_PEM, file.read())
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, pem)


@cache
def device() -> bytes:
    """A small certificate: of a device, self-signed."""
    return make_node("a", kind="Ed25519").der


UNIQUE_IDS = element(0x81, b"\x00ab"), element(0x82, b"\x04\xf0")
CERTIFICATES: dict[str, Callable[[], bytes]] = {
    "Ed25519, version 1": lambda: as_v1(device()),
    "Ed25519, unique identifiers": lambda: with_unique_ids(device(), *UNIQUE_IDS),
    "P-256, a leaf": lambda: leaf("a.example").der,
    "RSA-1024, a root CA of the Web, version 1": lambda: vector("verisign_md2_root.pem"),
}
SMALLEST, *OTHERS = CERTIFICATES
each_certificate = pytest.mark.parametrize(
    "der",
    [pytest.param(SMALLEST), *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
    indirect=True,
)


@pytest.fixture
def der(request: pytest.FixtureRequest) -> bytes:
    return CERTIFICATES[request.param]()


def walked(der: bytes) -> bytes | None:
    """The key that both engines find, or None if both refuse the certificate for the same reason."""
    found = agreed(lambda engine: engine.spki(der))
    return found if isinstance(found, bytes) else None


def encoded(key: crypto.PKey) -> bytes:
    return crypto.dump_publickey(crypto.FILETYPE_ASN1, key)


@lru_cache(maxsize=1)
def key_in(spki: bytes) -> bytes | None:
    """The key that OpenSSL reads from a SubjectPublicKeyInfo alone, in OpenSSL's encoding."""
    try:
        return encoded(crypto.load_publickey(crypto.FILETYPE_ASN1, spki))
    except crypto.Error:
        return None


def openssl_agrees(der: bytes, found: bytes | None) -> bool:
    """Whether OpenSSL reads a key from the certificate and the engines find one; if so, it is the same.

    The engines judge what OpenSSL gives back of a certificate that it has read, which is not always what it
    was given: it clears the unused bits of a BIT STRING.
    """
    try:
        certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
        key = encoded(certificate.get_pubkey())
    except crypto.Error:
        return False
    given_back = openssl.der_of(certificate._x509)
    if given_back != der:
        found = walked(given_back)
    assert found is None or key == key_in(found), der.hex()
    return found is not None


@each_certificate
def test_each_octet_set_to_each_value_leaves_the_key(der: bytes) -> None:
    """Of a certificate with one octet changed the engines take the key from where it stood, or refuse it; and
    OpenSSL, where it takes it too, reads its key from the same octets.
    """
    spki = walked(der)
    assert spki is not None
    start, end = der.index(spki), der.index(spki) + len(spki)
    taken = agreeing = 0
    for at, value in itertools.product(range(len(der)), range(256)):
        changed = der[:at] + bytes([value]) + der[at + 1 :]
        found = walked(changed)
        assert found in (None, changed[start:end]), (at, value)
        taken += found is not None
        agreeing += openssl_agrees(changed, found)
    assert 256 * len(der) > taken > agreeing > 64 * len(der)


@each_certificate
def test_each_octet_too_many_or_too_few_is_refused(der: bytes) -> None:
    """A certificate with an octet put in anywhere, or with one left out, or cut at either end, is refused."""
    size = len(der)
    assert walked(der) is not None
    for at, value in itertools.product(range(size + 1), range(256)):
        longer = der[:at] + bytes([value]) + der[at:]
        assert walked(longer) is None, (at, value)
    for at in range(size):
        assert walked(der[:at] + der[at + 1 :]) is None, at
        assert walked(der[:at]) is None, at
        assert walked(der[at + 1 :]) is None, at


def with_octet(at: int, octet: bytes, changed: Element) -> bytes:
    return element(changed.tag, changed.body[:at], octet, changed.body[at:])


def lengthened(tree: Element) -> Iterator[bytes]:
    """The certificate with each octet put in at each place of each element, and all lengths right."""
    for path in paths(tree):
        body = reduce(lambda above, index: above.children[index], path, tree).body
        for at, value in itertools.product(range(len(body) + 1), range(256)):
            yield rewritten(tree, path, partial(with_octet, at, bytes([value])))


@pytest.mark.slow
def test_each_octet_put_in_where_the_lengths_are_right() -> None:
    """An octet more, of which all lengths tell: the engines refuse the certificate, or find OpenSSL's key."""
    tried = taken = agreeing = 0
    for longer in lengthened(parsed(CERTIFICATES[SMALLEST]())[0]):
        found = walked(longer)
        tried += 1
        taken += found is not None
        agreeing += openssl_agrees(longer, found)
    assert tried > taken > tried // 4
    assert taken > agreeing > tried // 8


# -- Each place of a pin, and each of its bits --

HOST = "a.example"
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)


@cache
def longest_chain() -> tuple[bytes, ...]:
    """As many certificates as a chain may have, each with a key of its own."""
    return tuple(make_node(f"{depth}", kind="Ed25519").der for depth in range(32))


def decided(pins: PinSet, chain: Sequence[bytes]) -> tuple[Reason, bool, int]:
    """The one decision of both engines: reason, acceptance and depth."""
    policy = Policy({HOST: pins})
    decision: Decision = agreed(lambda engine: engine.compile(policy).decide(HOST, chain, UNIX_NOW))
    assert decision.status is Status.OK
    return decision.reason, decision.accepted, decision.depth


def neighbours(pin: Pin) -> list[Pin]:
    """The pins that differ from this one in one bit."""
    number = int.from_bytes(pin.digest, "big")
    return [Pin((number ^ 1 << bit).to_bytes(32, "big"), pin.kind) for bit in range(256)]


@each_kind
def test_a_pin_counts_at_each_depth_and_its_neighbours_at_none(kind: Kind) -> None:
    """At each depth of the longest chain a pin by itself accepts, or denies; all 256 that differ from it in a
    bit do neither together.
    """
    chain = longest_chain()
    other_kind = Kind.CERT if kind is Kind.SPKI else Kind.SPKI
    leaf_pin = Pin.from_certificate(chain[0], other_kind)
    for depth, der in enumerate(chain):
        pin = Pin.from_certificate(der, kind)
        assert decided(PinSet([pin]), chain) == (Reason.PINNED, True, depth)
        assert decided(PinSet([leaf_pin], deny=[pin]), chain) == (Reason.DENIED, False, depth)
        assert decided(PinSet(neighbours(pin)), chain) == (Reason.NOT_PINNED, False, -1)
        assert decided(PinSet([leaf_pin], deny=neighbours(pin)), chain) == (Reason.PINNED, True, 0)


@pytest.mark.slow
@each_kind
def test_each_bit_of_a_pin_counts_at_each_depth(kind: Kind) -> None:
    """At each depth, where the chain ends with the certificate, each pin that differs in a bit by itself."""
    other_kind = Kind.CERT if kind is Kind.SPKI else Kind.SPKI
    leaf_pin = Pin.from_certificate(longest_chain()[0], other_kind)
    for depth, der in enumerate(longest_chain()):
        chain = longest_chain()[: depth + 1]
        for neighbour in neighbours(Pin.from_certificate(der, kind)):
            assert decided(PinSet([neighbour]), chain) == (Reason.NOT_PINNED, False, -1)
            assert decided(PinSet([leaf_pin], deny=[neighbour]), chain) == (Reason.PINNED, True, 0)
