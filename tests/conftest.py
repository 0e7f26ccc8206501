# SPDX-License-Identifier: Apache-2.0
"""Every test runs over both engines; what a test needs and the machine lacks, it skips for, or fails for in
CI.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # for `import support`

# Set in CI: whatever would be skipped is a failure there.
REQUIRE_ALL = os.environ.get("PINVERIFY_REQUIRE_ALL") == "1"

# The machines are shared and noisy; a deadline on an example would only measure the neighbours.
settings.register_profile("pinverify", deadline=None, print_blob=True)
settings.load_profile("pinverify")


def missing(what: str) -> None:
    """Skips the test for want of `what`, or fails it where nothing may be wanting."""
    if REQUIRE_ALL:
        pytest.fail(f"PINVERIFY_REQUIRE_ALL=1, and missing: {what}")
    pytest.skip(f"missing: {what}")


@pytest.fixture(autouse=True, params=["native", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Makes the package use one engine for this test; the other one for the next run of it."""
    try:
        module = importlib.import_module(f"pinverify.engine.{request.param}")
    except ModuleNotFoundError:
        if os.environ.get("PINVERIFY_BUILD_NATIVE") == "0":  # the pure build: there is nothing to miss
            pytest.skip("built without the extension")
        missing("the C extension (pinverify._native)")
    monkeypatch.setattr("pinverify.engine.engine", module)
    return module


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Gives the path of a program that a test cannot do without, such as nginx."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if path is None:
            missing(f"the program {name}")
        assert path is not None
        return path

    return find
