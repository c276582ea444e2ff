"""llama.cpp's own server on a free loopback port, until standard input ends.

This file is a program of its own.
The first line of standard input says what to serve, as JSON, so that the key stands in no list of
processes. Nothing of openmodels is imported here.
"""

import json
import os
import sys
import threading
import time

import xllamacpp

_LOG_DELAY = 1.0  # seconds that llama.cpp's log gets to be written before a failed start ends the process


def _exit_at_end_of_input() -> None:
    # Not through `sys.stdin`, whose lock would turn another end of this process into a crash.
    while os.read(0, 4096):
        pass
    # Not a thread's exit but the process's, and at once: nobody is there to wait for a clean end.
    os._exit(0)


def main() -> None:
    """Serve the model."""
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["model"]}
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = settings["context"]
    params.n_parallel = settings["parallel"]
    params.kv_unified = True
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.endpoint_slots = True
    params.ui = False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        # What llama.cpp has logged says why. A thread writes it, and the end of the process does not wait for that
        # thread: on a busy machine all 16 lines of a refused file were lost.
        time.sleep(_LOG_DELAY)
        sys.exit(f"{error}")
    sys.stdout.write(f"{settings['ready']}{server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
