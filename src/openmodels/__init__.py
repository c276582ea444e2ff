"""openmodels: one interface to open models.

>>> import openmodels as om
>>> om.Model("echo:").chat("hello").text
'hello'

Importing this package loads nothing heavy: each name below is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Where each public name lives; every other name of `__all__` is an error, in `errors`.
_HOMES = {
    "AsyncBulk": "bulk.iterators",
    "AsyncStream": "core.stream",
    "Bulk": "bulk.iterators",
    "BulkItem": "bulk.items",
    "BulkSummary": "bulk.items",
    "CallOptions": "types.options",
    "Capabilities": "types.capabilities",
    "Conversation": "conversation",
    "DEFAULT_MODEL": "settings",
    "Delta": "types.reply",
    "EmbedOptions": "types.options",
    "Embeddings": "types.embeddings",
    "Family": "catalog.family",
    "Finding": "openness.findings",
    "Image": "images",
    "MapOptions": "bulk.run",
    "Message": "types.messages",
    "Model": "model",
    "ModelRecord": "catalog.record",
    "OpennessComparison": "openness.api",
    "Provider": "hub.offers",
    "RankedDocument": "types.rankings",
    "Ranking": "types.rankings",
    "Reply": "types.reply",
    "Report": "openness.report",
    "RerankOptions": "types.options",
    "Results": "catalog.search.results",
    "Stream": "core.stream",
    "TokenLogprob": "types.reply",
    "Tool": "output.tools",
    "ToolCall": "types.messages",
    "ToolResult": "output.tool_results",
    "ToolRound": "core.tool_loop",
    "ToolRun": "core.tool_loop",
    "ToolRunOptions": "types.options",
    "Usage": "types.reply",
    "Verdict": "openness.findings",
    "acompare_openness": "openness.api",
    "aopenness": "openness.api",
    "aproviders": "catalog.providers",
    "assistant": "types.messages",
    "compare_openness": "openness.api",
    "family": "catalog.family",
    "info": "catalog.api",
    "openness": "openness",
    "providers": "catalog.providers",
    "register_backend": "backends.registry",
    "search": "catalog.api",
    "system": "types.messages",
    "tool": "output.tools",
    "user": "types.messages",
}

__all__ = [
    "DEFAULT_MODEL",
    "AccessDenied",
    "AsyncBulk",
    "AsyncStream",
    "AuthenticationFailed",
    "Bulk",
    "BulkItem",
    "BulkSummary",
    "CallOptions",
    "Capabilities",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "Conversation",
    "DeadlineExceeded",
    "Delta",
    "DoesNotFit",
    "EmbedOptions",
    "Embeddings",
    "EndpointRetired",
    "Family",
    "Finding",
    "GatedModel",
    "Image",
    "InvalidReference",
    "InvalidRequest",
    "InvalidResponse",
    "LoadFailed",
    "MapOptions",
    "Message",
    "MissingExtra",
    "Model",
    "ModelNotFound",
    "ModelRecord",
    "NotConfigured",
    "Offline",
    "OpenModelsError",
    "OpennessComparison",
    "OutOfMemory",
    "OutputInvalid",
    "Provider",
    "QuotaExceeded",
    "RankedDocument",
    "Ranking",
    "RateLimited",
    "Reply",
    "Report",
    "RerankOptions",
    "Results",
    "ServerFailed",
    "Stream",
    "StreamInterrupted",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolResult",
    "ToolRound",
    "ToolRoundsExceeded",
    "ToolRun",
    "ToolRunOptions",
    "UnsafeWeights",
    "UnsupportedFeature",
    "Usage",
    "Verdict",
    "WriteFailed",
    "__version__",
    "acompare_openness",
    "aopenness",
    "aproviders",
    "assistant",
    "compare_openness",
    "family",
    "info",
    "openness",
    "providers",
    "register_backend",
    "search",
    "system",
    "tool",
    "user",
]

if TYPE_CHECKING:
    from openmodels.backends.registry import (
        register_backend as register_backend,
    )
    from openmodels.bulk.items import (
        BulkItem as BulkItem,
        BulkSummary as BulkSummary,
    )
    from openmodels.bulk.iterators import (
        AsyncBulk as AsyncBulk,
        Bulk as Bulk,
    )
    from openmodels.bulk.run import (
        MapOptions as MapOptions,
    )
    from openmodels.catalog.api import info as info, search as search
    from openmodels.catalog.family import (
        Family as Family,
        family as family,
    )
    from openmodels.catalog.providers import aproviders as aproviders, providers as providers
    from openmodels.catalog.record import (
        ModelRecord as ModelRecord,
    )
    from openmodels.catalog.search.results import Results as Results
    from openmodels.conversation import (
        Conversation as Conversation,
    )
    from openmodels.core.stream import AsyncStream as AsyncStream, Stream as Stream
    from openmodels.core.tool_loop import ToolRound as ToolRound, ToolRun as ToolRun
    from openmodels.errors import (
        AccessDenied as AccessDenied,
        AuthenticationFailed as AuthenticationFailed,
        ConnectionFailed as ConnectionFailed,
        ContentFiltered as ContentFiltered,
        ContextTooLong as ContextTooLong,
        DeadlineExceeded as DeadlineExceeded,
        DoesNotFit as DoesNotFit,
        EndpointRetired as EndpointRetired,
        GatedModel as GatedModel,
        InvalidReference as InvalidReference,
        InvalidRequest as InvalidRequest,
        InvalidResponse as InvalidResponse,
        LoadFailed as LoadFailed,
        MissingExtra as MissingExtra,
        ModelNotFound as ModelNotFound,
        NotConfigured as NotConfigured,
        Offline as Offline,
        OpenModelsError as OpenModelsError,
        OutOfMemory as OutOfMemory,
        OutputInvalid as OutputInvalid,
        QuotaExceeded as QuotaExceeded,
        RateLimited as RateLimited,
        ServerFailed as ServerFailed,
        StreamInterrupted as StreamInterrupted,
        ToolRoundsExceeded as ToolRoundsExceeded,
        UnsafeWeights as UnsafeWeights,
        UnsupportedFeature as UnsupportedFeature,
        WriteFailed as WriteFailed,
    )
    from openmodels.hub.offers import Provider as Provider
    from openmodels.images import Image as Image
    from openmodels.model import (
        Model as Model,
    )
    from openmodels.openness import (
        openness as openness,
    )
    from openmodels.openness.api import (
        OpennessComparison as OpennessComparison,
        acompare_openness as acompare_openness,
        aopenness as aopenness,
        compare_openness as compare_openness,
    )
    from openmodels.openness.findings import (
        Finding as Finding,
        Verdict as Verdict,
    )
    from openmodels.openness.report import (
        Report as Report,
    )
    from openmodels.output.tool_results import ToolResult as ToolResult
    from openmodels.output.tools import Tool as Tool, tool as tool
    from openmodels.settings import (
        DEFAULT_MODEL as DEFAULT_MODEL,
    )
    from openmodels.types.capabilities import Capabilities as Capabilities
    from openmodels.types.embeddings import Embeddings as Embeddings
    from openmodels.types.messages import (
        Message as Message,
        ToolCall as ToolCall,
        assistant as assistant,
        system as system,
        user as user,
    )
    from openmodels.types.options import (
        CallOptions as CallOptions,
        EmbedOptions as EmbedOptions,
        RerankOptions as RerankOptions,
        ToolRunOptions as ToolRunOptions,
    )
    from openmodels.types.rankings import RankedDocument as RankedDocument, Ranking as Ranking
    from openmodels.types.reply import Delta as Delta, Reply as Reply, TokenLogprob as TokenLogprob, Usage as Usage

    __version__: str
else:
    # Hidden from type checkers: a module __getattr__ would make every misspelled name pass.
    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            from openmodels.settings import DISTRIBUTION

            value: object = version(DISTRIBUTION)
        elif name in __all__:
            from openmodels.imports import import_uninterrupted

            value = getattr(import_uninterrupted(f"openmodels.{_HOMES.get(name, 'errors')}"), name)
        else:
            raise AttributeError(f"module 'openmodels' has no attribute {name!r}.{_advice(name)}")
        globals()[name] = value
        return value

    def _advice(name: str) -> str:
        """Return what to write instead of a name that other packages have, or ""."""
        calls = {"generate": "complete", "completion": "chat", "acompletion": "achat", "embeddings": "embed"}
        calls |= dict.fromkeys(("ask", "prompt", "send"), "chat")
        calls |= {call: call for call in ("chat", "stream", "complete", "embed", "rerank", "map", "run_tools", "load")}
        calls |= {call: call for call in ("achat", "astream", "acomplete", "aembed", "arerank", "amap", "arun_tools")}
        if call := calls.get(name):
            return f' Calls belong to a model: om.Model("local:org/model").{call}(…).'
        if name in {"Client", "OpenAI", "AsyncOpenAI", "InferenceClient", "LLM", "AutoModel", "pipeline", "get_model"}:
            return ' Write om.Model("local:org/model"), or "hf:", "azure:" or "server:" before the name.'
        if name in {"list_models", "models", "find", "search_models"}:
            return ' Write om.search("what you look for").'
        import difflib

        near = difflib.get_close_matches(name, __all__, n=1)
        return f" Did you mean {near[0]!r}?" if near else ""

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
