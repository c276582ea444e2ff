"""openmodels: one interface to open models.

>>> import openmodels as om
>>> om.Model("echo:").chat("hello").text
'hello'

Importing this package loads nothing heavy: each name below is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOMES = {
    "DEFAULT_MODEL": "settings",
    "AsyncStream": "stream",
    "CallOptions": "types",
    "Conversation": "conversation",
    "Delta": "types",
    "Message": "types",
    "Model": "model",
    "Reply": "types",
    "Stream": "stream",
    "ToolCall": "types",
    "Usage": "types",
    "assistant": "types",
    "register_backend": "backends.registry",
    "system": "types",
    "user": "types",
}

_ERRORS = (
    "AccessDenied",
    "AuthenticationFailed",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "DeadlineExceeded",
    "DoesNotFit",
    "EndpointRetired",
    "GatedModel",
    "InvalidReference",
    "InvalidRequest",
    "InvalidResponse",
    "LoadFailed",
    "MissingExtra",
    "ModelNotFound",
    "NotConfigured",
    "Offline",
    "OpenModelsError",
    "OutOfMemory",
    "OutputInvalid",
    "QuotaExceeded",
    "RateLimited",
    "ServerFailed",
    "StreamInterrupted",
    "UnsafeWeights",
    "UnsupportedFeature",
)

__all__ = [
    "DEFAULT_MODEL",
    "AccessDenied",
    "AsyncStream",
    "AuthenticationFailed",
    "CallOptions",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "Conversation",
    "DeadlineExceeded",
    "Delta",
    "DoesNotFit",
    "EndpointRetired",
    "GatedModel",
    "InvalidReference",
    "InvalidRequest",
    "InvalidResponse",
    "LoadFailed",
    "Message",
    "MissingExtra",
    "Model",
    "ModelNotFound",
    "NotConfigured",
    "Offline",
    "OpenModelsError",
    "OutOfMemory",
    "OutputInvalid",
    "QuotaExceeded",
    "RateLimited",
    "Reply",
    "ServerFailed",
    "Stream",
    "StreamInterrupted",
    "ToolCall",
    "UnsafeWeights",
    "UnsupportedFeature",
    "Usage",
    "__version__",
    "assistant",
    "register_backend",
    "system",
    "user",
]

if TYPE_CHECKING:
    from openmodels.backends.registry import (
        register_backend as register_backend,
    )
    from openmodels.conversation import (
        Conversation as Conversation,
    )
    from openmodels.errors import (
        AccessDenied as AccessDenied,
    )
    from openmodels.errors import (
        AuthenticationFailed as AuthenticationFailed,
    )
    from openmodels.errors import (
        ConnectionFailed as ConnectionFailed,
    )
    from openmodels.errors import (
        ContentFiltered as ContentFiltered,
    )
    from openmodels.errors import (
        ContextTooLong as ContextTooLong,
    )
    from openmodels.errors import (
        DeadlineExceeded as DeadlineExceeded,
    )
    from openmodels.errors import (
        DoesNotFit as DoesNotFit,
    )
    from openmodels.errors import (
        EndpointRetired as EndpointRetired,
    )
    from openmodels.errors import (
        GatedModel as GatedModel,
    )
    from openmodels.errors import (
        InvalidReference as InvalidReference,
    )
    from openmodels.errors import (
        InvalidRequest as InvalidRequest,
    )
    from openmodels.errors import (
        InvalidResponse as InvalidResponse,
    )
    from openmodels.errors import (
        LoadFailed as LoadFailed,
    )
    from openmodels.errors import (
        MissingExtra as MissingExtra,
    )
    from openmodels.errors import (
        ModelNotFound as ModelNotFound,
    )
    from openmodels.errors import (
        NotConfigured as NotConfigured,
    )
    from openmodels.errors import (
        Offline as Offline,
    )
    from openmodels.errors import (
        OpenModelsError as OpenModelsError,
    )
    from openmodels.errors import (
        OutOfMemory as OutOfMemory,
    )
    from openmodels.errors import (
        OutputInvalid as OutputInvalid,
    )
    from openmodels.errors import (
        QuotaExceeded as QuotaExceeded,
    )
    from openmodels.errors import (
        RateLimited as RateLimited,
    )
    from openmodels.errors import (
        ServerFailed as ServerFailed,
    )
    from openmodels.errors import (
        StreamInterrupted as StreamInterrupted,
    )
    from openmodels.errors import (
        UnsafeWeights as UnsafeWeights,
    )
    from openmodels.errors import (
        UnsupportedFeature as UnsupportedFeature,
    )
    from openmodels.model import (
        Model as Model,
    )
    from openmodels.settings import (
        DEFAULT_MODEL as DEFAULT_MODEL,
    )
    from openmodels.stream import (
        AsyncStream as AsyncStream,
    )
    from openmodels.stream import (
        Stream as Stream,
    )
    from openmodels.types import (
        CallOptions as CallOptions,
    )
    from openmodels.types import (
        Delta as Delta,
    )
    from openmodels.types import (
        Message as Message,
    )
    from openmodels.types import (
        Reply as Reply,
    )
    from openmodels.types import (
        ToolCall as ToolCall,
    )
    from openmodels.types import (
        Usage as Usage,
    )
    from openmodels.types import (
        assistant as assistant,
    )
    from openmodels.types import (
        system as system,
    )
    from openmodels.types import (
        user as user,
    )

    __version__: str
else:
    # Hidden from type checkers: a module __getattr__ would make every misspelled name pass.
    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            from importlib.metadata import version

            from openmodels.settings import DISTRIBUTION

            value: object = version(DISTRIBUTION)
        elif home := "errors" if name in _ERRORS else _HOMES.get(name):
            value = getattr(import_module(f"openmodels.{home}"), name)
        else:
            raise AttributeError(f"module 'openmodels' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
