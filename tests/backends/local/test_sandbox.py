"""Templates rendered in bounded time and memory, to what transformers renders."""

from __future__ import annotations

import time

import psutil
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from openmodels.backends.local.prompt import sandbox

TALK = [{"role": "user", "content": "<b>Hi</b> & bye\n"}, {"role": "assistant", "content": "Yes"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
DOUBLED = "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(64) %}{% set n.x = [n.x, n.x] %}"

BOMBS = {
    "padding by a filter": "{% set x = 'a'|center(900000000) %}",
    "padding through map": "{% set x = ['a']|map('center', 900000000)|list %}",
    "padding by a method": "{{ 'a'.zfill(900000000) }}",
    "tabs": "{{ '\t'.expandtabs(900000000) }}",
    "replacement": "{% set x = 'b'.ljust(70000) %}{% set y = x|replace(' ', x) %}",
    "replacement by a method": "{% set x = 'b'.ljust(70000) %}{% set y = x.replace(' ', x) %}",
    "table": "{% set x = 'b'.ljust(70000) %}{% set y = x.translate({32: x}) %}",
    "join": "{% set x = 'b'|center(70000) %}{% set y = range(70000)|join(x) %}",
    "join by a method": "{% set x = 'b'.ljust(70000) %}{% set y = x.join(x) %}",
    "indent": "{% set x = 'b'|center(70000)|replace(' ', '\n') %}{% set y = x|indent(70000) %}",
    "indent by a text": "{% set x = 'b'|center(70000)|replace(' ', '\n') %}{% set y = x|indent(x) %}",
    "wrap": "{% set x = 'b '|center(70000) %}{% set y = ('c ' ~ x)|wordwrap(1, wrapstring=x) %}",
    "format of pieces": "{% set x = ('%' ~ '8888' ~ '88888d') % 1 %}",
    "format by a filter": "{% set x = ('%0' ~ '8888' ~ '88888d')|format(1) %}",
    "width as a value": "{{ '%*d' % (888888888, 1) }}",
    "width in a field": "{{ '{:>{w}}'.format(1, w=888888888) }}",
    "same field again": "{% set x = 'b'.ljust(70000) %}{{ ('{0}' ~ ('{0}' * 9000)).format(x) }}",
    "product": "{% set b = 888888888 %}{% set x = 'a' * b %}",
    "product of lists": "{% set x = [1, 2] * 88888888 %}",
    "product of numbers": "{% set n = namespace(x=9) %}{% for i in range(64) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "power": "{% set x = 9 ** 88888888 %}",
    "bytes of a number": "{{ (1).to_bytes(888888888, 'big') }}",
    "nested lists printed": DOUBLED + "{% endfor %}{{ n.x }}",
    "nested lists as JSON": DOUBLED + "{% endfor %}{{ n.x|tojson }}",
    "nested lists compared": DOUBLED + "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "nested dicts": "{% set n = namespace(x=1) %}{% for i in range(64) %}{% set n.x = dict(a=n.x, b=n.x) %}"
    "{% endfor %}",
    "indent of JSON": "{% set x = ([[[1]]] * 900)|tojson(indent=888888) %}",
    "sum of lists": "{% set x = range(90000)|list %}{% set y = [x] * 900 %}{% set z = y|sum(start=[]) %}",
    "batches": "{% set x = [1]|batch(888888888, 'x')|list %}",
    "slices": "{% set x = [1]|slice(888888888)|list %}",
    "rounding": "{% set x = 1.5|round(888888888, 'ceil') %}",
    "many in one expression": "{% set x = 'a'|center(15000000) %}{% set y = [" + "x ~ 'b', " * 300 + "] %}",
    "concatenated at once": "{% set x = 'a'|center(15000000) %}{% set y = " + "~".join(["x"] * 300) + " %}",
    "set block": "{% set y %}{% for i in range(9000) %}{{ x }}{% endfor %}{% endset %}",
    "macro": "{% macro m() %}{% for i in range(9000) %}{{ x }}{% endfor %}{% endmacro %}{% set y = m() %}",
    "date": "{{ strftime_now('%888888888d') }}",
    "endless": "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "split": "{% set x = 'a'|center(9000000) %}{% set y = x.split(' ') %}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_fill_the_memory_is_refused_before_it_is_made(name):
    process = psutil.Process()
    before, began = process.memory_info().rss, time.monotonic()
    with pytest.raises(sandbox.LimitExceeded):
        sandbox.render(BOMBS[name], 10, {"x": "a" * 100_000})
    # Not a measurement: unbounded, each would take gigabytes or years.
    assert process.memory_info().rss - before < 2 * sandbox.MEGABYTES * 10**6
    assert time.monotonic() - began < 20 * sandbox.SECONDS


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role|upper }}: {{ m['content'] | trim }}\n{% endfor %}",
        "{{ messages|tojson(indent=2) }}{{ tools|tojson }}{{ messages[0]|string|length }}",
        "{%- for m in messages[::-1] %}{{ '%s-%03d' % (m.role, loop.index) }}{{ '{:>8}'.format(m.role) }}{% endfor %}",
        "{% macro say(m) %}[{{ m.role }}]{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
        "{% set n = namespace(n=0) %}{% for m in messages %}{% set n.n = n.n + m.content|length %}{% endfor %}{{n.n}}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{{ 'a' ~ 1 ~ none }}",
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content.split('&')[-1] }}{% endfor %}",
        "{{ messages|map(attribute='role')|join(', ') }}{{ [1, 2, 3]|sum }}{{ (1, 2) + (3,) }}{{ [1] + [2] }}",
        "{{ messages|selectattr('role', 'equalto', 'user')|list }}{{ 'user' in messages|map(attribute='role') }}",
        "{{ dict(a=1, **{'b': 2}) }}{{ '-' * 20 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 5 }}{{ 'abc'[1:] }}",
        "{{ messages|groupby('role')|length }}{{ messages[0].content|replace('b', 'c')|indent(3, true) }}",
        "{% set x %}{{ messages[0].content }}{% endset %}{{ x|e }}{{ x.split()|join('/') }}{{ x|wordwrap(4) }}",
        "{{ raise_exception is defined }}{{ nothing|default('d') }}{{ nothing is none }}{{ {'k': [1, {'l': 2}]} }}",
        "{{ eos_token }}{{ strftime_now('%Y') }}{{ range(5)|batch(2)|list }}{{ 3.14159|round(2) }}{{ 'a'|center(9) }}",
        "  {% if true %}\n  x\n  {% endif %}\n{% filter upper %}y{% endfilter %}",
        "{% macro m() %}{{ caller('z') }}{% endmacro %}{% call(a) m() %}{{ a }}{% endcall %}",
    ],
)
def test_it_renders_as_transformers_does(template):
    theirs, _ = render_jinja_template([TALK], tools=TOOLS, chat_template=template, eos_token="</s>")
    variables = {
        "messages": TALK,
        "tools": TOOLS,
        "documents": None,
        "add_generation_prompt": False,
        "eos_token": "</s>",
    }
    assert sandbox.render(template, 100, variables) == theirs[0]


def test_long_conversations_have_room():
    talk = [{"role": "user", "content": "word " * 200_000}] * 40
    template = (
        "{% set n = namespace(x='') %}{% for m in messages %}{% set n.x = n.x ~ m.content %}{% endfor %}{{ n.x }}"
    )
    text = sandbox.render(template, sum(len(turn["content"]) for turn in talk), {"messages": talk})
    assert len(text) == 40_000_000


def test_a_limit_of_one_rendering_is_not_that_of_the_next():
    template = "{{ x ~ x }}"
    half = "a" * (sandbox.CHARACTERS // 2 + 1)
    with pytest.raises(sandbox.LimitExceeded):
        sandbox.render(template, 0, {"x": half})
    assert sandbox.render(template, 10, {"x": half}) == half * 2
