# SPDX-License-Identifier: Apache-2.0
"""HTTP over a pinned connection with requests, or with urllib3 alone; verification stays on.

python examples/https_get.py policy.toml https://api.example.com/
"""

import argparse
import ssl
import sys

import requests
from requests.adapters import HTTPAdapter
from urllib3.contrib.pyopenssl import PyOpenSSLContext

from pinverify import PinnedContext, Policy, client_context


class PinnedSSLContext(PyOpenSSLContext):
    """What urllib3 takes for an SSLContext; docs/frameworks.md tells why it is as it is."""

    def __init__(self, context: PinnedContext) -> None:
        super().__init__(ssl.PROTOCOL_TLS_CLIENT)
        self._ctx = context

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        return ssl.CERT_REQUIRED

    @verify_mode.setter
    def verify_mode(self, mode: ssl.VerifyMode) -> None:
        if mode != ssl.CERT_REQUIRED:
            raise ValueError("a pinned context always verifies")

    def load_verify_locations(self, *args: object, **kwargs: object) -> None:
        """Which CAs count is said by client_context(trust=...)."""

    def set_alpn_protocols(self, protocols: object) -> None:
        """Set by client_context(alpn=...)."""


class PinnedAdapter(HTTPAdapter):
    """Makes all connections of a requests.Session pinned ones."""

    def __init__(self, context: PinnedContext) -> None:
        self._context = PinnedSSLContext(context)
        super().__init__()

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("policy", help="a policy file, in TOML")
    parser.add_argument("url")
    parser.add_argument("--trust", default="system", help="a PEM file of CAs; pins: none")
    options = parser.parse_args()

    context = client_context(Policy.load(options.policy), trust=options.trust, alpn=["http/1.1"])
    with requests.Session() as session:
        session.mount("https://", PinnedAdapter(context))
        try:
            response = session.get(options.url, timeout=10)
        except requests.exceptions.SSLError as error:
            print(error, file=sys.stderr)
            return 1
    print(response.status_code, response.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
