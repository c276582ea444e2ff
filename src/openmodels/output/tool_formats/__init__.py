"""The formats in which models write tool calls, one for each family.

Sans-I/O: `detect.find_parser(template)` names the format, `ToolFormatParser.feed(text)` gives what became complete,
`ToolFormatParser.end()` the rest. The result does not depend on where the text is split.
"""
