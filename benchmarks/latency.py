# SPDX-License-Identifier: Apache-2.0
"""How long a real handshake spends in verifying pins: between the entry of each callback and its return.

c/probe.c stands in for the functions with which an engine sets its callbacks, and passes them on. What it
adds up for a handshake is all that the engine does in it: bind the name, put the callbacks back, export the
chain, decide. The engine itself is as it was built. Both ends run in one process over memory, since nobody
else's time is of interest.

`python -m benchmarks.latency ENGINE PROBE` is the process of one engine: a line {"length": …, "count": …} in,
a line with the nanoseconds of each handshake out.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any

from benchmarks.common import Run, compiled, percentile, python
from benchmarks.keys import HOST, owner

__all__ = ["ENGINES", "measure"]

ENGINES = {
    "native": "pinverify",
    "python": "pinverify, Python engine",
    "callback": "pyOpenSSL, Python callback",
}
LENGTHS = (1, 2, 3, 4, 5)
_PERCENTILES = (50, 90, 99, 99.9)
_STAND_INS = (
    "SSL_CTX_set_verify",
    "SSL_set_verify",
    "SSL_CTX_set_msg_callback",
    "SSL_CTX_set_tlsext_servername_callback",
    "SSL_CTX_set_cert_cb",
    "SSL_CTX_set_info_callback",
)


def measure(run: Run) -> dict[str, Any]:
    """Percentiles and a histogram of nanoseconds, by engine and length of the chain."""
    batch, rounds = run.pick((500, 20), (100, 3))
    probe = compiled("probe.c", "-shared", "-fPIC")
    found: dict[str, dict[int, list[int]]] = {engine: {n: [] for n in LENGTHS} for engine in ENGINES}
    work: dict[str, dict[int, list[int]]] = {engine: {n: [] for n in LENGTHS} for engine in ENGINES}
    with ExitStack() as stack:
        processes = {}
        for engine in ENGINES:
            environment = {**os.environ, "PINVERIFY_ENGINE": "python" if engine == "python" else "native"}
            process = python("-m", "benchmarks.latency", engine, str(probe), env=environment)
            processes[engine] = stack.enter_context(process)
        turns = [(length, engine) for _ in range(rounds) for length in LENGTHS for engine in ENGINES]
        for length, engine in run.track(turns, lambda turn: f"{ENGINES[turn[1]]}, chain of {turn[0]}"):
            verifying, all_of_it = _ask(processes[engine], length, batch)
            found[engine][length] += verifying
            work[engine][length] += all_of_it
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
    return {
        "handshakes": batch * rounds,
        "engines": {
            engine: {
                str(length): _distribution(samples, work[engine][length])
                for length, samples in lengths.items()
            }
            for engine, lengths in found.items()
        },
    }


def _ask(process: Any, length: int, count: int) -> tuple[list[int], list[int]]:
    print(json.dumps({"length": length, "count": count}), file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise SystemExit("the process of an engine has ended")
    verifying, all_of_it = json.loads(line)
    return verifying, all_of_it


def _distribution(samples: Sequence[int], handshakes: Sequence[int]) -> dict[str, Any]:
    ordered = sorted(samples)
    return {
        "percentiles": {str(percent): percentile(ordered, percent) for percent in _PERCENTILES},
        "curve": [percentile(ordered, i / 10) for i in range(0, 1000, 5)],
        "share": percentile(ordered, 50) / percentile(sorted(handshakes), 50),
    }


# -- The process of one engine --


def _stand_in(library: ctypes.CDLL) -> Any:
    """Puts the probe between OpenSSL and the engines that are imported here; gives what sets a callback."""
    from pinverify.engine import openssl, python_guard, python_handshake

    pointers = {}
    for name in _STAND_INS:
        real = openssl.ffi.addressof(openssl._lib, name)
        slot = "probe_" + name.replace("SSL_CTX_", "ctx_").replace("SSL_", "ssl_")
        ctypes.c_void_p.in_dll(library, slot).value = int(openssl.ffi.cast("uintptr_t", real))
        address = ctypes.cast(getattr(library, "probe_" + name), ctypes.c_void_p).value
        pointers[name] = openssl.ffi.cast(openssl.ffi.typeof(real), address)
    # The engine in Python has each function under a name of its own.
    reals = {openssl.ffi.addressof(openssl._lib, name): pointer for name, pointer in pointers.items()}
    for module in (python_guard, python_handshake):
        for name, value in list(vars(module).items()):
            if isinstance(value, openssl.ffi.CData) and value in reals:
                setattr(module, name, reals[value])
    try:
        from pinverify._native import ffi, lib
    except ImportError:
        return pointers
    index = 0
    while (name := lib.pv_openssl_name(index)) != ffi.NULL:
        pointer = pointers.get(ffi.string(name).decode())
        if pointer is not None:
            address = int(openssl.ffi.cast("uintptr_t", pointer))
            assert lib.pv_openssl_set(index, ffi.cast("void *", address)) == 1
        index += 1
    return pointers


def _clients(engine: str, library: ctypes.CDLL) -> Callable[[int], Callable[[], Any]]:
    """For a length of the chain: what makes a client and a server that have not met yet."""
    pointers = _stand_in(library)

    from OpenSSL import SSL, crypto

    from benchmarks.clients import callback_context
    from pinverify import client_context

    @cache
    def contexts(length: int) -> tuple[SSL.Context, SSL.Context]:
        server = owner("P-256", length)
        root = server.chain[-1]
        if engine == "callback":
            context = callback_context(server.pin.digest)
            store = context.get_cert_store()
            store.add_cert(crypto.X509.from_cryptography(root))
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # as pinverify has it: the chain of one
        else:
            context = client_context({HOST: [server.pin]}, trust=[root])
        return context, server.context()

    def make(length: int) -> Callable[[], Any]:
        client_side, server_side = contexts(length)
        if (
            engine == "callback"
        ):  # which is set once, and not in each handshake: the probe knows one at a time
            own = client_side._verify_helper.callback
            pointers["SSL_CTX_set_verify"](client_side._context, SSL.VERIFY_PEER, own)

        def pair() -> tuple[SSL.Connection, SSL.Connection]:
            client, server = SSL.Connection(client_side, None), SSL.Connection(server_side, None)
            client.set_tlsext_host_name(HOST.encode())
            client.set_connect_state()
            server.set_accept_state()
            return client, server

        return pair

    return make


def _shake(client: Any, server: Any) -> int:
    """A handshake over memory; the nanoseconds that the client needed for it."""
    from OpenSSL import SSL

    spent, done = 0, False
    while not done:
        done = True
        for end, other in ((client, server), (server, client)):
            began = time.perf_counter_ns()
            try:
                end.do_handshake()
            except SSL.WantReadError:
                done = False
            if end is client:
                spent += time.perf_counter_ns() - began
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(1 << 16))
    return spent


def main() -> None:
    library = ctypes.CDLL(sys.argv[2])
    library.probe_take.restype = ctypes.c_uint64
    entered = ctypes.c_uint64()
    pairs = _clients(sys.argv[1], library)
    for line in sys.stdin:
        job = json.loads(line)
        make, verifying, all_of_it = pairs(job["length"]), [], []
        for number in range(job["count"] + 10):  # the first ten warm up
            client, server = make()
            library.probe_take(ctypes.byref(entered))
            spent = _shake(client, server)
            nanoseconds = library.probe_take(ctypes.byref(entered))
            if entered.value == 0:
                raise SystemExit("the probe has seen no callback")
            if number >= 10:
                verifying.append(nanoseconds)
                all_of_it.append(spent)
        print(json.dumps((verifying, all_of_it)), flush=True)


if __name__ == "__main__":
    main()
