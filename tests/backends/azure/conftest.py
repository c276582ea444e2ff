"""Fixtures for tests of Azure."""

from server_fixtures import hasty, own, server, told  # noqa: F401 - fixtures
