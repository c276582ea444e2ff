"""The place of a model's files: this disk, the Hub, or the embedded default.

This module imports neither torch nor transformers: finding files that are already there must be cheap.
"""

import os
from pathlib import Path

from openmodels import model_reference, settings
from openmodels.backends.local.weights import checkpoint, checkpoint_download, default_model
from openmodels.errors import InvalidReference, InvalidRequest, LoadFailed, ModelNotFound


def locate_folder(
    rest: str, *, revision: str | None = None, deadline: float | None = None, dtype: str = "auto"
) -> Path:
    """Return what `locate_model` does, converted to a folder for transformers."""
    path = locate_model(rest, revision=revision, deadline=deadline, dtype=dtype)
    if path.is_dir():
        return path
    # Imported late: the converter brings torch and transformers with it.
    from openmodels.backends.local.weights import cache

    return cache.get_converted(path, deadline=deadline, dtype=dtype)


def names_gguf(rest: str) -> bool:
    """Return whether the text names a GGUF file, on this disk or on the Hub."""
    text = rest.strip().lower()
    return text.endswith(".gguf") or (not is_path(rest.strip()) and text.partition("@")[0].endswith(".gguf"))


def locate_model(rest: str, *, revision: str | None = None, deadline: float | None = None, dtype: str = "auto") -> Path:
    """Return a folder with the model, or its GGUF file, fetching it if need be.

    Args:
        rest: What stands behind "local:": "org/model[@revision]", "org/repo/file.gguf[@revision]",
            a folder, or a .gguf file.
        revision: Branch, tag or commit, as an alternative to "@revision".
        deadline: `time.monotonic()` value after which no new step is begun, or None.
        dtype: What the embedded default's weights are converted to, where they are only here as a GGUF file.

    Raises:
        InvalidReference: The text is neither a path nor a hub id.
        InvalidRequest: `revision` does not apply or contradicts the reference.
        ModelNotFound: No such file, folder, repository or revision.
        LoadFailed: The files are missing, broken, unsafe (`UnsafeWeights`) or too large (`DoesNotFit`).
        Offline: They are not on this disk and the network is off or out of reach.
        OpenModelsError: Another failure of the network, the Hub or its terms, as its class says.
    """
    text = rest.strip()
    if not text:
        raise InvalidReference("The reference names no model.", next_step=f"Write {settings.DEFAULT_MODEL!r}.")
    if is_path(text):
        if revision is not None:
            raise InvalidRequest(f"revision: {text!r} is on this disk and has no revisions.")
        return _check_path(Path(os.path.expanduser(text)), text)  # noqa: PTH111 - never raises
    model = model_reference.parse_hub_id(text)
    if model.suffix is not None:
        raise InvalidReference(
            f"{':' + model.suffix!r} names a provider, but a local model runs here.",
            next_step=f"Write 'local:{text.rpartition(':')[0]}', or 'hf:{text}' to run it at a provider.",
        )
    if model.revision and revision and model.revision != revision:
        raise InvalidRequest(f"revision: {revision!r} contradicts '@{model.revision}' in the reference.")
    revision = model.revision or revision
    if model.file is not None:
        if not model.file.lower().endswith(".gguf"):
            raise InvalidReference(
                f"{model.file!r} is not a model file.", next_step="Name a .gguf file, or only 'org/model'."
            )
        return checkpoint_download.download_gguf(model.repo, model.file, revision, deadline)
    if model.repo == default_model.REPO and revision is None:
        return default_model.get_folder(deadline, dtype)
    return checkpoint_download.download_folder(model.repo, revision, deadline)


def is_path(rest: str) -> bool:
    """Return whether the text names something on this disk, as opposed to the Hub."""
    if rest.startswith((".", "/", "~")) or "\\" in rest or os.path.exists(rest):  # noqa: PTH110 - never raises
        return True
    return rest.lower().endswith(".gguf") and rest.count("/") < 2


def _check_path(path: Path, text: str) -> Path:
    if not os.path.exists(path):  # noqa: PTH110 - never raises
        bare = text.removeprefix("./")
        hint = f" For the Hub's model write 'local:{bare}'." if text != bare and bare.count("/") == 1 else ""
        raise ModelNotFound(
            f"There is no file or folder {text!r}.",
            next_step=f"Check the path; relative paths start at the current folder.{hint}",
        )
    if path.is_dir():
        checkpoint.check_folder(path)
        return path
    if path.suffix.lower() != ".gguf":
        checkpoint.refuse_pickles([path.name], "The file")
        raise LoadFailed(
            f"{path.name!r} is not a model by itself.",
            next_step="Name the folder that holds config.json and the .safetensors files, or a .gguf file.",
        )
    if not os.access(path, os.R_OK):
        raise LoadFailed(f"{path.name!r} cannot be read.", next_step="Check the file's permissions.")
    return path
