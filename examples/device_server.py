# SPDX-License-Identifier: Apache-2.0
"""A raw threaded server that knows its devices by their keys, and serves nobody else.

    python examples/device_server.py server-chain.pem server-key.pem devices.txt --port 8443

devices.txt has a pin a line, as `pinverify pins` prints it, and the device's name behind it. To add a device,
add its line and start the server anew: a context's pins do not change while it is in use.
"""

import argparse
import socket
import sys
import threading

from OpenSSL import SSL

from pinverify import Pin, PinnedContext, server_context, verdict


def read_devices(path: str) -> dict[Pin, str]:
    """The names of the devices by their pins."""
    with open(path, encoding="utf-8") as file:
        lines = [line.split(maxsplit=1) for line in file if line.strip()]
    return {Pin.parse(pin): (name[0].strip() if name else pin) for pin, *name in lines}


def serve(context: PinnedContext, sock: socket.socket, devices: dict[Pin, str]) -> None:
    """One connection: greets the device by its name, and sends its lines back."""
    with sock:
        connection = SSL.Connection(context, sock)
        connection.set_accept_state()
        try:
            connection.do_handshake()
            name = devices[verdict(connection).pins[0]]
            while data := connection.recv(4096):
                connection.sendall(f"{name}: ".encode() + data)
        except SSL.ZeroReturnError:
            connection.shutdown()
        except SSL.Error as error:  # PinRefused, if it was for the device's key
            print("refused:", error, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("chain")
    parser.add_argument("key")
    parser.add_argument("devices")
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=8443)
    options = parser.parse_args()

    devices = read_devices(options.devices)
    context = server_context((options.chain, options.key), clients=list(devices))
    with socket.create_server((options.host, options.port)) as listener:
        print("listening on port", listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(context, sock, devices), daemon=True).start()


if __name__ == "__main__":
    main()
