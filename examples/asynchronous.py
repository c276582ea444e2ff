"""Ask several questions at once, without blocking the event loop.

python examples/asynchronous.py [MODEL]
"""

import asyncio
import sys

import openmodels as om


async def main() -> None:
    """Ask, wait for all and print the answers in order; then stream one."""
    model = om.Model(sys.argv[1] if len(sys.argv) > 1 else om.DEFAULT_MODEL)
    questions = [f"What is the capital of {country}?" for country in ("France", "Italy", "Japan")]
    for reply in await asyncio.gather(*(model.achat(question, max_tokens=30) for question in questions)):
        print(reply.text)

    async with model.astream("Name three colours.", max_tokens=30) as stream:
        async for delta in stream:
            print(delta.text, end="", flush=True)
    print(f"\n({stream.reply.finish_reason})")


asyncio.run(main())
