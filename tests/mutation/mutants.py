# SPDX-License-Identifier: Apache-2.0
"""The changes, read from the lists and held against the sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

__all__ = ["SIDES", "Mutant", "equivalents", "mutants", "rows_not_covered", "unfit"]

# Whose code is changed. "shared" is Python that both engines run on.
SIDES = ("native", "python", "shared")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: in `file`, `old` becomes `new`; `tests` are those of which one must fail then.

    A test is a node of pytest's, or a C program by its source. `rows` are those of the table of pitfalls
    whose defence the change takes away. `why` is given for a change that nothing can notice.
    """

    area: str  # the list that it is in
    name: str
    side: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    rows: tuple[str, ...] = ()
    why: str = ""

    @property
    def title(self) -> str:
        return f"{self.area}: {self.name} [{self.side}]"

    @property
    def programs(self) -> list[str]:
        """The names of the C programs among the tests."""
        return [Path(test).stem for test in self.tests if test.endswith(".c")]

    @property
    def nodes(self) -> list[str]:
        """Those for pytest."""
        return [test for test in self.tests if not test.endswith(".c")]

    def applied(self, text: str) -> str:
        """The text of the file with the change made. Raises ValueError unless it fits in just one place."""
        places = text.count(self.old)
        if places != 1 or self.old == self.new:
            raise ValueError(f"{self.title}: fits {self.file} in {places} places, and must in one")
        return text.replace(self.old, self.new)


def mutants() -> list[Mutant]:
    """All changes that the suite must notice."""
    return list(_listed("mutant"))


def equivalents() -> list[Mutant]:
    """Those of which it is known why nothing can notice them."""
    return list(_listed("equivalent"))


def _listed(table: str) -> Iterator[Mutant]:
    for path in sorted((Path(__file__).parent / "lists").glob("*.toml")):
        document = tomli.loads(path.read_text(encoding="utf-8"))
        for change in document.get(table, []):
            yield from _sides(path.stem, document.get("defaults", {}), change)


def _sides(area: str, defaults: dict[str, Any], change: dict[str, Any]) -> Iterator[Mutant]:
    """The change in each engine that it is written down for. What it leaves out, the list's defaults have."""
    for side in SIDES:
        if side not in change:
            continue
        common = {key: value for key, value in change.items() if key not in SIDES}
        found = {**defaults.get(side, {}), **common, **change[side]}
        found["tests"], found["rows"] = tuple(found.get("tests", ())), tuple(found.get("rows", ()))
        yield Mutant(area=area, side=side, **found)


def unfit(changes: list[Mutant], root: Path) -> list[str]:
    """What is wrong with the lists: changes that do not fit, have no tests, or the name of another one."""
    wrong = []
    for change in changes:
        try:
            change.applied((root / change.file).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            wrong.append(str(error))
        if not change.tests and not change.why:
            wrong.append(f"{change.title}: no test is named for it")
    titles = [change.title for change in changes]
    return wrong + [f"{title}: twice" for title in sorted(set(titles)) if titles.count(title) > 1]


def rows_not_covered(changes: list[Mutant], root: Path) -> list[str]:
    """The rows of the table of pitfalls, known by the names of their tests, that no change takes on: in
    each engine, or where the defence is, in the code that they share.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "tests").glob("test_*.py"))]
    rows = {row.upper() for text in texts for row in re.findall(r"def test_(p\d\d)_", text)}
    covered = {(row, change.side) for change in changes for row in change.rows}
    missing = [
        f"{row} has no change in {side}"
        for row in sorted(rows)
        for side in ("native", "python")
        if (row, side) not in covered and (row, "shared") not in covered
    ]
    return missing + [f"{row} is no row" for row in sorted({row for row, _ in covered} - rows)]
