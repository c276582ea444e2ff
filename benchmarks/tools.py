"""How many tool-call fixtures of `canitoolcall` are parsed fully right, for each family of models.

Every fixture is parsed whole, split at every character, at special markers and in seeded groups, and goes
through canitoolcall's own checks. "pass" is exact, "soft" differs in white space around text. A call that
we report as broken is a finding and no call. Beside it: transformers' `parse_response` with its own fallback
templates, where it has one. Needs `canitoolcall`, and transformers for the second column.

    python benchmarks/tools.py [--show FAMILY]
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter

from canitoolcall import checks
from canitoolcall.fixtures import Family, Fixture, load_families, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult, Status

from openmodels.output.tool_formats.brackets import Llama, Mistral, Pythonic
from openmodels.output.tool_formats.channels import Harmony, KimiK3
from openmodels.output.tool_formats.gemma import Gemma
from openmodels.output.tool_formats.parser import ParsedChunk, ToolFormatParser
from openmodels.output.tool_formats.sections import DeepSeekDsml, DeepSeekV3, DeepSeekV31, KimiK2
from openmodels.output.tool_formats.tags import Glm, Hermes, QwenXml
from openmodels.types.request import ToolSpec

BY_VARIANT: dict[str, type[ToolFormatParser]] = {
    "deepseek-v3": DeepSeekV3,
    "deepseek-v31": DeepSeekV31,
    "deepseek-v32": DeepSeekDsml,
    "deepseek-v4": DeepSeekDsml,
    "deepseek-v41": DeepSeekDsml,
    "gemma4": Gemma,
    "glm": Glm,
    "gpt-oss": Harmony,
    "kimi-k2": KimiK2,
    "kimi-k3": KimiK3,
    "llama3": Llama,
    "llama4": Pythonic,
    "qwen3-hermes": Hermes,
    "qwen3-xml": QwenXml,
    "mistral": Mistral,
}
"""The format of a model, by how its variant or family begins; a chat template would say it, but none is shipped."""


def parser(fixture: Fixture, family: Family) -> ToolFormatParser:
    """Return a fresh parser for a fixture's model, tools and prompt."""
    reference = family.reference_for(fixture.reference_model)
    names = (reference.variant or "", fixture.family)
    best = max((key for key in BY_VARIANT for name in names if name.startswith(key)), key=len)
    tools = [
        ToolSpec(
            name=tool["function"]["name"],
            description=tool["function"].get("description") or "",
            parameters=tool["function"].get("parameters") or {"type": "object"},
        )
        for tool in fixture.tools
    ]
    return BY_VARIANT[best](tools, fixture.generation_prompt or reference.default_generation_prompt or "")


def result(pieces: list[ParsedChunk]) -> ParseResult:
    """Return what a client sees after all pieces."""
    whole = sum(pieces, ParsedChunk())
    calls = (ParsedToolCall(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in whole.calls)
    return ParseResult(whole.text or None, whole.reasoning or None, tuple(calls))


def parse(fixture: Fixture, family: Family, groups: list[str]) -> ParseResult:
    """Parse the groups one after the other."""
    reader = parser(fixture, family)
    return result([*(reader.feed(group) for group in groups), reader.finish()])


def splits(text: str, markers: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the ways to split a text, by canitoolcall's names for them."""
    found: dict[str, list[str]] = {"one": [text], "token": list(text)}
    pieces, rest = [], text
    while rest:
        place, marker = min(((rest.find(m), m) for m in markers if m in rest), default=(len(rest), ""))
        pieces += [part for part in (rest[:place], marker) if part]
        rest = rest[place + len(marker) :]
    found["special"] = pieces
    for seed in range(1, 6):
        draw, place, groups = random.Random(seed), 0, []
        while place < len(text):
            size = draw.randint(1, 24)
            groups.append(text[place : place + size])
            place += size
        found[f"rand:{seed}:8"] = groups
    return found


def judge(fixture: Fixture, family: Family) -> tuple[Status, Status, list[checks.CheckResult]]:
    """Return the status of the whole parse, of all parses, and the rows that did not pass."""
    whole = parse(fixture, family, [fixture.raw_output])
    streams = {
        name: parse(fixture, family, groups) for name, groups in splits(fixture.raw_output, family.markers).items()
    }
    rows = checks.run_checks(fixture, family, Observation(nonstream=whole, streams=streams))
    alone = checks.run_checks(fixture, family, Observation(nonstream=whole, streams={}))
    return checks.case_status(alone), checks.case_status(rows), [r for r in rows if r.status is not Status.PASS]


def theirs(fixture: Fixture, family: Family) -> Status | None:
    """Return the status of transformers' own parser; None where it has no template for the family."""
    from transformers.cli.serving import utils
    from transformers.utils.chat_parsing import ResponseParser

    key = {"qwen3-hermes": "qwen3", "qwen3-xml": "qwen3_5", "gemma4": "gemma4"}.get(fixture.family)
    if key is None:
        return None
    template = next(t for names, t in utils._RESPONSE_TEMPLATE_FALLBACKS.items() if key in names)  # noqa: SLF001
    reference = family.reference_for(fixture.reference_model)
    prompt = fixture.generation_prompt or reference.default_generation_prompt or ""
    try:
        reader = ResponseParser(template, prompt, tools=[dict(tool) for tool in fixture.tools])
        reader.feed(fixture.raw_output)
        message, _ = reader.finalize()
        calls = tuple(
            ParsedToolCall(c["function"]["name"], json.dumps(c["function"]["arguments"]))
            for c in message.get("tool_calls") or ()
        )
        thought = message.get("reasoning_content") or message.get("thinking") or message.get("reasoning")
        found = ParseResult(message.get("content") or None, thought or None, calls)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its result
        found = ParseResult(exception=f"{type(error).__name__}: {error}")
    return checks.case_status(checks.run_checks(fixture, family, Observation(nonstream=found, streams={})))


def kind(fixture: Fixture) -> str:
    """Return the column a fixture counts in besides its family's total."""
    return next((tag for tag in ("truncated", "malformed") if tag in fixture.tags), "well-formed")


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--show", metavar="FAMILY", help="print what is not fully right of a family, or of 'all'")
    show = arguments.parse_args().show
    families, fixtures = load_families(), load_fixtures()
    counts: dict[str, Counter[str]] = {slug: Counter() for slug in families}
    for fixture in fixtures:
        family, count = families[fixture.family], counts[fixture.family]
        whole, every, rows = judge(fixture, family)
        count["of"] += 1
        count[f"of {kind(fixture)}"] += 1
        count["whole"] += whole is Status.PASS
        count["all"] += every is Status.PASS
        count["soft"] += every is Status.SOFT_PASS
        count[kind(fixture)] += every is Status.PASS
        try:
            other = theirs(fixture, family)
        except ImportError:
            other = None
        count["theirs"] += other is Status.PASS
        count["their soft"] += other is Status.SOFT_PASS
        count["of theirs"] += other is not None
        if rows and show in {fixture.family, "all"}:
            print(fixture.id, every.value, repr(fixture.raw_output[:300]))
            for row in rows[:2]:
                print("    ", row.check, row.strategy, row.detail)
    counts["total"] = sum(counts.values(), Counter())
    print(f"{'family':14}{'of':>5}{'whole':>7}{'all splits':>12}{'soft':>6}", end="")
    print(f"{'well-formed':>14}{'malformed':>11}{'truncated':>11}{'transformers (whole)':>23}")
    for slug, count in counts.items():
        kinds = [f"{count[k]}/{count[f'of {k}']}" for k in ("well-formed", "malformed", "truncated")]
        other = f"{count['theirs']}+{count['their soft']} of {count['of theirs']}" if count["of theirs"] else "none"
        print(f"{slug:14}{count['of']:5}{count['whole']:7}{count['all']:12}{count['soft']:6}", end="")
        print(f"{kinds[0]:>14}{kinds[1]:>11}{kinds[2]:>11}{other:>23}")


if __name__ == "__main__":
    main()
