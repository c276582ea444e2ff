"""Fixtures for tests of Hugging Face."""

from server_fixtures import hasty, own, server, told  # noqa: F401 - fixtures
