# SPDX-License-Identifier: Apache-2.0
"""Makes the corpora that the fuzz targets start from: python fuzz/corpus.py [--pack FOUND]

Into fuzz/build/seeds/<target>/ go

- for `fuzz_cert`, `fuzz_openssl` and the walk of `engines.py`: certificates of trustme, those that
  `cryptography` makes for the C tests, all of `cryptography_vectors`, and some of them with each named defect
  of tests/broken_der.py at each element;
- for `fuzz_der`: single elements at each border of a length, and with each defect;
- for `fuzz_policy` and `fuzz_decide`: calls and decisions of each kind, in the octets that the target reads;
- for each target: what long fuzzing has found and kept, from fuzz/corpus/<target>.txt, one input a line, in
  hexadecimal.

`--pack FOUND` adds to those files what is in the folders FOUND/<target>/.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
TESTS = FUZZ.parent / "tests"
KEPT = FUZZ / "corpus"
SEEDS = FUZZ / "build" / "seeds"

sys.path[:0] = [str(TESTS), str(TESTS / "c")]

import make_vectors  # noqa: E402
import trustme  # noqa: E402
from broken_der import DEFECTS, SMALL_DEFECTS, certificates, element, paths, rewritten, trees  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402
from cryptography.x509 import load_pem_x509_certificate  # noqa: E402
from test_vectors import vectors  # noqa: E402

TARGETS = ["fuzz_cert", "fuzz_decide", "fuzz_der", "fuzz_openssl", "fuzz_policy", "engines"]
LARGE = DEFECTS.keys() - set(SMALL_DEFECTS)


def of_trustme() -> Iterator[bytes]:
    """A root, an intermediate, and leaves of both kinds, with names and addresses."""
    root = trustme.CA()
    middle = root.create_child_ca()
    pems = [root.cert_pem, middle.cert_pem]
    for ca, kind in itertools.product((root, middle), trustme.KeyType):
        issued = ca.issue_cert("a.example", "*.b.example", "192.0.2.1", "2001:db8::1", key_type=kind)
        pems.append(issued.cert_chain_pems[0])
    for pem in pems:
        yield load_pem_x509_certificate(pem.bytes()).public_bytes(Encoding.DER)


def broken() -> Iterator[bytes]:
    """Three certificates with each small defect at each element; the large ones at the walk's own levels."""
    for tree in trees()[0], trees()[4], trees()[8]:
        for path in paths(tree):
            names = SMALL_DEFECTS if len(path) > 2 else DEFECTS
            yield from (rewritten(tree, path, DEFECTS[name]) for name in names if len(path) < 5)


# Parameters of an algorithm, on which the walk and OpenSSL differ; README.md tells how.
PARAMETERS = {
    "end-of-contents": b"\x00\x00",  # found by fuzz_openssl
    "high tag number": b"\x1f\x22\x01a",
    "low tag number in the form for high ones": b"\x3f\x10\x00",
    "SEQUENCE with a longer length": b"\x30\x81\x02\x05\x00",
    "SEQUENCE with an indefinite length": b"\x30\x80\x05\x00\x00\x00",
    "SEQUENCE that holds BER": b"\x30\x03\x05\x81\x00",
    "string in the constructed form": b"\x24\x04\x04\x02ab",
    "NULL with contents": b"\x05\x01a",
    "BIT STRING without contents": b"\x03\x00",
}


def with_parameters() -> Iterator[bytes]:
    """A certificate with each of them in each of its three algorithms."""
    for parameters, path in itertools.product(PARAMETERS.values(), ((0, 2), (0, 6, 0), (1,))):
        yield rewritten(trees()[4], path, lambda e, more=parameters: element(e.tag, e.body, more))


def whole() -> Iterator[bytes]:
    """Certificates that nothing is wrong with, and those of others that are odd."""
    yield from of_trustme()
    yield from (made.public_bytes(Encoding.DER) for _, made in make_vectors.certificates())
    yield from certificates()
    yield from vectors()


def elements() -> Iterator[bytes]:
    """Elements with as many contents octets as tell one form of a length from another."""
    for tag, size in itertools.product((0x02, 0x30, 0xA0), (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF)):
        good = element(tag, bytes(size))
        yield from (good, good[:-1], good + b"\x00")
    yield from (defect(tree) for tree in trees()[:3] for defect in DEFECTS.values())


# Two names with the same hash of FNV-1a, which csrc/pv_policy.c takes of a name from its end.
TWINS = (b"8yn0iYCKYHlIj4-BwPqk"[::-1], b"GReLUrM4wMqfg9yzV3KQ"[::-1])


def policies() -> Iterator[bytes]:
    """For fuzz_policy: each call, with arguments that exist and that do not, and with too little room."""
    names = (b"a", b"b.a", b"ab.b.a", b"")
    adding = [
        bytes([4, match + 1, entry, len(name)]) + name
        for match, name, entry in itertools.product(range(-1, 4), names, (0, 3, 5))
    ]
    finding = [bytes([2, len(name)]) + name for name in (*names, b"a.a", b"a.b.a", b"ba")]
    setting = [bytes([0, entry, 1, 1]) + bytes([0x7F] * 8) for entry in (0, 3, 5)]
    pinning = [
        bytes([1, 0, role + 1, kind + 1]) + bytes(range(8)) + bytes([count]) + bytes(range(2 * count))
        for role, kind, count in itertools.product(range(-1, 3), range(-1, 3), (0, 16, 1))
    ]
    calls = b"".join((*adding, *finding, *setting, *pinning))
    for plain, patterns, room, unlisted in itertools.product((0, 1), (0, 9, 10, 16), (0, 24, 255), (2, 3, 4)):
        yield bytes([4, patterns, room, unlisted, plain]) + calls
    one, other = (bytes([len(name)]) + name for name in TWINS)
    yield bytes([4, 16, 255, 2, 0]) + b"\x04\x01\x00" + one + b"\x02" + other + b"\x04\x01\x01" + other
    yield from (bytes([entries, 16, 255, unlisted, 0]) for entries in range(5) for unlisted in range(9))


def decisions() -> Iterator[bytes]:
    """For fuzz_decide: pins of each role and kind at several depths, in each mode, over several chains."""
    exact = bytes([1, 0, 1, 0])  # one pattern, for exactly the second name, to entry 0
    for flags, allowed, denied, size in itertools.product(
        range(4), (0, 2, 11), (None, 0, 2, 11), (0, 1, 3, 31, 32, 33, 40)
    ):
        chain = bytes([size]) + bytes(number % 12 for number in range(size))
        for kind, deny_kind in itertools.product((0, 1), (0, 1)):
            pins = [b"\x00"] * 4
            pins[kind] = bytes([1, allowed])
            if denied is not None:
                pins[2 + deny_kind] = bytes([1, denied])
            yield bytes([0, 1, flags]) + b"".join(pins) + exact + bytes([1, 0]) + chain
    one_pin = bytes([1, 0, 0, 0, 0])
    for flags, unlisted, host, now, time in itertools.product(
        (4, 5, 6, 7), range(3), (0, 1), range(7), range(7)
    ):
        yield bytes([0, unlisted, flags, time]) + one_pin + exact + bytes([host, now, 1, 0])
    for broken_octet in range(60):  # a denied certificate behind a malformed one
        pins = bytes([0, 0, 1, 1, 0])
        yield bytes([0, 1, 0]) + pins + exact + bytes([1, 0, 3, 2, 0xE0, broken_octet, 0x80, 1])


def questions(walks: list[bytes]) -> Iterator[bytes]:
    """For engines.py: names at each limit, policies that pin each certificate, certificates whole or not."""
    for size in (1, 63, 64, 253, 254):
        yield from (b"\x00" + name for name in (b"a" * size, b"A." * (size // 2) + b"a", b"a." + b"1" * size))
    for pin, mode, size in itertools.product(range(24), (0, 1), (0, 1, 4, 32, 33)):
        yield bytes([1, 0, 0, pin, 0, 0, mode, 0, 0, 0, 2, 0, 0, 0, 0, size, *range(size)])
    yield from (b"\x02" + der for der in walks if len(der) < 2048)


def kept(target: str) -> Iterator[bytes]:
    file = KEPT / f"{target}.txt"
    if file.exists():
        yield from (bytes.fromhex(line) for line in file.read_text("ascii").splitlines())


def write(target: str, inputs: Iterable[bytes]) -> None:
    """One file an input, named by its hash as libFuzzer names them."""
    folder = SEEDS / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for octets in inputs:
        (folder / hashlib.sha1(octets, usedforsecurity=False).hexdigest()).write_bytes(octets)
    print(f"{target}: {len(list(folder.iterdir()))} inputs")


def pack(target: str, folder: Path) -> None:
    """Adds to what is kept the inputs of a folder that are no seeds."""
    found = {path.read_bytes() for path in folder.iterdir() if not (SEEDS / target / path.name).exists()}
    inputs = sorted(found.union(kept(target)), key=lambda octets: (len(octets), octets))
    (KEPT / f"{target}.txt").write_text("".join(f"{octets.hex()}\n" for octets in inputs), "ascii")
    print(f"{target}: {len(inputs)} inputs kept")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the corpora of the fuzz targets.")
    parser.add_argument("--pack", type=Path, metavar="FOUND", help="keep what is in FOUND/<target>/")
    found = parser.parse_args().pack
    if found is not None:
        KEPT.mkdir(exist_ok=True)
        for target in TARGETS:
            if (found / target).is_dir():
                pack(target, found / target)
        return
    walks = [*whole(), *broken(), *with_parameters()]
    made = {"fuzz_cert": walks, "fuzz_openssl": walks, "fuzz_der": [*elements()]}
    made |= {"fuzz_policy": [*policies()], "fuzz_decide": [*decisions()]}
    made["engines"] = [*questions(walks)]
    for target in TARGETS:
        write(target, itertools.chain(made.get(target, ()), kept(target)))


if __name__ == "__main__":
    main()
