# SPDX-License-Identifier: Apache-2.0
"""The demonstration: real handshakes over loopback, each held against what should come of it.

It needs nothing that pinverify itself does not need, and no network but 127.0.0.1.
"""

from pinverify.demo.cases import CASES, Case, Result, run
from pinverify.demo.cost import Cost, measure
from pinverify.demo.loopback import Outcome
from pinverify.demo.pki import Pki

__all__ = ["CASES", "Case", "Cost", "Outcome", "Pki", "Result", "measure", "run"]
