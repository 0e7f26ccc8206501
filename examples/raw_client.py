# SPDX-License-Identifier: Apache-2.0
"""A raw client: a socket, a pinned connection, a line out and a line back.

    python examples/raw_client.py policy.toml device.example 8443 "hello"

It ends with 0, or with 1 and the whole story if the server is refused.
"""

import argparse
import socket
import sys

from OpenSSL import SSL

from pinverify import PinRefused, Policy, client_context


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("policy", help="a policy file, in TOML")
    parser.add_argument("host", help="the name that the server must have")
    parser.add_argument("port", type=int)
    parser.add_argument("line", help="what to say")
    parser.add_argument("--trust", default="system", help="a PEM file of CAs; pins: none")
    parser.add_argument("--identity", nargs=2, metavar=("CHAIN", "KEY"), help="this client's own certificate")
    parser.add_argument("--address", help="where the server is, if not at its name")
    options = parser.parse_args()

    identity = tuple(options.identity) if options.identity else None
    context = client_context(Policy.load(options.policy), trust=options.trust, identity=identity)
    with socket.create_connection((options.address or options.host, options.port), timeout=10) as sock:
        sock.settimeout(None)  # pyOpenSSL wants a socket that blocks, or one that does not
        connection = context.connection(options.host, sock)
        try:
            connection.do_handshake()
            connection.sendall(options.line.encode() + b"\n")
            print(connection.recv(4096).decode(), end="")
            connection.shutdown()
        except PinRefused as refused:
            print(refused, file=sys.stderr)
            return 1
        except SSL.Error as error:  # as when the server does not know this client
            print("the connection failed:", error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
