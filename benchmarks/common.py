# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: how thorough a run is, how samples become figures, and the C programs."""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "FOLDER",
    "Run",
    "Unavailable",
    "chain_for_driver",
    "compiled",
    "driver",
    "first_line",
    "percentile",
    "python",
    "ratio",
    "spread",
]

FOLDER = Path(__file__).parent
_CSRC = FOLDER.parent / "csrc"
_FLAGS = ["-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", f"-I{_CSRC}"]

T = TypeVar("T")


class Unavailable(Exception):
    """Something that a benchmark compares with is not on this machine; the text says what."""


@dataclass(frozen=True)
class Run:
    """How thorough a run is, and whom it tells how far it is."""

    quick: bool
    tell: Callable[[str, float], None]  # what goes on, and the part of the benchmark that is done

    def pick(self, full: T, quick: T) -> T:
        """One of the two, as the run wants."""
        return quick if self.quick else full

    def track(self, items: Sequence[T], label: Callable[[T], str]) -> Iterator[T]:
        """The items, told of one after the other."""
        for done, item in enumerate(items):
            self.tell(label(item), done / len(items))
            yield item


def spread(samples: Sequence[float]) -> dict[str, float]:
    """The median of some samples, and their quartiles as the spread."""
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high, "samples": len(samples)}


def ratio(samples: Iterable[float], base: Iterable[float]) -> dict[str, float]:
    """The ratio of two things that were measured in turns: of each round, then the median of all rounds."""
    return spread([one / other for one, other in zip(samples, base, strict=True)])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ordered samples."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def first_line(*command: str) -> str:
    """The first line that a program prints, or "" if it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).partition("\n")[0]


def compiled(source: str, *options: str, sources: Iterable[Path] = ()) -> Path:
    """The program or library made of benchmarks/c/`source`, compiled now."""
    folder = FOLDER / "build"
    folder.mkdir(exist_ok=True)
    out = folder / (Path(source).stem + (".so" if "-shared" in options else ""))
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise Unavailable(f"there is no C compiler, {compiler}")
    command = [compiler, *_FLAGS, *options, str(FOLDER / "c" / source), *map(str, sources)]
    subprocess.run([*command, "-pthread", "-o", str(out)], check=True)
    return out


def driver() -> Path:
    """benchmarks/c/driver.c with the C core, compiled as the extension is, but for -O2 where Python asks for
    more.
    """
    above = {f"pv_{name}.c" for name in ("chain", "connection", "guard", "handshake", "message")}
    core = sorted(path for path in _CSRC.glob("pv_*.c") if path.name not in above)
    return compiled("driver.c", sources=core)


def chain_for_driver(chain: Iterable[bytes]) -> bytes:
    """A chain of DER certificates as the driver reads it."""
    return b"".join(struct.pack(">I", len(der)) + der for der in chain)


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """This Python with other arguments, talked to in lines of text."""
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )
