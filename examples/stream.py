"""Show an answer as it comes, and stop it early.

python examples/stream.py [MODEL]
"""

import sys

import openmodels as om

model = om.Model(sys.argv[1] if len(sys.argv) > 1 else om.DEFAULT_MODEL)

with model.stream("Count from one to ten, please.", max_tokens=60) as stream:
    for delta in stream:
        print(delta.text, end="", flush=True)
print(f"\n(whole: {stream.reply.finish_reason})")

# Leaving the block stops the work behind it; `snapshot` keeps what had come.
with model.stream("Tell me a very long story.") as stream:
    for _ in stream:
        if " " in stream.snapshot.text.strip():
            break
print(f"(left early, after: {stream.snapshot.text.strip()!r})")
