"""`transformers serve` on a random loopback port, until standard input ends: python transformers_serve.py FOLDER."""

import contextlib
import socket
import sys
import time

from transformers.cli.serve import Serve

if __name__ == "__main__":
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    # What the server prints belongs to its log.
    with contextlib.redirect_stdout(sys.stderr):
        serving = Serve(sys.argv[1], device="cpu", host="127.0.0.1", port=port, non_blocking=True)
        while not serving.server.started:
            time.sleep(0.05)
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    serving.kill_server()
