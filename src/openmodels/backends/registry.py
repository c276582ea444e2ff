"""The backends: a table of built-in ones, then the plugins for other names.

A plugin is a distribution with an entry point in the group `openmodels.backends` whose name is
the backend's and whose value is the class: `toy = "openmodels_toy:ToyBackend"`.
"""

import inspect
from dataclasses import dataclass

from openmodels import imports, model_reference
from openmodels.backends.base import Backend
from openmodels.errors import InvalidReference, InvalidRequest, MissingExtra
from openmodels.settings import install_hint


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a backend's class is, and what to install when it does not import."""

    target: str  # "module:Class"
    extra: str | None  # the extra that brings the modules in `needs`, or None
    summary: str  # what it does, in a few words
    needs: tuple[str, ...] = ()  # the modules that it imports and a base install lacks

    def missing(self) -> list[str]:
        """Return those of `needs` that are not installed; imports none of them."""
        return [module for module in self.needs if not imports.is_installed(module)]


BUILT_IN: dict[str, Entry] = {
    "echo": Entry("openmodels.backends.echo:EchoBackend", None, "repeats or plays a script; no model, no key"),
    "hf": Entry("openmodels.backends.hf.backend:HfBackend", None, "Hugging Face's inference providers and endpoints"),
    "local": Entry(
        "openmodels.backends.local.backend:LocalBackend",
        "local",
        "runs open weights on this machine",
        ("torch", "transformers", "accelerate", "gguf", "jinja2", "llguidance", "PIL", "psutil", "safetensors"),
    ),
    "azure": Entry(
        "openmodels.backends.azure.backend:AzureBackend",
        "azure",
        "models deployed on Azure",
        ("azure.ai.inference", "azure.identity"),
    ),
    "server": Entry("openmodels.backends.server:ServerBackend", None, "any server with an OpenAI-compatible API"),
}

_registered: dict[str, type[Backend]] = {}


def list_names() -> list[str]:
    """Return the names of the built-in and registered backends, plugins left out."""
    return sorted({*BUILT_IN, *_registered})


def register_backend(name: str, backend: type[Backend]) -> None:
    """Register a backend class under a name, for this process.

    Raises:
        InvalidRequest: The name is taken by a built-in backend or cannot stand in a reference,
            or the class is not a `Backend`.
    """
    if not model_reference.is_backend_name(name):
        raise InvalidRequest(f"name: {name!r} cannot stand before the colon of a reference.")
    if name in BUILT_IN:
        raise InvalidRequest(f"name: {name!r} is a built-in backend.", next_step="Choose another name.")
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise InvalidRequest("backend: register the class itself, a subclass of openmodels.backends.base.Backend.")
    _registered[name] = backend


def find(name: str) -> type[Backend]:
    """Return the class of a backend, importing its module now.

    Raises:
        InvalidReference: No plugin provides the name, or two do.
        MissingExtra: The backend is there, but what it needs is not installed.
    """
    if name in _registered:
        return _registered[name]
    if entry := BUILT_IN.get(name):
        module, _, attribute = entry.target.partition(":")
        try:
            backend: type[Backend] = getattr(imports.import_uninterrupted(module), attribute)
        except ModuleNotFoundError as error:
            if entry.extra is None or (error.name or "").partition(".")[0] == "openmodels":
                raise
            raise missing_extra(name, entry.extra, error) from error
        return backend
    return _load_plugin(name)


def list_parameters(backend: type[Backend]) -> dict[str, inspect.Parameter]:
    """Return a backend's options, with those that it passes on to its base."""
    options: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(backend):
        if "__init__" in vars(base):
            signature = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            options |= {name: option for name, option in signature.items() if option.kind is option.KEYWORD_ONLY}
            if all(option.kind is not option.VAR_KEYWORD for option in signature.values()):
                break
    return options


def missing_extra(backend: str, extra: str, error: ModuleNotFoundError) -> MissingExtra:
    """Return the error for an optional dependency that does not import."""
    return MissingExtra(
        f"The backend {backend!r} needs the package {error.name!r}, which is not installed.",
        next_step=f"Run: {install_hint(extra)}",
    )


def _load_plugin(name: str) -> type[Backend]:
    from importlib.metadata import entry_points

    points = list(entry_points(group="openmodels.backends", name=name))
    if not points:
        raise model_reference.unknown_backend(name, list_names())
    if len(points) > 1:
        owners = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise InvalidReference(f"Several packages provide the backend {name!r}: {owners}.", next_step="Remove one.")
    point = points[0]
    owner = point.dist.name if point.dist else point.value
    try:
        backend = point.load()
    except Exception as error:
        raise MissingExtra(
            f"The backend {name!r} from the package {owner!r} does not import: {type(error).__name__}: {error}.",
            next_step=f"Repair or remove {owner!r}.",
        ) from error
    if inspect.isclass(backend) and issubclass(backend, Backend):
        return backend
    raise InvalidReference(f"{owner!r} offers {name!r}, but {point.value} is no Backend class.")
