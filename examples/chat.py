"""Ask one question.

python examples/chat.py [MODEL]
"""

import sys

import openmodels as om

model = om.Model(sys.argv[1] if len(sys.argv) > 1 else om.DEFAULT_MODEL)

reply = model.chat("What is the capital of France?", max_tokens=40, timeout=300)

print(reply.text)
print(f"({reply.model}: {reply.finish_reason}, {reply.usage.output_tokens} tokens, {reply.seconds:.1f} s)")
