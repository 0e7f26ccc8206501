# SPDX-License-Identifier: Apache-2.0
"""A copy of the sources in which changes are made, built and tested."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutation.mutants import Mutant

__all__ = ["Broken", "Tree"]

# Seconds: for whatever is not changed, for the tests of a change, and for a C program.
PATIENCE, TESTS_PATIENCE, PROGRAM_PATIENCE = 1200, 90, 15

IGNORED = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "_native*", "*.egg-info")
PREPARE = "import runpy; runpy.run_path('csrc/build_ffi.py')['ffi'].emit_c_code('tests/c/_native.c')"

# What the Makefile of the C tests is told, so that it builds the objects of the extension as well, quickly,
# and without the warnings that a change may bring about.
BUILD = "build/mutation"
MAKE = (
    *("make", "-s", "-C", "tests/c", f"BUILD={BUILD}", "WARNINGS=-std=c11 -w", "CFLAGS=-O1 -fPIC"),
    f"CPPFLAGS=-I../../csrc -I. -MMD -MP -I{sysconfig.get_path('include')}",
)
TEST = (
    *(sys.executable, "-m", "pytest", "-x", "-q", "--hypothesis-seed=0"),
    *("-p", "no:cacheprovider", "-p", "tests.mutation.plugin"),
)


class Broken(Exception):
    """Neither killed nor survived: it could not be built, or the tests not be run."""


class Tree:
    """One copy. Nothing is shared with another one, so that they can be used side by side."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = [path.stem for path in sorted((root / "csrc").glob("pv_*.c"))] + ["_native"]
        self._objects = [f"{BUILD}/{name}.o" for name in names]
        # This path goes ahead of an editable install of the project; plugin.py makes sure of it.
        env = {key: value for key, value in os.environ.items() if key != "PINVERIFY_ENGINE"}
        self._env = env | {"PYTHONPATH": str(root), "PINVERIFY_REQUIRE_ALL": "1"}

    @classmethod
    def copied(cls, source: Path, root: Path) -> Tree:
        """A copy of the sources, with the extension built."""
        shutil.copytree(source, root, ignore=IGNORED)
        tree = cls(root)
        tree._check([sys.executable, "-c", PREPARE])
        tree._build_extension()
        return tree

    def twin(self, root: Path) -> Tree:
        """Another one, built as far as this is."""
        shutil.copytree(self.root, root)
        return Tree(root)

    def kills(self, change: Mutant) -> str:
        """How the tests that are named for a change end with it: "killed", or how else; "" if all of them
        pass. Raises Broken.
        """
        path = self.root / change.file
        text = path.read_text(encoding="utf-8")
        with _written(path, change.applied(text), text):
            if ending := self.run_programs(change.programs, PROGRAM_PATIENCE):
                return ending
            return self.run_tests(change.nodes, change.side, TESTS_PATIENCE)

    def run_programs(self, names: Sequence[str], patience: int = PATIENCE) -> str:
        """The same for C programs, and the sources as they are now."""
        if names:
            self._check([*MAKE, *(f"{BUILD}/{name}" for name in names)])
        for name in names:
            if ending := _ending(self._run([f"tests/c/{BUILD}/{name}"], patience)):
                return ending
        return ""

    def run_tests(self, nodes: Sequence[str], side: str, patience: int = PATIENCE) -> str:
        """The same for nodes of pytest's, with the engine of one side; with both if that is "shared"."""
        if not nodes:
            return ""
        self._build_extension()
        engine = [] if side == "shared" else [f"--engine-only={side}"]
        return _ending(self._run([*TEST, *engine, *nodes], patience))

    def _build_extension(self) -> None:
        """Links the extension anew if one of its objects is newer."""
        self._check([*MAKE, *self._objects])
        extension = self.root / "pinverify" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
        objects = [self.root / "tests" / "c" / name for name in self._objects]
        newest = max(path.stat().st_mtime_ns for path in objects)
        if not extension.exists() or extension.stat().st_mtime_ns < newest:
            extension.unlink(missing_ok=True)
            self._check(["cc", "-shared", *map(str, objects), "-pthread", "-o", str(extension)])

    def _check(self, command: Sequence[str]) -> None:
        done = self._run(command, PATIENCE)
        if done.returncode != 0:
            raise Broken(f"{' '.join(command[:2])} failed:\n{done.stdout[-2000:]}")

    def _run(self, command: Sequence[str], patience: int) -> subprocess.CompletedProcess[str]:
        """Runs a command, and ends it with all its children when it takes too long."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return subprocess.CompletedProcess(command, TIMED_OUT)
        return subprocess.CompletedProcess(command, process.returncode, output)


TIMED_OUT = 1000  # no exit status


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    """What became of tests. That one failed is exit status 1, of pytest and of the C programs."""
    if done.returncode == 0:
        return ""
    if done.returncode == 1:
        return "killed"
    if done.returncode == TIMED_OUT:
        return "killed (by the clock)"
    if done.returncode < 0:
        return f"killed (by {signal.Signals(-done.returncode).name})"
    raise Broken(f"exit status {done.returncode}:\n{done.stdout[-2000:]}")


@contextmanager
def _written(path: Path, text: str, before: str) -> Iterator[None]:
    """Has a source read `text`, and then again what it was `before`."""
    try:
        _write(path, text)
        yield
    finally:
        _write(path, before)


def _write(path: Path, text: str) -> None:
    """Writes a source, and takes away what Python has compiled, which it tells by size and second alone."""
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
