# SPDX-License-Identifier: Apache-2.0
"""Instructions of each operation of the C core, counted by callgrind: the same on a busy machine.

`python -m benchmarks.instructions` compares them with instructions.json and exits with 1 if one needs more
than it did, by over two percent; `--update` writes them there. Valgrind offers its programs no SHA
instructions, so SHA-256 is the portable one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import FOLDER, Run, Unavailable, chain_for_driver, driver, first_line
from benchmarks.keys import KINDS, kept

__all__ = ["measure"]

_KEPT = FOLDER / "instructions.json"
_TOLERANCE = 0.02
_FEW, _MANY = 1000, 2000  # runs of the operation; what the second thousand needs is counted

# Name of the case, kind of key, arguments of the driver.
_CASES: dict[str, tuple[str, str]] = {
    **{f"walk, {kind}": (kind, "walk") for kind in KINDS},
    "SHA-256 of 91 octets": ("P-256", "sha256 91"),
    "SHA-256 of 294 octets": ("P-256", "sha256 294"),
    "compare": ("P-256", "equal"),
    "pin set, 1 pin": ("P-256", "pinset 1"),
    "pin set, 1,000 pins": ("P-256", "pinset 1000"),
    "host, exact, 1": ("P-256", "host exact 1"),
    "host, exact, of 1,000": ("P-256", "host exact 1000"),
    "host, wildcard, of 1,000": ("P-256", "host wildcard 1000"),
    **{
        f"decide, chain of {length}, pinned at depth {depth}": ("P-256", f"decide {length} {depth} 1 1")
        for length in range(1, 6)
        for depth in {0, length - 1}
    },
    "decide, chain of 3, of 1,000 pins": ("P-256", "decide 3 0 1000 1"),
    "decide, chain of 3, of 1,000 hosts": ("P-256", "decide 3 0 1 1000"),
}


def measure(run: Run) -> dict[str, Any]:
    """Instructions of one operation, by case."""
    if shutil.which("valgrind") is None:
        raise Unavailable("valgrind is not installed")
    program = driver()
    counts = {name: _count(program, *_CASES[name]) for name in run.track(list(_CASES), str)}
    return {"compiler": first_line("cc", "--version"), "flags": "-O2", "counts": counts}


def _count(program: Path, kind: str, arguments: str) -> int:
    few, many = (_total(program, kind, count, arguments) for count in (_FEW, _MANY))
    return round((many - few) / (_MANY - _FEW))


def _total(program: Path, kind: str, count: int, arguments: str) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program), str(count)]
    done = subprocess.run(
        [*command, *arguments.split()], input=chain_for_driver(kept(kind)), capture_output=True, check=True
    )
    collected = re.search(rb"Collected : (\d+)", done.stderr)
    if collected is None:
        raise Unavailable(f"callgrind said nothing of instructions: {done.stderr.decode(errors='replace')}")
    return int(collected[1])


def _compare(found: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What needs more than before, in words."""
    if found["compiler"] != before["compiler"]:
        return [f"the counts that are kept are those of {before['compiler']}, this is {found['compiler']}"]
    if list(found["counts"]) != list(before["counts"]):
        return ["the cases are not those of the counts that are kept; --update writes them anew"]
    return [
        f"{name}: {count:,} instructions, where {former:,} are kept"
        for (name, count), former in zip(found["counts"].items(), before["counts"].values(), strict=True)
        if count > former * (1 + _TOLERANCE)
    ]


def main() -> int:
    found = measure(Run(quick=False, tell=lambda what, part: None))
    for name, count in found["counts"].items():
        print(f"{count:9,}  {name}")
    if sys.argv[1:] == ["--update"]:
        _KEPT.write_text(json.dumps(found, indent=2) + "\n")
        return 0
    worse = _compare(found, json.loads(_KEPT.read_text()))
    print("\n".join(worse) or f"none needs more than is kept, by over {_TOLERANCE:.0%}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
