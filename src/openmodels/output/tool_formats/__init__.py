"""What models write when they call tools: one format a family, told from the chat template's text.

Sans-I/O: `detect.find_format(template)` names the format, `ToolFormatParser.feed(text)` gives what became complete,
`ToolFormatParser.end()` the rest. The result does not depend on where the text is split.
"""
