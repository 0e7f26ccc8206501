# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest's: leaves out the tests of the other engine, makes sure whose package is tested, and has
failures found and not studied.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine-only", choices=["native", "python"])


def pytest_configure(config: pytest.Config) -> None:
    import pinverify

    if not Path(pinverify.__file__).is_relative_to(config.rootpath):
        raise pytest.UsageError(f"{pinverify.__file__} is not of the sources under test")


def pytest_collection() -> None:
    """No failing example is made smaller, or kept for the next change."""
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutation", settings(), phases=phases, database=None)
    settings.load_profile("mutation")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that the fixture `engine` does not run over each engine is both engines' own."""
    wanted = config.getoption("--engine-only")
    if wanted is not None:
        items[:] = [item for item in items if _engine(item) in (wanted, None)]


def _engine(item: pytest.Item) -> object:
    return item.callspec.params.get("engine") if hasattr(item, "callspec") else None
