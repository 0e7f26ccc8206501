# SPDX-License-Identifier: Apache-2.0
"""Runs tests on an extension that is built with AddressSanitizer, LeakSanitizer and UBSan.

    python tests/sanitized.py build             builds it, in the place of the one that is there
    python tests/sanitized.py control           shows that mistakes in csrc/ of each kind would be found
    python tests/sanitized.py test [OPTIONS]    pytest, on the native engine

It is for a copy of the project: `nox -s asan` makes one. It wants GCC, whose sanitizers work in a Python that
was built without them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
FLAGS = "-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"

SELECTION = " and not ".join(
    (
        "native",
        "leave_nothing_behind",  # measures the process, in which a sanitizer keeps freed memory for a while
        "inherit_a_host",  # waits for an address to come again, which it keeps as well
        "a_connection_from_elsewhere",  # and so does this
        "whatever_openssl_has_no_memory_for",  # brings an allocator of its own
        "test_faults",  # what is made to fail there is OpenSSL's freeing, too
        "(ends_in_peace and threads)",  # LeakSanitizer cannot stop threads that are left behind
        "debug_names_the_engine",  # LeakSanitizer crashes at the end of that process, with either engine
        "one_interpreter_judges",  # CPython leaks objects of its own with each subinterpreter
    )
)


class Mistake(NamedTuple):
    """A piece of csrc/, what stands in its place, and a word of what the sanitizers say of that."""

    file: str
    right: str
    wrong: str
    finding: str


MISTAKES = {
    "an octet is read behind the last one": Mistake(
        "pv_sha256.c",
        "len / PV_SHA256_BLOCK, rest",
        "len / PV_SHA256_BLOCK + 1, rest",
        "heap-buffer-overflow",
    ),
    "a guard is freed while connections use it": Mistake(
        "pv_handshake.c",
        "  pv_openssl.SSL_CTX_set_msg_callback_arg(context, guard);",
        "  pv_openssl.SSL_CTX_set_msg_callback_arg(context, guard);\n  pv_guard_free(guard);",
        "heap-use-after-free",
    ),
    "a table of references is not freed": Mistake(
        "pv_guard.c",
        "  pv_references_free(guard->references);\n  free(guard);",
        "  free(guard);",
        "LeakSanitizer: detected memory leaks",
    ),
    "a BIO of OpenSSL's is not freed": Mistake(
        "pv_chain.c",
        "feed_rest(decision, bio, store_ctx, used);\n  (void)pv_openssl.BIO_free(bio);",
        "feed_rest(decision, bio, store_ctx, used);",
        "LeakSanitizer: detected memory leaks",
    ),
    "a shift is wider than its operand": Mistake(
        "pv_sha256.c",
        "uint64_t bits = (uint64_t)len << 3;",
        "uint64_t bits = (uint64_t)len << (len == 0 ? 3 : 64);",
        "runtime error: shift exponent",
    ),
}

# What each of them comes up in.
EVERYTHING = """
import sys
sys.path.insert(0, "tests")
from pinned import ABSENT, HOST, pinned
from support import accepting, leaf, server_ssl, shake
from pinverify.engine.native import sha256

sha256(bytes(1000))
for host in (HOST, "192.0.2.1"):
    for pin in (None, ABSENT):
        error, _ = shake(pinned(host, pin=pin).connection(host), accepting(server_ssl(leaf(host))))
        assert (error is None) == (pin is None)
print("done")
"""


def environment() -> dict[str, str]:
    """In it a Python can load the extension, uses no allocator but malloc, and tells of leaks at its end."""
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        **os.environ,
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",
        "PINVERIFY_ENGINE": "native",
        "ASAN_OPTIONS": "detect_leaks=1",
        "LSAN_OPTIONS": f"suppressions={PROJECT / 'tests' / 'lsan.supp'}:print_suppressions=0",
    }


def build(folder: Path) -> None:
    env = {**os.environ, "PINVERIFY_BUILD_NATIVE": "1", "CC": "gcc", "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"]
    subprocess.run(command, cwd=folder, env=env, check=True)


def run_everything(folder: Path) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-c", EVERYTHING], cwd=folder, env=environment(), capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


def check(mistake: Mistake, folder: Path) -> None:
    """Makes a mistake in a copy of the project, and raises an error unless the sanitizers find it."""
    path = folder / "csrc" / mistake.file
    text = path.read_text(encoding="utf-8")
    if text.count(mistake.right) != 1:
        raise SystemExit(f"{mistake.file} has not the one piece: {mistake.right}")
    path.write_text(text.replace(mistake.right, mistake.wrong), encoding="utf-8")
    build(folder)
    status, output = run_everything(folder)
    if status == 0 or mistake.finding not in output:
        raise SystemExit(f"not found (exit status {status}): {mistake}\n{output}")
    path.write_text(text, encoding="utf-8")


def control() -> None:
    """Shows that the sanitizers say nothing of the extension as it is, and find each of the mistakes."""
    status, output = run_everything(PROJECT)
    if (status, output) != (0, "done\n"):
        raise SystemExit(f"exit status {status}:\n{output}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / part, folder)
        for part in ("csrc", "pinverify", "tests"):
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("build", "_native*"))
        for what, mistake in MISTAKES.items():
            check(mistake, folder)
            print(f"found: {what}", flush=True)


def test(options: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", SELECTION, *options]
    raise SystemExit(subprocess.run(command, cwd=PROJECT, env=environment()).returncode)


if __name__ == "__main__":
    if sys.argv[1:] == ["build"]:
        build(PROJECT)
    elif sys.argv[1:] == ["control"]:
        control()
    elif sys.argv[1:2] == ["test"]:
        test(sys.argv[2:])
    else:
        raise SystemExit(__doc__)
