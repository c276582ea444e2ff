"""What a reply looks like: schemas, grammars, tools, and the formats in which models call tools."""
