# SPDX-License-Identifier: Apache-2.0
"""The one entry point for every check: `nox` runs the usual ones, `nox -s NAME` one, `nox -l` lists them."""

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
nox.options.sessions = ["lint", "types", "c", f"tests-{CURRENT}"]

# The floors of pyproject.toml, as exact versions. cffi 1.15 has no build for later Pythons.
OLDEST = [
    "pyopenssl==24.3.0",
    "cryptography==42.0.0",
    "idna==3.4",
    "tomli==2.2.1",
    "tomli-w==1.0.0",
    "click==8.1.0",
    "rich==13.0.0",
    "defusedxml==0.7.1",
    "PyYAML==6.0; python_version < '3.12'",
    "cffi==1.15.1; python_version < '3.12'",
]

# What the C tests are built for besides this machine, and what runs them there. An x86-64 Linux runs 32-bit
# programs itself; under qemu-i386 eight threads starve each other.
MACHINES: dict[str, tuple[str, ...]] = {"aarch64": ("qemu-aarch64",), "s390x": ("qemu-s390x",), "i686": ()}

# A missing tool or interpreter skips its session on a contributor's machine and fails it in CI.
REQUIRE_ALL = os.environ.get("PINVERIFY_REQUIRE_ALL") == "1"
nox.options.error_on_missing_interpreters = REQUIRE_ALL

QUIETLY = ("-s", "--no-print-directory", "-C")
NATIVE = {"PINVERIFY_BUILD_NATIVE": "1"}
PURE = {"PINVERIFY_BUILD_NATIVE": "0"}


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, clang-format."""
    session.install(*_pinned("ruff", "clang-format"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("clang-format", "--dry-run", "-Werror", *_c_files())


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict: the package, and a file that uses the public API as a caller would."""
    # An ordinary install, for the dependencies' types: an editable one would remove the extension that the
    # contributor's own environment imports from this directory.
    session.install(".[cli]", *_pinned("mypy", "types-cffi"), env=PURE)
    session.run("mypy", "--strict", "-p", "pinverify")
    if Path("tests/typing_api.py").exists():
        session.run("mypy", "--strict", "tests/typing_api.py")


@nox.session(venv_backend="none")
def c(session: nox.Session) -> None:
    """The C tests with GCC and Clang: strict warnings, AddressSanitizer and UBSan; then under Valgrind."""
    for compiler in _tools(session, "gcc", "clang"):
        _make(session, f"CC={compiler}")
        _make(session, f"CC={compiler}", "SAN=1")
    for valgrind in _tools(session, "valgrind"):
        _make(session, f"EXE={valgrind} --quiet --error-exitcode=1 --leak-check=full")


@nox.session(venv_backend="none")
@nox.parametrize("machine", list(MACHINES))
def cross(session: nox.Session, machine: str) -> None:
    """The C tests for AArch64 (unsigned char, its own SHA-256), s390x (big-endian) and i686 (32 bits)."""
    compiler, runner = f"{machine}-linux-gnu-gcc", MACHINES[machine]
    if len(_tools(session, compiler, *runner)) == 1 + len(runner):
        _make(session, f"CC={compiler}", *(f"EXE={qemu} -L /usr/{machine}-linux-gnu" for qemu in runner))


@nox.session(venv_backend="none")
def constant_time(session: nox.Session) -> None:
    """Valgrind on comparisons of pins that it is told are secret; leaky twins must be flagged."""
    compilers = _tools(session, "gcc", "clang")
    if compilers and _tools(session, "valgrind"):
        variables = (f"COMPILERS={' '.join(compilers)}", f"PYTHON={sys.executable}")
        session.run("make", *QUIETLY, "tests/ct", *variables, external=True)


@nox.session(venv_backend="none")
def tsan(session: nox.Session) -> None:
    """The guard in many threads under ThreadSanitizer, which must find a race in each racy twin."""
    if compilers := _tools(session, "gcc", "clang"):
        session.run("make", *QUIETLY, "tests/tsan", f"COMPILERS={' '.join(compilers)}", external=True)


@nox.session
def asan(session: nox.Session) -> None:
    """What runs in a handshake, on an extension with ASan, LSan and UBSan; or what is named behind `--`."""
    if _tools(session, "gcc"):
        source = _unpacked_sdist(session)  # not to build over the extension of this directory
        session.chdir(source)
        session.install("-e", ".[test]", env=PURE)
        for step in ("build", "control"):
            session.run("python", "tests/sanitized.py", step)
        handshakes = ("pitfalls", "hostile", "lifetime", "no_memory", "agreement", "told", "conn", "vectors")
        files = [str(path) for name in handshakes for path in sorted(Path("tests").glob(f"test_{name}*.py"))]
        session.run(
            "python", "tests/sanitized.py", "test", *(session.posargs or ["-q", "-m", "not slow", *files])
        )


@nox.session
def mutants(session: nox.Session) -> None:
    """Changes the engines in one place at a time, which tests must notice; `--quick`, `-k` behind `--`."""
    session.install(".[test]", env=PURE)
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def hammer(session: nox.Session) -> None:
    """16 threads of 10,000 handshakes each, of which 1 % go to bad peers, on both engines."""
    session.install("-e", ".[test]", env=NATIVE)
    test = "tests/test_pitfalls_threads.py::test_p05_each_thread_hears_of_its_own_refusals_alone"
    session.run("python", "-m", "pytest", test, "-k", "not half", env={"PINVERIFY_TEST_HANDSHAKES": "10000"})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite, both engines, with the newest dependencies."""
    # Editable: pytest finds the package in this directory first, so the extension has to be built into it.
    session.install("-e", ".[test]", env=NATIVE)
    _pytest(session)


@nox.session
def oldest(session: nox.Session) -> None:
    """The whole suite with the oldest dependencies; `--force-python 3.10` for the oldest Python too."""
    session.install("-e", ".[test]", *OLDEST, env=NATIVE)
    _pytest(session)


@nox.session
def prereleases(session: nox.Session) -> None:
    """The whole suite with the newest pre-releases of pyOpenSSL and cryptography, if there are any."""
    session.install("-e", ".[test]", env=NATIVE)
    session.install("--upgrade", "--pre", "pyopenssl", "cryptography")
    _pytest(session)


@nox.session
def pure(session: nox.Session) -> None:
    """The whole suite where no extension was built."""
    # From an unpacked sdist, since this directory may hold the extension of an editable install. It
    # also shows that the sdist contains all that its tests need.
    source = _unpacked_sdist(session)
    session.install(f"{source}[test]", env=PURE)
    session.chdir(source)
    session.run("python", "-c", "import importlib.util as i; assert i.find_spec('pinverify._native') is None")
    # The tests of the extension have to be skipped here, even where nothing else may be.
    _pytest(session, "-rfE", env={"PINVERIFY_REQUIRE_ALL": "0"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Importers, and engine against engine, under atheris for a minute; options of libFuzzer behind `--`."""
    session.install("-e", ".[test]", "atheris", env=NATIVE)
    session.run("python", "fuzz/corpus.py")
    for target in ("formats", "engines"):
        options = session.posargs or ["-max_total_time=30", "-max_len=4096"]
        session.run("python", f"fuzz/{target}.py", *options)


@nox.session
def fuzz_c(session: nox.Session) -> None:
    """The C core under libFuzzer: the corpora, then a minute; `SECONDS=3600` and the like behind `--`."""
    if _tools(session, "clang"):
        session.install(".[test]", env=PURE)
        session.run("make", *QUIETLY, "fuzz/c", "seeds", "replay", "PYTHON=python", external=True)
        session.run("make", *QUIETLY, "fuzz/c", "fuzz", *session.posargs, external=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """All benchmarks with few samples, to see that they run; its options behind `--`."""
    _tools(session, "nginx", "valgrind", "go")
    session.install("-e", ".[bench]", env=NATIVE)
    folder = Path(session.create_tmp()) / "results"
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--quick", "--output", str(folder)]))


@nox.session
def instructions(session: nox.Session) -> None:
    """The instructions of each operation of the C core, held to those that are kept."""
    if _tools(session, "valgrind"):
        session.install(".", env=PURE)
        session.run("python", "-m", "benchmarks.instructions", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """The sdist, and wheels made from it by GCC and by Clang: abi3, and tested outside the repository."""
    session.install("build", "abi3audit")
    source = _unpacked_sdist(session)
    # Where no pinverify/ hides the one that is installed, from here on.
    session.chdir(source.parent)
    for compiler in _tools(session, "clang", "gcc"):
        wheels = source.parent / compiler
        build = {**NATIVE, "CC": compiler}
        session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels), str(source), env=build)
        (wheel,) = wheels.glob("*.whl")
        if "-cp310-abi3-" not in wheel.name:
            session.error(f"the wheel is not for the stable ABI: {wheel.name}")
        session.run("abi3audit", "--strict", "--verbose", str(wheel))
        session.install("--force-reinstall", f"{wheel}[cli]")
        # Asked for by name, an engine that cannot be had is an ImportError.
        session.run("python", "-m", "pinverify", "debug", env={"PINVERIFY_ENGINE": "native"})
        session.run("pinverify", "--help", silent=True)
    session.install(f"{wheel}[test]")
    shutil.rmtree(source / "pinverify")
    session.chdir(source)
    _pytest(session, *([] if session.posargs else ["-q", "-m", "not slow"]))


def _pinned(*names: str) -> list[str]:
    """The requirements of the `dev` extra for these tools, which is where their versions are kept."""
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    return [line for line in extras["dev"] if line.partition("==")[0] in names]


def _c_files() -> list[str]:
    folders = ("csrc", "tests/c", "tests/ct", "tests/tsan", "fuzz/c")
    return sorted(str(path) for folder in folders for path in Path(folder).glob("*.[ch]"))


def _tools(session: nox.Session, *names: str) -> list[str]:
    """Those of the tools that are installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing and REQUIRE_ALL:
        session.error(f"not installed: {', '.join(missing)}")
    if missing:
        session.warn(f"left out, not installed: {', '.join(missing)}")
    return [name for name in names if name not in missing]


def _make(session: nox.Session, *variables: str) -> None:
    session.run("make", *QUIETLY, "tests/c", "all", *variables, external=True)


def _unpacked_sdist(session: nox.Session) -> Path:
    """Builds the sdist and unpacks it in an empty directory."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder), env=PURE)
    (archive,) = folder.glob("*.tar.gz")
    session.run("python", "-m", "tarfile", "--extract", str(archive), str(folder))
    return folder / archive.name.removesuffix(".tar.gz")


def _pytest(session: nox.Session, *options: str, env: dict[str, str] | None = None) -> None:
    # cryptography's own vectors are released with it, number by number.
    version = session.run(
        "python", "-c", "from importlib.metadata import version; print(version('cryptography'))", silent=True
    )
    session.install("--pre", f"cryptography_vectors=={str(version).strip()}")
    session.run("python", "-m", "pytest", *options, *session.posargs, env=env)
