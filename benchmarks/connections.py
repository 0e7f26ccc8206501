# SPDX-License-Identifier: Apache-2.0
"""Connections to a real nginx: what each costs one client or the other, and how many there are a second.

All clients that are compared take turns, in a new order each round, so that what else the machine does falls
on all of them. Each is its own process on one core; nginx has another. Before anything is timed, each client
connects with the right pin and, if it has one, must refuse the wrong one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes

from benchmarks.clients import CLIENTS, UNPINNED, Target
from benchmarks.common import FOLDER, Run, Unavailable, python, ratio, spread
from benchmarks.keys import HOST, owner, pem
from benchmarks.server import Site, cores, nginx, on_core

__all__ = ["GO", "TITLES", "measure"]

GO = "go"
TITLES = {**{name: client.title for name, client in CLIENTS.items()}, GO: "Go, VerifyConnection"}
_CHAIN = 3
_PREDICTABLE = random.Random(4)  # for the order only; a run can be repeated


class Cell(NamedTuple):
    """One setting in which all clients are compared."""

    tls: str
    key: str
    threads: int

    def __str__(self) -> str:
        return f"TLS {self.tls}, {self.key}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Worker:
    """A client as a process, which takes jobs."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process
        self.cpu, self.wall = list[float](), list[float]()

    def connect(self, count: int, threads: int, pin: str = "right") -> dict[str, Any]:
        """Makes `count` connections; says whether all came about, and the seconds that they took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps({"pin": pin, "count": count, "threads": threads}), file=self._process.stdin, flush=True
        )
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client {self.name} has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def check(self, pinned: bool) -> None:
        """Before anything is timed: it connects with the right pin, and not with the wrong one."""
        if not self.connect(2, 1)["done"]:
            raise SystemExit(f"{TITLES[self.name]} does not connect with the right pin")
        if pinned and self.connect(1, 1, "wrong")["done"]:
            raise SystemExit(f"{TITLES[self.name]} connects with a wrong pin")

    def time(self, count: int, threads: int) -> None:
        """One more sample: the seconds of one connection."""
        found = self.connect(count, threads)
        if not found["done"]:
            raise SystemExit(f"{TITLES[self.name]} has failed")
        self.cpu.append(found["cpu"] / count)
        self.wall.append(found["wall"] / count)


def measure(run: Run) -> dict[str, Any]:
    """Seconds of CPU and of time for one connection, and their ratios to pyOpenSSL without pins."""
    count, rounds = run.pick((20, 105), (10, 15))  # short turns: noise goes up and down in seconds
    keys, threads = run.pick((["P-256", "RSA-2048"], [1, 2, 4]), (["P-256"], [1]))
    left_out: dict[str, str] = {}
    cells = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = [(key, tls) for key in keys for tls in run.pick(["1.3", "1.2"], ["1.3"])]
        wanted = [(owner(key, _CHAIN), tls) for key, tls in kinds]
        with nginx(folder, wanted) as sites:
            settings = [
                (site, Cell(tls, key, n))
                for site, (key, tls) in zip(sites, kinds, strict=True)
                for n in threads
            ]
            for site, cell in run.track(settings, lambda pair: str(pair[1])):
                with _workers(folder, site, left_out) as workers:
                    _take_turns(workers, count, rounds, cell.threads)
                    cells.append({**cell._asdict(), "clients": _figures(workers)})
    server, client = cores()
    return {
        "connections": count,
        "rounds": rounds,
        "chain": _CHAIN,
        "cores": {"server": server, "client": client},
        "left_out": left_out,
        "cells": cells,
    }


def _take_turns(workers: list[Worker], count: int, rounds: int, threads: int) -> None:
    for worker in workers:
        worker.check(worker.name == GO or CLIENTS[worker.name].pinned)
        worker.connect(count // 2, threads)  # warm
    order = workers.copy()
    for _ in range(rounds):
        _PREDICTABLE.shuffle(order)
        for worker in order:
            worker.time(count, threads)


def _figures(workers: list[Worker]) -> dict[str, Any]:
    by_name = {worker.name: worker for worker in workers}

    def base(name: str) -> Worker:
        http = name in CLIENTS and CLIENTS[name].http
        return by_name[UNPINNED + ("-http" if http else "")]

    return {
        name: {
            "cpu": spread(worker.cpu),
            "wall": spread(worker.wall),
            "rate": spread([1 / seconds for seconds in worker.wall]),
            "cpu_ratio": ratio(worker.cpu, base(name).cpu),
            "wall_ratio": ratio(worker.wall, base(name).wall),
        }
        for name, worker in by_name.items()
    }


@contextmanager
def _workers(folder: Path, site: Site, left_out: dict[str, str]) -> Iterator[list[Worker]]:
    leaf = site.owner.certificate
    root = folder / f"root-{site.port}.pem"
    root.write_bytes(pem([site.owner.chain[-1]]))
    pin = str(site.owner.pin).removeprefix("sha256/")
    target = Target(site.port, HOST, str(root), pin, leaf.fingerprint(hashes.SHA256()).hex())
    with ExitStack() as stack:
        log = stack.enter_context((folder / "clients.log").open("a"))
        options = {"stderr": log, "preexec_fn": on_core(cores()[1])}
        workers = []
        for name in CLIENTS:
            process = python("-m", "benchmarks.clients", name, target.json, **options)
            workers.append(Worker(name, stack.enter_context(_ended(process))))
        try:
            command = [str(_go(folder)), target.json]
        except Unavailable as absent:
            left_out[GO] = str(absent)
        else:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = subprocess.Popen(command, **pipes, **options)
            workers.append(Worker(GO, stack.enter_context(_ended(process))))
        yield workers


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _go(folder: Path) -> Path:
    """The client in Go, compiled once."""
    program = folder / "go-client"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise Unavailable("go is not installed")
    cache = {"GOCACHE": str(folder / "go-cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    source = FOLDER / "peers" / "client.go"
    subprocess.run(["go", "build", "-o", program, source], check=True, env={**os.environ, **cache})
    return program
