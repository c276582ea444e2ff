"""`om.family`: what a model was made from, and what was made from it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from openmodels import columns, errors, escaping, settings
from openmodels.catalog import lineage
from openmodels.catalog.api import check_id, find_in_index, info, open_index
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.lineage import Edge
from openmodels.catalog.query import Query
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.catalog.search.filters import RELATIONS, any_of, term_expression
from openmodels.catalog.sources.disk import DiskCatalog
from openmodels.catalog.sources.hub import HubCatalog
from openmodels.hub import addresses, model_names

_SECONDS = 60.0  # seconds the Hub has in all to answer what a family needs of it
_LONGEST_CARD = 200_000
_CARDS = 25
_LOOKUPS = 8
_REQUESTS = 40
_PAGES = 3
_SIMILARLY_NAMED = 200


class Family:
    """A model's ancestors and descendants.

    Attributes:
        id: The model whose family it is.
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
        edges = [edge for edge in self.edges if edge.parent.lower() == model_id.lower()]
        return sorted(edges, key=lambda edge: (-edge.confidence, -self._weight(edge.child), edge.child))

    @property
    def ancestors(self) -> list[str]:
        """Return the ids of what it was made from, the nearest first."""
        return self._walk(self.id, lambda model_id: [edge.parent for edge in self.parents(model_id)])

    @property
    def descendants(self) -> list[str]:
        """Return the ids of what was made from it, the nearest first."""
        return self._descendants_of(self.id)

    @property
    def roots(self) -> list[str]:
        """Return the oldest ancestors; the model itself if it has none.

        Of ancestors that are made from each other in a circle, the farthest stands for the circle.
        """
        known = [self.id, *self.ancestors]
        roots = [model_id for model_id in known if not self.parents(model_id)]
        below = {name.lower() for root in roots for name in (root, *self._descendants_of(root))}
        for model_id in reversed(known):
            if model_id.lower() not in below:
                roots.append(model_id)
                below |= {name.lower() for name in (model_id, *self._descendants_of(model_id))}
        return roots

    def license_of(self, model_id: str) -> str | None:
        """Return the license a model states."""
        record = self.models.get(model_id)
        return record.license.label if record and record.license else None

    def lines(self) -> list[tuple[int, str, Edge | None]]:
        """Return the tree as depth, id and the edge to the line's parent, roots first."""
        return [(len(branch), model_id, edge) for branch, model_id, edge, _ in self._walk_tree()]

    def draw(self, width: int | None = None) -> Iterator[str]:
        """Yield the tree as lines with guides, its model marked with "*".

        Lines longer than `width` columns continue in the next. Inferred edges bear "~" and their confidence, a model of
        several parents bears their names, and one that stands above already is not continued: the line says so, and
        whether that closes a circle.
        """
        for branch, model_id, edge, note in self._walk_tree():
            trunk = "".join("   " if is_last else "│  " for is_last in branch[:-1])
            first = trunk + (("└─ " if branch[-1] else "├─ ") if branch else "")
            further = "".join("   " if is_last else "│  " for is_last in branch) + "   "
            text = escaping.escape_line(self._line(model_id, edge) + (f" ({note})" if note else ""))
            lines = columns.wrap(text, max(20, width - len(further)), whole_words=False) if width else [text]
            for place, line in enumerate(lines):
                yield (further if place else first) + line

    def _walk_tree(self) -> Iterator[tuple[tuple[bool, ...], str, Edge | None, str]]:
        """Yield each line: the levels that end, the id, the edge up, a note on its end."""
        stack: list[tuple[tuple[bool, ...], str, Edge | None, tuple[str, ...]]] = []
        stack += [((), root, None, ()) for root in reversed(self.roots)]
        seen: set[str] = set()
        while stack:
            branch, model_id, edge, above = stack.pop()
            key, children = model_id.lower(), self.children(model_id)
            if key in above:
                yield branch, model_id, edge, "a circle: it stands above on this branch"
                continue
            if key in seen:
                yield branch, model_id, edge, "its own are shown above" if children else ""
                continue
            yield branch, model_id, edge, ""
            seen.add(key)
            for place, below in enumerate(reversed(children)):
                stack.append(((*branch, place == 0), below.child, below, (*above, key)))

    def __contains__(self, model_id: object) -> bool:
        known = {self.id, *self.models, *(end for edge in self.edges for end in (edge.parent, edge.child))}
        return isinstance(model_id, str) and model_id.lower() in {name.lower() for name in known}

    def __str__(self) -> str:
        return "\n".join(self.draw())

    def __repr__(self) -> str:
        return f"Family({self.id!r}, {len(self.ancestors)} ancestors, {len(self.descendants)} descendants)"

    def _repr_html_(self) -> str:
        return f"<pre>{escaping.escape_html(str(self))}</pre>"

    def _line(self, model_id: str, edge: Edge | None) -> str:
        record = self.models.get(model_id)
        marks = "".join(f" [{mark}]" for mark in record.marks) if record else ""
        is_inferred = edge is not None and edge.confidence < 1
        name = f"{'~ ' if is_inferred else ''}{model_id}{' *' if model_id.lower() == self.id.lower() else ''}"
        line = f"{name}{marks} [{self.license_of(model_id) or '-'}]"
        if edge is None:
            return line
        sure = f", inferred, {edge.confidence:.0%}: {edge.evidence[0]}" if is_inferred else ""
        others = [other.parent for other in self.parents(model_id) if other.parent.lower() != edge.parent.lower()]
        together = f" with {', '.join(others)}" if others else ""
        return f"{line} ({edge.relation or '-'}{together}{sure})"

    def _weight(self, model_id: str) -> int:
        record = self.models.get(model_id)
        return (record.downloads or record.likes or 0) if record else 0

    def _descendants_of(self, model_id: str) -> list[str]:
        return self._walk(model_id, lambda parent: [edge.child for edge in self.children(parent)])

    @staticmethod
    def _walk(start: str, step: Callable[[str], list[str]]) -> list[str]:
        reached, seen = [start], {start.lower()}
        for model_id in reached:  # which grows
            for other in step(model_id):
                if other.lower() not in seen:
                    seen.add(other.lower())
                    reached.append(other)
        return reached[1:]


@errors.ErrorBoundary()
def family(model_id: str, *, live: bool | None = None, limit: int = 500) -> Family:
    """Return a model's ancestors and descendants, each edge with its evidence.

    What models declare is taken first. Where one declares nothing, its config, the prose of its
    card, its name and its license are read, and the edge says so with a confidence below 1.

    Args:
        model_id: "org/model".
        live: Ask the Hub (for cards, and for everything where an index is missing); default only with
            a network.
        limit: How many models to return at most.

    Raises:
        ModelNotFound: No catalog has the model.
        Offline: It is not in the index, and the network is off.
    """
    check_id(model_id)
    model_id = addresses.model_id_of(model_id)
    online = live if live is not None else not settings.is_offline()
    index = open_index()
    record = (find_in_index(index, model_id) if index else None) or info(model_id, live=live)
    tree = Family(record.id)
    hub = HubCatalog() if online else None
    if hub:
        hub.limit_time(_SECONDS)
    if index is None:
        index = in_memory(_list_relatives(hub, record, tree.notes) if hub else [record])
    builder = _FamilyBuilder(tree, index, hub, limit)
    builder.add_ancestors(record)
    builder.add_descendants([record.id, *tree.ancestors])
    return tree


class _FamilyBuilder:
    """Follows edges through an index, reading cards where a model declares nothing."""

    def __init__(self, tree: Family, index: Index, hub: HubCatalog | None, limit: int) -> None:
        self.family = tree
        self.index = index
        self.hub = hub
        self.limit = limit
        self._local = {record.id.lower(): record for record in DiskCatalog().search(Query())}
        self._cards_left = _CARDS
        self._lookups_left = _LOOKUPS
        self._fetched: dict[str, ModelRecord] = {}
        self._renamed: dict[str, str] = {}
        self._edges: dict[str, list[Edge]] = {}

    def add_ancestors(self, record: ModelRecord) -> None:
        self._note_former_ids(record)
        waiting = deque([record])
        while waiting:
            model = waiting.popleft()
            if model.id in self.family.models and self.family.parents(model.id):
                continue
            self._add_model(model.id, model)
            for edge in self._edges_up(model):
                self._look_up(edge.parent)
            added = [edge.parent for edge in self._edges_up(model) if self._add_edge(edge)]
            waiting += [self._listed(parent) or _unlisted(parent) for parent in added]

    def add_descendants(self, starts: Iterable[str]) -> None:
        waiting = deque(starts)
        seen: set[str] = set()
        while waiting:
            parent = waiting.popleft()
            if parent.lower() in seen:
                continue
            seen.add(parent.lower())
            for child in self._models_below(parent):
                if len(self.family.models) >= self.limit:
                    self.family.notes.append(f"cut off at {self.limit} models")
                    return
                edges = self._edges_up(child)
                is_child = any(edge.parent.lower() == parent.lower() for edge in edges)
                # It may be made from a model that is not listed, but whose name says what that was made from.
                middle = [] if is_child else self._edges_through_unlisted(edges, parent)
                if not is_child and not middle:
                    continue
                self._add_model(child.id, child)
                if sum([self._add_edge(edge) for edge in (*middle, *edges)]):
                    waiting.append(child.id)

    def _edges_up(self, record: ModelRecord) -> list[Edge]:
        at = record.id.lower()
        if at not in self._edges:
            self._edges[at] = lineage.declared(record) or lineage.inferred(record, self.index, self._card(record))
        return [edge.model_copy(update={"parent": self._present_id(edge.parent)}) for edge in self._edges[at]]

    def _listed(self, model_id: str) -> ModelRecord | None:
        return self.index.get(model_id) or self._fetched.get(model_id.lower())

    def _present_id(self, model_id: str) -> str:
        """Return the present id of a model that others may call by a former one."""
        if (known := self._renamed.get(model_id.lower())) is not None:
            return known
        record = find_in_index(self.index, model_id)
        if record is not None:
            self._note_former_ids(record)
        return record.id if record is not None and record.ids.hub else model_id

    def _look_up(self, model_id: str) -> None:
        """Ask the Hub for a base that is not listed: it may have another id now."""
        if self._listed(model_id) or self.hub is None or self._lookups_left <= 0:
            return
        self._lookups_left -= 1
        try:
            record = self.hub.get(model_id)
        except errors.OpenModelsError:
            return  # its name stays in the tree, without its record: ancestors are often gated or gone
        self._fetched[record.id.lower()] = record
        self._note_former_ids(record)

    def _note_former_ids(self, record: ModelRecord) -> None:
        for former in record.renamed_from or ():
            if former.lower() not in self._renamed:
                self._renamed[former.lower()] = record.id
                self.family.notes.append(f"{former} is called {record.id} now")

    def _edges_through_unlisted(self, edges: list[Edge], parent: str) -> list[Edge]:
        unlisted = (_unlisted(edge.parent) for edge in edges if self._listed(edge.parent) is None)
        above = map(self._edges_up, unlisted)
        return next((up for up in above if any(edge.parent.lower() == parent.lower() for edge in up)), [])

    def _models_below(self, parent: str) -> list[ModelRecord]:
        """Return models that declare a parent, then those whose names make it likely."""
        record = self._listed(parent)
        ids = [parent, *(record.renamed_from or () if record else ())]
        named = [f"base:{relation}:{name}" for name in ids for relation in RELATIONS]
        terms = self.index.term_numbers([*named, *(f"from:{name}" for name in ids)])
        numbers = self.index.match(any_of(map(codec.term_token, terms.values())), limit=self.limit) if terms else []
        if record is None or not codec.is_variant(record):
            numbers += self._similarly_named(parent, record)
        return list(self.index.records(dict.fromkeys(numbers)).values())

    def _similarly_named(self, parent: str, record: ModelRecord | None) -> list[int]:
        if not (words := _distinguishing_words(parent)):
            return []
        based = term_expression(self.index, "is:based")
        expressions = [f'"{words[0]}"']
        license_id = record.license.id if record and record.license else ""
        if license_id in lineage.GRANTED and (licensed := term_expression(self.index, f"license:{license_id}")):
            expressions.append(licensed)
        without = f" NOT {based}" if based else ""
        return [
            number
            for expression in expressions
            for number in self.index.match(expression + without, limit=_SIMILARLY_NAMED)
        ]

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
        except errors.ModelNotFound:
            return None
        except errors.OpenModelsError as error:
            self.family.notes.append(f"card of {record.id}: {error.cause}")
            if isinstance(error, errors.ConnectionFailed | errors.DeadlineExceeded | errors.RateLimited):
                self.hub = None  # the next card would fare no better
            return None

    def _add_model(self, model_id: str, record: ModelRecord | None) -> None:
        listed = record if record and record.provenance else None
        self.family.models[model_id] = self.family.models.get(model_id) or listed

    def _add_edge(self, edge: Edge) -> bool:
        self._add_model(edge.parent, self._listed(edge.parent))
        if any(known.parent.lower() == edge.parent.lower() for known in self.family.parents(edge.child)):
            return False
        self.family.edges.append(edge)
        return True


def _unlisted(model_id: str) -> ModelRecord:
    """Return the record of a model that is only named by others."""
    return ModelRecord(ids=Ids(hub=model_id), author=model_id.partition("/")[0])


def _list_relatives(hub: HubCatalog, record: ModelRecord, notes: list[str]) -> list[ModelRecord]:
    """Return what the Hub lists around a model: relatives, and models named alike."""
    records, left = _list_ancestors(hub, record)
    license_id = record.license.id if record.license else ""
    words = dict.fromkeys([record.family or "", *_distinguishing_words(record.id)][:5])
    queue = deque({"filter": f"base_model:{ancestor.id}"} for ancestor in records.values())
    queue += [{"search": word} for word in words if word]
    if license_id in lineage.GRANTED:
        # A model under that license was built on that family, by any name.
        queue += [{"filter": f"license:{license_id}"}, {"author": lineage.GRANTED[license_id][0]}]
    while queue and left > 0:
        try:
            for page in islice(hub.pages(**queue.popleft()), _PAGES):
                left -= 1
                new = [listed for listed in page.records if listed.id.lower() not in records]
                records |= {listed.id.lower(): listed for listed in new}
                queue += [
                    {"filter": f"base_model:{listed.id}"}
                    for listed in new
                    if listed.base_models and not model_names.is_conversion(listed.id)
                ]
        except errors.DeadlineExceeded as error:
            notes.append(f"{error.cause} What came before is used.")
            break
    return list(records.values())


def _distinguishing_words(model_id: str) -> list[str]:
    words = model_names.search_terms(model_id.rpartition("/")[2])
    return [word for word in words if word.isalpha() and len(word) > 2 and word not in model_names.NOISE]


def _list_ancestors(hub: HubCatalog, record: ModelRecord) -> tuple[dict[str, ModelRecord], int]:
    """Return a model and its ancestors by lower-case id, and the requests left."""
    records = {record.id.lower(): record}
    left = _REQUESTS
    waiting = deque([base.id for base in record.base_models or ()])
    while waiting and left > 0:
        model_id = waiting.popleft()
        left -= 1
        if model_id.lower() not in records:
            try:
                ancestor = hub.get(model_id)
            except errors.DeadlineExceeded:
                break  # said below: the listing then has no time left either
            except errors.OpenModelsError:
                continue  # its name stays in the tree, without its record: ancestors are often gated or gone
            records[ancestor.id.lower()] = ancestor
            waiting += [base.id for base in ancestor.base_models or ()]
    return records, left
