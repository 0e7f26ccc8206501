# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: whether the C extension is built, and what the wheel is called then.

PINVERIFY_BUILD_NATIVE=1 makes a failed C build an error, 0 leaves the extension out; unset, the extension is
built if it can be. pinverify works without it, on its Python engine.
"""

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

# The oldest CPython supported: the extension keeps to the stable ABI, so one wheel serves all from here on.
ABI3_FLOOR = "cp310"


def wants_native() -> bool:
    value = os.environ.get("PINVERIFY_BUILD_NATIVE")
    if value not in (None, "0", "1"):
        raise SystemExit(f"PINVERIFY_BUILD_NATIVE is {value!r}; it must be 0, 1 or unset")
    return value != "0"


def has_stable_abi() -> bool:
    # A free-threaded CPython has no stable ABI before 3.15.
    return not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildExtension(build_ext):
    """Leaves nothing of an earlier build behind when a build fails: it would be packed in its place."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except BaseException:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            raise


class EditableWheel(editable_wheel):
    """Starts without an extension: one left in the package would be imported, whatever is asked for now."""

    def run(self) -> None:
        for path in Path(__file__).resolve().parent.glob("pinverify/_native*"):
            if path.suffix in {".so", ".pyd"}:
                path.unlink()
        super().run()


class BuildWheel(bdist_wheel):
    """Names the wheel after what is in it: py3-none-any if the extension was left out, or failed to build."""

    def get_tag(self) -> tuple[str, str, str]:
        if not self._has_extension():
            self.root_is_pure = True
        return super().get_tag()

    def _has_extension(self) -> bool:
        outputs = self.get_finalized_command("build_ext").get_outputs()
        return any(Path(path).exists() for path in outputs)


native = {"cffi_modules": ["csrc/build_ffi.py:ffi"]} if wants_native() else {}
abi = {"bdist_wheel": {"py_limited_api": ABI3_FLOOR}} if native and has_stable_abi() else {}

setup(
    cmdclass={"build_ext": BuildExtension, "editable_wheel": EditableWheel, "bdist_wheel": BuildWheel},
    options=abi,
    **native,
)
