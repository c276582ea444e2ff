"""openmodels: one interface to open models.

>>> import openmodels as om
>>> om.Model("echo:").chat("hello").text
'hello'

Importing this package loads nothing heavy: each name below is imported when it is first used.
"""

from typing import TYPE_CHECKING

_NAMES = {
    "backends.registry": ("register_backend",),
    "bulk.items": ("BulkItem", "BulkSummary"),
    "bulk.iterators": ("AsyncBulk", "Bulk"),
    "bulk.run": ("MapOptions",),
    "catalog.api": ("info", "search"),
    "catalog.family": ("Family", "family"),
    "catalog.providers": ("aproviders", "providers"),
    "catalog.record": ("ModelRecord",),
    "catalog.search.results": ("Results",),
    "choose": ("choose",),
    "choose.choosing": ("achoose",),
    "choose.fit": ("afit", "fit"),
    "choose.fit_report": ("Fit",),
    "choose.lock": ("aaudit", "alock", "audit", "lock"),
    "choose.lock_reports": ("Audit", "Lock"),
    "choose.pareto": ("Pareto", "apareto", "pareto"),
    "choose.quantisation": ("QuantisationLoss", "aquantisation_loss", "quantisation_loss"),
    "choose.scores": ("ScoreTable", "read_table"),
    "choose.selection": ("Choice", "Selection"),
    "combine.cascade": ("cascade",),
    "combine.fallback": ("fallback",),
    "combine.learned_router": ("LearnedRouter", "learn_router", "load_router"),
    "combine.route": ("route",),
    "combine.vote": ("vote",),
    "compare": ("compare",),
    "compare.api": ("CompareOptions", "acompare"),
    "compare.comparison": ("Comparison",),
    "compare.results": ("ComparedPair",),
    "conversation": ("Conversation",),
    "core.stream": ("AsyncStream", "Stream"),
    "core.tool_loop": ("ToolRound", "ToolRun"),
    "hub.offers": ("Provider",),
    "images": ("Image",),
    "model": ("Model",),
    "openness": ("openness",),
    "openness.api": ("OpennessComparison", "acompare_openness", "aopenness", "compare_openness"),
    "openness.findings": ("Finding", "Verdict"),
    "openness.report": ("Report",),
    "output.tool_results": ("ToolResult",),
    "output.tools": ("Tool", "tool"),
    "settings": ("DEFAULT_MODEL",),
    "types.capabilities": ("Capabilities",),
    "types.decisions": ("Decision",),
    "types.embeddings": ("Embeddings",),
    "types.messages": ("Message", "ToolCall", "assistant", "system", "user"),
    "types.options": ("CallOptions", "EmbedOptions", "RerankOptions", "ScoreOptions", "ToolRunOptions"),
    "types.rankings": ("RankedDocument", "Ranking"),
    "types.reply": ("Attempt", "Delta", "Reply", "TokenLogprob", "Usage"),
    "types.scores": ("ContinuationScore", "ScoredToken"),
}
"""The public names by module; every other name of `__all__` is an error, in `errors`."""

__all__ = [
    "DEFAULT_MODEL",
    "AccessDenied",
    "AllModelsFailed",
    "AsyncBulk",
    "AsyncStream",
    "Attempt",
    "Audit",
    "AuthenticationFailed",
    "Bulk",
    "BulkItem",
    "BulkSummary",
    "CallOptions",
    "Capabilities",
    "Choice",
    "CompareOptions",
    "ComparedPair",
    "Comparison",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "ContinuationScore",
    "Conversation",
    "DeadlineExceeded",
    "Decision",
    "Delta",
    "DoesNotFit",
    "EmbedOptions",
    "Embeddings",
    "EndpointRetired",
    "Family",
    "Finding",
    "Fit",
    "GatedModel",
    "Image",
    "InvalidReference",
    "InvalidRequest",
    "InvalidResponse",
    "LearnedRouter",
    "LoadFailed",
    "Lock",
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
    "Pareto",
    "Provider",
    "QuantisationLoss",
    "QuotaExceeded",
    "RankedDocument",
    "Ranking",
    "RateLimited",
    "Reply",
    "Report",
    "RerankOptions",
    "Results",
    "ScoreOptions",
    "ScoreTable",
    "ScoredToken",
    "Selection",
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
    "aaudit",
    "achoose",
    "acompare",
    "acompare_openness",
    "afit",
    "alock",
    "aopenness",
    "apareto",
    "aproviders",
    "aquantisation_loss",
    "assistant",
    "audit",
    "cascade",
    "choose",
    "compare",
    "compare_openness",
    "fallback",
    "family",
    "fit",
    "info",
    "learn_router",
    "load_router",
    "lock",
    "openness",
    "pareto",
    "providers",
    "quantisation_loss",
    "read_table",
    "register_backend",
    "route",
    "search",
    "system",
    "tool",
    "user",
    "vote",
]

if TYPE_CHECKING:
    from openmodels.backends.registry import register_backend
    from openmodels.bulk.items import BulkItem, BulkSummary
    from openmodels.bulk.iterators import AsyncBulk, Bulk
    from openmodels.bulk.run import MapOptions
    from openmodels.catalog.api import info, search
    from openmodels.catalog.family import Family, family
    from openmodels.catalog.providers import aproviders, providers
    from openmodels.catalog.record import ModelRecord
    from openmodels.catalog.search.results import Results
    from openmodels.choose import choose
    from openmodels.choose.choosing import achoose
    from openmodels.choose.fit import afit, fit
    from openmodels.choose.fit_report import Fit
    from openmodels.choose.lock import aaudit, alock, audit, lock
    from openmodels.choose.lock_reports import Audit, Lock
    from openmodels.choose.pareto import Pareto, apareto, pareto
    from openmodels.choose.quantisation import QuantisationLoss, aquantisation_loss, quantisation_loss
    from openmodels.choose.scores import ScoreTable, read_table
    from openmodels.choose.selection import Choice, Selection
    from openmodels.combine.cascade import cascade
    from openmodels.combine.fallback import fallback
    from openmodels.combine.learned_router import (
        LearnedRouter,
        learn_router,
        load_router,
    )
    from openmodels.combine.route import route
    from openmodels.combine.vote import vote
    from openmodels.compare import compare
    from openmodels.compare.api import CompareOptions, acompare
    from openmodels.compare.comparison import Comparison
    from openmodels.compare.results import ComparedPair
    from openmodels.conversation import Conversation
    from openmodels.core.stream import AsyncStream, Stream
    from openmodels.core.tool_loop import ToolRound, ToolRun
    from openmodels.errors import (
        AccessDenied,
        AllModelsFailed,
        AuthenticationFailed,
        ConnectionFailed,
        ContentFiltered,
        ContextTooLong,
        DeadlineExceeded,
        DoesNotFit,
        EndpointRetired,
        GatedModel,
        InvalidReference,
        InvalidRequest,
        InvalidResponse,
        LoadFailed,
        MissingExtra,
        ModelNotFound,
        NotConfigured,
        Offline,
        OpenModelsError,
        OutOfMemory,
        OutputInvalid,
        QuotaExceeded,
        RateLimited,
        ServerFailed,
        StreamInterrupted,
        ToolRoundsExceeded,
        UnsafeWeights,
        UnsupportedFeature,
        WriteFailed,
    )
    from openmodels.hub.offers import Provider
    from openmodels.images import Image
    from openmodels.model import Model
    from openmodels.openness import openness
    from openmodels.openness.api import OpennessComparison, acompare_openness, aopenness, compare_openness
    from openmodels.openness.findings import Finding, Verdict
    from openmodels.openness.report import Report
    from openmodels.output.tool_results import ToolResult
    from openmodels.output.tools import Tool, tool
    from openmodels.settings import DEFAULT_MODEL
    from openmodels.types.capabilities import Capabilities
    from openmodels.types.decisions import Decision
    from openmodels.types.embeddings import Embeddings
    from openmodels.types.messages import Message, ToolCall, assistant, system, user
    from openmodels.types.options import CallOptions, EmbedOptions, RerankOptions, ScoreOptions, ToolRunOptions
    from openmodels.types.rankings import RankedDocument, Ranking
    from openmodels.types.reply import Attempt, Delta, Reply, TokenLogprob, Usage
    from openmodels.types.scores import ContinuationScore, ScoredToken

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

            home = next((module for module, names in _NAMES.items() if name in names), "errors")
            value = getattr(import_uninterrupted(f"openmodels.{home}"), name)
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
        calls |= {call: call for call in ("score", "ascore", "decide", "adecide")}
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
