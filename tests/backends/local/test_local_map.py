"""`Model.map` on real weights."""

from __future__ import annotations

import asyncio


def test_many_at_once_say_what_each_says_alone(exact_smol):
    countries = ["France", "Italy", "Japan", "Peru", "Kenya", "Spain", "India", "Chile"]
    prompts = [f"Name a city in {country}." for country in countries]
    options = {"temperature": 0, "max_tokens": 12}
    alone = [exact_smol.chat(prompt, **options).text for prompt in prompts]
    with exact_smol.map(prompts, concurrency=8, **options) as run:
        assert [item.result().text for item in run] == alone
    assert run.summary.output_tokens >= 8

    async def together():
        return [item.result().text async for item in exact_smol.amap(prompts, concurrency=8, **options)]

    assert asyncio.run(together()) == alone
