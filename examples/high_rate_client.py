# SPDX-License-Identifier: Apache-2.0
"""Many short pinned connections from one thread: non-blocking sockets and a selector.

python examples/high_rate_client.py policy.toml device.example 8443 --count 1000 --at-once 50
"""

import argparse
import selectors
import socket
import sys
import time
from collections import Counter

from OpenSSL import SSL

from pinverify import PinnedContext, PinRefused, Policy, client_context


class Call:
    """One connection on its way: TCP, handshake, done."""

    def __init__(self, context: PinnedContext, host: str, address: tuple[str, int]) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(address)
        self.connection = context.connection(host, self.sock)

    def go_on(self) -> int | str:
        """Goes as far as it can; the events to wait for, or what has come of it."""
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return selectors.EVENT_READ
        except SSL.WantWriteError:
            return selectors.EVENT_WRITE
        except PinRefused as refused:
            return refused.verdict.reason.name
        except SSL.Error as error:
            return type(error).__name__
        self.connection.shutdown()
        return "accepted"


def run(
    context: PinnedContext, host: str, address: tuple[str, int], count: int, at_once: int
) -> Counter[str]:
    """What has come of `count` connections, of which `at_once` are under way at a time."""
    results: Counter[str] = Counter()
    started = 0
    with selectors.DefaultSelector() as selector:
        while started < count or selector.get_map():
            while started < count and len(selector.get_map()) < at_once:
                call = Call(context, host, address)
                selector.register(call.sock, selectors.EVENT_WRITE, call)
                started += 1
            for key, _ in selector.select():
                events = key.data.go_on()
                if isinstance(events, int):
                    selector.modify(key.fileobj, events, key.data)
                else:
                    selector.unregister(key.fileobj)
                    key.data.sock.close()
                    results[events] += 1
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("policy", help="a policy file, in TOML")
    parser.add_argument("host", help="the name that the server must have")
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--trust", default="system", help="a PEM file of CAs; pins: none")
    parser.add_argument("--address", help="where the server is, if not at its name")
    options = parser.parse_args()

    context = client_context(Policy.load(options.policy), trust=options.trust)
    address = socket.gethostbyname(options.address or options.host), options.port
    began = time.perf_counter()
    results = run(context, options.host, address, options.count, options.at_once)
    print(dict(results), f"{options.count / (time.perf_counter() - began):,.0f} connections a second")
    return 0 if set(results) == {"accepted"} else 1


if __name__ == "__main__":
    sys.exit(main())
