"""The command that installs an extra: it works where the package itself was installed from."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest

from openmodels import settings

ORIGINS = {
    "an index": (None, "'openmodels-sdk[azure]'"),
    "a clone": ({"url": "file:///home/me/my%20clone", "dir_info": {}}, "'/home/me/my clone[azure]'"),
    "a clone, editable": (
        {"url": "file:///home/me/clone", "dir_info": {"editable": True}},
        "-e '/home/me/clone[azure]'",
    ),
    "a repository": (
        {
            "url": "https://example.org/o.git",
            "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "v1"},
        },
        "'openmodels-sdk[azure] @ git+https://example.org/o.git@v1'",
    ),
    "a wheel": (
        {"url": "https://example.org/o.whl", "archive_info": {}},
        "'openmodels-sdk[azure] @ https://example.org/o.whl'",
    ),
    "a damaged record": ("{", "'openmodels-sdk[azure]'"),
}


@pytest.fixture
def installed_from(tmp_path, monkeypatch):
    """Install the package's metadata, with what an installer records of its origin."""

    def install(origin):
        info = tmp_path / "openmodels_sdk-9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: openmodels-sdk\nVersion: 9\n")
        if origin is not None:
            (info / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize("name", ORIGINS)
def test_it_follows_where_the_package_came_from(name, installed_from, monkeypatch):
    origin, arguments = ORIGINS[name]
    installed_from(origin)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert settings.install_hint("azure") == f"pip install {arguments}"


def test_an_environment_without_pip_is_uvs(installed_from, monkeypatch):
    installed_from(None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert settings.install_hint("azure") == "uv pip install 'openmodels-sdk[azure]'"
