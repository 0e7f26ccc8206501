# SPDX-License-Identifier: Apache-2.0
"""What it takes until there is a pinned context: importing, and making one with the system's trust anchors.

Each sample is a Python process of its own, in turns with one that imports OpenSSL alone.
`python -m benchmarks.startup` is the process that makes contexts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.common import Run, python, spread

__all__ = ["measure"]

_COMMANDS = {
    "python": ["-c", "pass"],
    "OpenSSL": ["-c", "import OpenSSL"],
    "pinverify": ["-c", "import OpenSSL, pinverify"],
    "pinverify --help": ["-m", "pinverify", "--help"],
    "click, OpenSSL": ["-c", "import click, OpenSSL"],
}
_CONTEXTS = 100


def measure(run: Run) -> dict[str, Any]:
    """Seconds of a process by what it imports, and of the first and the later contexts."""
    seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in run.track(range(run.pick(31, 9)), lambda number: f"round {number + 1}"):
        for name, arguments in _COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    beyond = [one - other for one, other in zip(seconds["pinverify"], seconds["OpenSSL"], strict=True)]
    return {
        "processes": {name: spread(samples) for name, samples in seconds.items()},
        "beyond_openssl": spread(beyond),
        "help_ratio": spread(
            [
                one / other
                for one, other in zip(seconds["pinverify --help"], seconds["click, OpenSSL"], strict=True)
            ]
        ),
        "contexts": {engine: _contexts(run.pick(9, 3), engine) for engine in ("native", "python")},
    }


def _contexts(rounds: int, engine: str) -> dict[str, dict[str, float]]:
    found = []
    for _ in range(rounds):
        environment = {**os.environ, "PINVERIFY_ENGINE": engine}
        with python("-m", "benchmarks.startup", env=environment) as process:
            assert process.stdout is not None
            found.append(json.loads(process.stdout.readline()))
    return {name: spread([sample[name] for sample in found]) for name in found[0]}


def main() -> None:
    from pinverify import client_context

    pins = {"server.example": ["sha256/" + "A" * 43 + "="]}
    seconds = []
    for _ in range(_CONTEXTS):
        began = time.perf_counter()
        client_context(pins, trust="system")
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps({"first": seconds[0], "later": statistics.median(seconds[1:]), "hundredth": seconds[-1]})
    )


if __name__ == "__main__":
    main()
