"""The format that a model writes, found in the text of its chat template."""

import re

from openmodels.output.tool_formats.brackets import Llama, Mistral, Pythonic
from openmodels.output.tool_formats.channels import Harmony, KimiK3
from openmodels.output.tool_formats.gemma import FunctionGemma, Gemma
from openmodels.output.tool_formats.parser import ToolFormatParser
from openmodels.output.tool_formats.sections import DeepSeekDsml, DeepSeekV3, DeepSeekV31, KimiK2
from openmodels.output.tool_formats.tags import Glm, Hermes, QwenXml

_SIGNS: tuple[tuple[str, type[ToolFormatParser]], ...] = (
    (r"<\|channel\|>.*to=functions|to=functions\..*<\|channel\|>", Harmony),
    (r"<\|tool_call_argument_begin\|>", KimiK2),
    (r"<\|open\|>.*<\|sep\|>", KimiK3),
    (r"｜DSML｜", DeepSeekDsml),
    (r"<｜tool▁sep｜>.{0,200}```json|```json.{0,200}<｜tool▁call▁end｜>", DeepSeekV3),
    (r"<｜tool▁call▁begin｜>", DeepSeekV31),
    (r"<\|tool_call>", Gemma),
    (r"<start_function_call>", FunctionGemma),
    (r"<function=", QwenXml),
    (r"<arg_key>", Glm),
    (r"<tool_call>", Hermes),
    (r"\[TOOL_CALLS\]", Mistral),
    (r"<function_calls>|<\|python_start\|>|\[func_name1\(|func_name1\(params_name1", Pythonic),
    (r"<\|python_tag\|>|\"parameters\": dictionary of argument", Llama),
)


def find_parser(template: str) -> type[ToolFormatParser] | None:
    """Return the parser of a chat template's format, or None without tools."""
    return next((parser for sign, parser in _SIGNS if re.search(sign, template, re.DOTALL)), None)
