"""The form of a reply: schemas, grammars, tools and tool-call formats."""
