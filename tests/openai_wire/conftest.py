"""Fixtures for tests of the wire format."""

from server_fixtures import hasty, own, server, told  # noqa: F401 - fixtures
