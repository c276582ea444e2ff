"""A server on loopback, run on a thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager

KEY = "key-of-the-tests"


@contextmanager
def running(models, **options):
    """Run a server on a thread; yield it, with its `address`."""
    from fake_backend import FakeBackend

    from openmodels.serve.app import build_app
    from openmodels.serve.keys import ApiKey, digest
    from openmodels.serve.run import make_server

    grace = options.pop("grace", 2.0)
    ready = threading.Event()
    app = build_app(models, **{"keys": [ApiKey("default", digest(KEY))], **options})
    server = make_server(
        app, "127.0.0.1", 0, lambda address: (setattr(server, "address", address), ready.set()), grace=grace
    )
    server.app = app
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        for served in app.state.models:
            if isinstance(served.model.backend, FakeBackend):
                served.model.backend.release.set()
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()
