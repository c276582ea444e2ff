"""`om.family`: what a model was made from, and what was made from it, over all hops."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from openmodels import escaping, settings
from openmodels.catalog import lineage
from openmodels.catalog.api import info, open_index
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.lineage import Edge
from openmodels.catalog.query import Query
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.catalog.search.filters import RELATIONS
from openmodels.catalog.sources.disk import CacheCatalog
from openmodels.catalog.sources.hub import HubCatalog
from openmodels.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    ErrorBoundary,
    ModelNotFound,
    OpenModelsError,
    RateLimited,
)
from openmodels.hub import model_names

_SECONDS = 60.0
"""Seconds the Hub has in all to answer what a family needs of it."""
_LONGEST_CARD = 200_000
_CARDS = 25
_REQUESTS = 40
_PAGES = 3
_LOOKALIKES = 200


class Family:
    """A model's ancestors and descendants.

    Attributes:
        id: The model it was asked for.
        models: Records by id; None for one that is only named by others.
        edges: Who was made from whom.
        notes: What was left out or could not be read.
    """

    def __init__(self, model_id: str) -> None:
        self.id = model_id
        self.models: dict[str, ModelRecord | None] = {}
        self.edges: list[Edge] = []
        self.notes: list[str] = []

    def parents(self, model_id: str) -> list[Edge]:
        """Return the edges to what a model was made from."""
        return [edge for edge in self.edges if edge.child.lower() == model_id.lower()]

    def children(self, model_id: str) -> list[Edge]:
        """Return the edges from what was made from a model, the surest first."""
        found = [edge for edge in self.edges if edge.parent.lower() == model_id.lower()]
        return sorted(found, key=lambda edge: (-edge.confidence, -self._weight(edge.child), edge.child))

    @property
    def ancestors(self) -> list[str]:
        """Return the ids of what it was made from, the nearest first."""
        return self._reached(lambda one: [edge.parent for edge in self.parents(one)])

    @property
    def descendants(self) -> list[str]:
        """Return the ids of what was made from it, the nearest first."""
        return self._reached(lambda one: [edge.child for edge in self.children(one)])

    @property
    def roots(self) -> list[str]:
        """Return the oldest ancestors; the model itself if it has none."""
        return [one for one in (self.id, *self.ancestors) if not self.parents(one)]

    def license_of(self, model_id: str) -> str | None:
        """Return the license a model states."""
        record = self.models.get(model_id)
        return record.license.name or record.license.id if record and record.license else None

    def lines(self) -> list[tuple[int, str, Edge | None]]:
        """Return the tree as depth, id and the edge to the line's parent, roots first."""
        found: list[tuple[int, str, Edge | None]] = []
        stack: list[tuple[int, str, Edge | None]] = [(0, root, None) for root in reversed(self.roots)]
        seen: set[str] = set()
        while stack:
            depth, one, edge = stack.pop()
            found.append((depth, one, edge))
            if one.lower() not in seen:
                seen.add(one.lower())
                stack += [(depth + 1, below.child, below) for below in reversed(self.children(one))]
        return found

    def __contains__(self, model_id: object) -> bool:
        known = {self.id, *self.models, *(end for edge in self.edges for end in (edge.parent, edge.child))}
        return isinstance(model_id, str) and model_id.lower() in {name.lower() for name in known}

    def __str__(self) -> str:
        return "\n".join("  " * depth + escaping.line(self._line(one, edge)) for depth, one, edge in self.lines())

    def __repr__(self) -> str:
        return f"Family({self.id!r}, {len(self.ancestors)} ancestors, {len(self.descendants)} descendants)"

    def _repr_html_(self) -> str:
        return f"<pre>{escaping.html(str(self))}</pre>"

    def _line(self, model_id: str, edge: Edge | None) -> str:
        license_ = self.license_of(model_id) or "-"
        mark = " *" if model_id.lower() == self.id.lower() else ""
        if edge is None:
            return f"{model_id}{mark} [{license_}]"
        sure = "" if edge.confidence == 1 else f" {edge.confidence:.0%}: {edge.evidence[0]}"
        return f"{model_id}{mark} [{license_}] ({edge.relation or '-'}{sure})"

    def _weight(self, model_id: str) -> int:
        record = self.models.get(model_id)
        return (record.downloads or record.likes or 0) if record else 0

    def _reached(self, step: Callable[[str], list[str]]) -> list[str]:
        seen, waiting, found = {self.id.lower()}, deque([self.id]), []
        while waiting:
            for one in step(waiting.popleft()):
                if one.lower() not in seen:
                    seen.add(one.lower())
                    found.append(one)
                    waiting.append(one)
        return found


@ErrorBoundary()
def family(model_id: str, *, live: bool | None = None, limit: int = 500) -> Family:
    """Return a model's ancestors and descendants over all hops, each edge with its evidence.

    What models declare is taken first. Where one declares nothing, its config, the prose of its
    card, its name and its license are read, and the edge says so with a confidence below 1.

    Args:
        model_id: "org/model".
        live: Ask the Hub (for cards, and for everything where there is no index); default only if
            there is a network.
        limit: At most so many models.

    Raises:
        ModelNotFound: No catalog has the model.
        Offline: It is not in the index, and there is no network.
    """
    online = live if live is not None else not settings.read().offline
    index = open_index()
    record = (index.get(model_id) if index else None) or info(model_id, live=live)
    hub = HubCatalog() if online else None
    if hub:
        hub.client.retries = 1
        hub.client.deadline = time.monotonic() + _SECONDS
    notes: list[str] = []
    if index is None:
        index = in_memory(_gathered(hub, record, notes)) if hub else in_memory([record])
    tree = _Tree(index, hub, limit)
    tree.found.notes += notes
    tree.found.id = record.id
    tree.ancestors(record)
    tree.descendants([record.id, *tree.found.ancestors])
    return tree.found


class _Tree:
    """Follows edges through an index, reading cards where a model declares nothing."""

    def __init__(self, index: Index, hub: HubCatalog | None, limit: int) -> None:
        self.index = index
        self.hub = hub
        self.limit = limit
        self.found = Family("")
        self._local = {record.id.lower(): record for record in CacheCatalog().search(Query())}
        self._cards_left = _CARDS
        self._edges: dict[str, list[Edge]] = {}

    def ancestors(self, record: ModelRecord) -> None:
        waiting = deque([record])
        while waiting:
            one = waiting.popleft()
            if one.id in self.found.models and self.found.parents(one.id):
                continue
            self._note(one.id, one)
            for edge in self._upward(one):
                if self._add(edge):
                    waiting.append(
                        self.index.get(edge.parent)
                        or ModelRecord(ids=Ids(hub=edge.parent), author=edge.parent.partition("/")[0])
                    )

    def descendants(self, starts: Iterable[str]) -> None:
        waiting = deque(starts)
        seen: set[str] = set()
        while waiting:
            parent = waiting.popleft()
            if parent.lower() in seen:
                continue
            seen.add(parent.lower())
            for child in self._downward(parent):
                if len(self.found.models) >= self.limit:
                    self.found.notes.append(f"cut off at {self.limit} models")
                    return
                edges = self._upward(child)
                if any(edge.parent.lower() == parent.lower() for edge in edges):
                    self._note(child.id, child)
                    if sum(self._add(edge) for edge in edges):
                        waiting.append(child.id)
                elif middle := self._between(edges, parent):
                    # Made from something that nobody lists but whose name tells what it was made from.
                    self._note(child.id, child)
                    for edge in (*middle, *edges):
                        self._add(edge)
                    waiting.append(child.id)

    def _upward(self, record: ModelRecord) -> list[Edge]:
        at = record.id.lower()
        if at not in self._edges:
            self._edges[at] = lineage.declared(record) or lineage.inferred(record, self.index, self._card(record))
        return self._edges[at]

    def _between(self, edges: list[Edge], parent: str) -> list[Edge]:
        for edge in edges:
            if self.index.get(edge.parent) is None:
                unlisted = ModelRecord(ids=Ids(hub=edge.parent), author=edge.parent.partition("/")[0])
                above = self._upward(unlisted)
                if any(one.parent.lower() == parent.lower() for one in above):
                    return above
        return []

    def _downward(self, parent: str) -> list[ModelRecord]:
        """Return models that declare a parent, then those whose names make it likely."""
        numbers = self.index.term_numbers([*(f"base:{relation}:{parent}" for relation in RELATIONS), f"from:{parent}"])
        if numbers:
            expression = " OR ".join(f'"~{codec.base36(number)}"' for number in numbers.values())
            declaring = self.index.match(expression, limit=self.limit)
        else:
            declaring = []
        own = self.index.get(parent)
        likely = self._lookalikes(parent, own) if own is None or not codec.is_variant(own) else []
        return list(self.index.records(dict.fromkeys([*declaring, *likely])).values())

    def _lookalikes(self, parent: str, record: ModelRecord | None) -> list[int]:
        words = _telling(parent)
        based = self.index.term_numbers(["is:based"]).get("is:based")
        without = f' NOT "~{codec.base36(based)}"' if based is not None else ""
        found: list[int] = []
        if words:
            found += self.index.match(f'"{words[0]}"{without}', limit=_LOOKALIKES)
        if words and record and record.license and record.license.id in lineage.GRANTED:
            terms = self.index.term_numbers([f"license:{record.license.id}"])
            if terms:
                found += self.index.match(f'"~{codec.base36(next(iter(terms.values())))}"{without}', limit=_LOOKALIKES)
        return found

    def _card(self, record: ModelRecord) -> str | None:
        local = self._local.get(record.id.lower())
        if local and local.local:
            try:
                with (Path(local.local) / "README.md").open(encoding="utf-8", errors="replace") as card:
                    return card.read(_LONGEST_CARD)
            except OSError:
                return None
        if self.hub is None or self._cards_left <= 0 or not record.ids.hub:
            return None
        self._cards_left -= 1
        try:
            return self.hub.card(record.ids.hub)
        except ModelNotFound:
            return None
        except OpenModelsError as error:
            self.found.notes.append(f"card of {record.id}: {error.cause}")
            if isinstance(error, ConnectionFailed | DeadlineExceeded | RateLimited):
                self.hub = None  # the next card would fare no better
            return None

    def _note(self, model_id: str, record: ModelRecord | None) -> None:
        listed = record if record and record.provenance else None
        self.found.models[model_id] = self.found.models.get(model_id) or listed

    def _add(self, edge: Edge) -> bool:
        self._note(edge.parent, self.index.get(edge.parent))
        known = {(one.child.lower(), one.parent.lower()) for one in self.found.edges}
        if (edge.child.lower(), edge.parent.lower()) in known:
            return False
        self.found.edges.append(edge)
        return True


def _gathered(hub: HubCatalog, record: ModelRecord, notes: list[str]) -> list[ModelRecord]:
    """Return what the Hub lists around a model: ancestors, descendants, and models named alike."""
    found, left = _gathered_ancestors(hub, record)
    license_ = record.license.id if record.license else ""
    asked: list[dict[str, str]] = [{"filter": f"base_model:{one.id}"} for one in list(found.values())]
    asked += [{"search": word} for word in dict.fromkeys([record.family or "", *_telling(record.id)][:5]) if word]
    if license_ in lineage.GRANTED:
        # Who uses that license has built on that family, whatever the name.
        asked += [{"filter": f"license:{license_}"}, {"author": lineage.GRANTED[license_][0]}]
    queue = deque(asked)
    while queue and left > 0:
        try:
            for page, _ in zip(hub.pages(**queue.popleft()), range(_PAGES), strict=False):
                left -= 1
                for listed in page.records:
                    if listed.id.lower() not in found:
                        found[listed.id.lower()] = listed
                        if listed.base_models and not model_names.is_conversion(listed.id):
                            queue.append({"filter": f"base_model:{listed.id}"})
        except DeadlineExceeded as error:
            notes.append(f"{error.cause} What came before is used.")
            break
    return list(found.values())


def _telling(model_id: str) -> list[str]:
    words = model_names.search_terms(model_id.rpartition("/")[2])
    return [word for word in words if word.isalpha() and len(word) > 2 and word not in model_names.NOISE]


def _gathered_ancestors(hub: HubCatalog, record: ModelRecord) -> tuple[dict[str, ModelRecord], int]:
    """Return a model and its ancestors by id in lower case, and how many requests are left."""
    records = {record.id.lower(): record}
    left = _REQUESTS
    waiting = deque([base.id for base in record.base_models or ()])
    while waiting and left > 0:
        model_id = waiting.popleft()
        left -= 1
        if model_id.lower() not in records:
            try:
                ancestor = hub.get(model_id)
            except DeadlineExceeded:
                break  # said below: the listing then has no time left either
            except OpenModelsError:
                continue  # its name stays in the tree, without its record: ancestors are often gated or gone
            records[ancestor.id.lower()] = ancestor
            waiting += [base.id for base in ancestor.base_models or ()]
    return records, left
