# SPDX-License-Identifier: Apache-2.0
"""Each step of a decision, and the whole, timed by pyperf beside what else does the same.

`case [C]` is the C core alone, `case [native]` the same called from Python, `case [python]` the engine in
Python; any other name in brackets is another library. pyperf runs this module in processes of its own, so
that it takes pyperf's options: `python -m benchmarks.decision --help`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pyperf
from asn1crypto.x509 import Certificate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.common import Run, chain_for_driver, driver, python
from benchmarks.keys import KINDS, kept
from pinverify import Pin, Policy
from pinverify.engine import native
from pinverify.engine import python as pure

__all__ = ["measure"]

_NOW = 1_800_000_000
_ENGINES: dict[str, ModuleType] = {"native": native, "python": pure}
_QUICK = "BENCHMARKS_QUICK"  # in the environment, for all of pyperf's processes: leave cases out
_DRIVER = "BENCHMARKS_DRIVER"  # and there: the driver, compiled
_PINS = [10**power for power in range(7)]
_HOSTS = [10**power for power in range(6)]

_PORTABLE = "no SHA instructions"

Make = Callable[[], Callable[[], object]]  # makes ready, untimed, and gives what is timed


def _with_cryptography(der: bytes) -> bytes:
    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _with_asn1crypto(der: bytes) -> bytes:
    return bytes(Certificate.load(der)["tbs_certificate"]["subject_public_key_info"].dump())


def _walk(kind: str, how: Callable[[bytes], bytes]) -> Callable[[], object]:
    der = kept(kind)[0]
    if how(der) != native.spki(der):
        raise SystemExit(f"{how} finds another key than pinverify")
    return partial(how, der)


def _others(count: int) -> Iterator[Pin]:
    return (Pin(hashlib.sha256(i.to_bytes(8, "big")).digest()) for i in range(count - 1))


@cache
def _policy(pin: Pin, pins: int, hosts: int) -> Policy:
    entry = [pin, *_others(pins)]
    return Policy({f"h{i}.example.com": entry if i == 0 else [pin] for i in range(hosts)})


def _decide(
    engine: ModuleType, kind: str, length: int, depth: int, pins: int = 1, hosts: int = 1
) -> Callable[[], object]:
    chain = kept(kind)[:length]
    decide = engine.compile(_policy(Pin.from_certificate(chain[depth]), pins, hosts)).decide
    if decide("h0.example.com", chain, _NOW).depth != depth:
        raise SystemExit("a wrong decision")
    return partial(decide, "h0.example.com", chain, _NOW)


def _cases(quick: bool) -> Iterator[tuple[str, Make]]:
    """What is called from Python."""
    for kind in KINDS:
        for name, how in {
            "native": native.spki,
            "python": pure.spki,
            "cryptography": _with_cryptography,
            "asn1crypto": _with_asn1crypto,
        }.items():
            yield f"walk, {kind} [{name}]", partial(_walk, kind, how)
    for size in (91, 294):  # the SubjectPublicKeyInfo of P-256 and of RSA-2048
        yield f"SHA-256 of {size} octets [native]", lambda size=size: partial(native.sha256, bytes(size))
        yield (
            f"SHA-256 of {size} octets [hashlib]",
            lambda size=size: lambda: hashlib.sha256(data).digest() if (data := bytes(size)) else b"",
        )
    yield "compare [hmac.compare_digest]", lambda: partial(hmac.compare_digest, bytes(32), bytes([0] * 32))
    for name, engine in _ENGINES.items():
        decide = partial(partial, _decide, engine)
        for length in (3,) if quick else range(1, 6):
            for depth in range(length):
                yield (
                    f"decide, chain of {length}, pinned at depth {depth} [{name}]",
                    decide("P-256", length, depth),
                )
        for kind in list(KINDS)[1:]:
            yield f"decide, chain of 3, {kind} [{name}]", decide(kind, 3, 0)
        for count in _PINS[3:4] if quick else _PINS[::3]:
            yield f"decide, chain of 3, of {count:,} pins [{name}]", decide("P-256", 3, 0, pins=count)
        for count in _HOSTS[3:4] if quick else (1, 1000, 100_000):
            yield f"decide, chain of 3, of {count:,} hosts [{name}]", decide("P-256", 3, 0, hosts=count)


def _c_cases(quick: bool) -> Iterator[tuple[str, str, str]]:
    """What the driver in C runs: name, kind of key, its arguments."""
    for kind in KINDS:
        yield f"walk, {kind} [C]", kind, "walk"
    for size in (91, 294):
        yield f"SHA-256 of {size} octets [C]", "P-256", f"sha256 {size}"
    yield "compare [C]", "P-256", "equal"
    for count in _PINS[::3] if quick else _PINS:
        yield f"pin set of {count:,} [C]", "P-256", f"pinset {count}"
        yield f"decide, chain of 3, of {count:,} pins [C]", "P-256", f"decide 3 0 {count} 1"
    for count in _HOSTS[::5] if quick else _HOSTS:
        for match in ("exact", "wildcard"):
            yield f"host, {match}, of {count:,} [C]", "P-256", f"host {match} {count}"
        yield f"decide, chain of 3, of {count:,} hosts [C]", "P-256", f"decide 3 0 1 {count}"
    for length in (3,) if quick else range(1, 6):
        for depth in range(length):
            yield (
                f"decide, chain of {length}, pinned at depth {depth} [C]",
                "P-256",
                f"decide {length} {depth} 1 1",
            )
    for kind in list(KINDS)[1:]:
        yield f"decide, chain of 3, {kind} [C]", kind, "decide 3 0 1 1"
    yield f"decide, chain of 3, {_PORTABLE} [C]", "P-256", "decide 3 0 1 1"


def _repeat(loops: int, ready: Callable[[], Callable[[], object]]) -> float:
    action = ready()
    began = time.perf_counter()
    for _ in range(loops):
        action()
    return time.perf_counter() - began


def _drive(loops: int, program: str, backend: str, kind: str, arguments: str) -> float:
    command, environment = [program, str(loops), *arguments.split()], {"DRIVER_SHA256": backend}
    chain = chain_for_driver(kept(kind))
    done = subprocess.run(command, env=environment, input=chain, capture_output=True, check=True)
    return float(done.stdout)


def main() -> None:
    """The script that pyperf runs, once for the list and again for each case."""
    quick = _QUICK in os.environ
    runner = pyperf.Runner(program_args=("-m", "benchmarks.decision"))
    program = os.environ.get(_DRIVER) or str(driver())
    for name, make in _cases(quick):
        runner.bench_time_func(name, _repeat, cache(make))
    for name, kind, arguments in _c_cases(quick):
        backend = "portable" if _PORTABLE in name else native.cpu_features()
        runner.bench_time_func(name, _drive, program, backend, kind, arguments)


def measure(run: Run) -> dict[str, Any]:
    """Seconds of each case: the values that pyperf took, in all its processes."""
    total = sum(1 for _ in _cases(run.quick)) + sum(1 for _ in _c_cases(run.quick))
    inherit = f"--inherit-environ={_QUICK},{_DRIVER}"
    effort = run.pick(
        ["--processes=3", "--values=3", "--warmups=1", "--min-time=0.05"],
        ["--processes=1", "--values=5", "--warmups=1", "--min-time=0.01"],
    )
    environment = {**os.environ, _DRIVER: str(driver())}
    if run.quick:
        environment[_QUICK] = "1"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "decision.json"
        with python(
            "-m", "benchmarks.decision", inherit, *effort, "--output", str(out), env=environment
        ) as process:
            assert process.stdout is not None
            done = 0
            for line in process.stdout:
                if "Mean +- std dev" in line:
                    done += 1
                    run.tell(line.partition(": Mean")[0].strip(". \n"), done / total)
        if process.returncode != 0:
            raise SystemExit("pyperf has failed; see above")
        suite = pyperf.BenchmarkSuite.load(str(out))
    return {"seconds": {found.get_name(): list(found.get_values()) for found in suite}}


if __name__ == "__main__":
    main()
