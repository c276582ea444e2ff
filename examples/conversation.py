"""Talk, change the model in the middle, save the talk and go on with it.

python examples/conversation.py [MODEL SECOND_MODEL]
"""

import sys
import tempfile
from pathlib import Path

import openmodels as om

first, second = [*sys.argv[1:], om.DEFAULT_MODEL, "echo:"][:2]

talk = om.Conversation(om.Model(first), system="Answer in one short sentence.")
print(talk.send("Name a colour of the rainbow.", max_tokens=30))

# The next model sees everything that was said.
talk.model = om.Model(second)
print(talk.send("And another one?", max_tokens=30))

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "talk.json")
    talk.save(file)
    again = om.Conversation.restore(file, om.Model(second))
print(f"({len(again.messages)} messages restored)")
