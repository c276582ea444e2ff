"""The HTML report: what it holds, that it loads nothing, and that it works in a browser."""

from __future__ import annotations

import html.parser
import re

import pytest

import openmodels as om
from browser import Page
from openmodels.compare import charts, report
from openmodels.compare.results import MeanScore

HOSTILE = '</pre><script>document.title="taken"</script><img src="https://evil.example/x.png" onerror="alert(1)">'


def script(*texts):
    usage = om.Usage(input_tokens=7, output_tokens=4)
    return [[om.Delta(text=text, cost=0.001, finish_reason="stop", usage=usage)] for text in texts]


@pytest.fixture(scope="module")
def comparison():
    prompts = [
        {"prompt": "What is the capital of France?", "reference": "Paris", "tags": ["europe", "easy"]},
        {"prompt": "And of Japan?", "reference": "Tokyo", "tags": ["asia"]},
        {"prompt": "And of <Peru> & \u202eChile?", "reference": ["Lima", "Santiago"], "cluster": "south"},
    ]
    models = {
        "large": om.Model("echo:", script=script("It is Paris.", "It is Tokyo.", "Lima it is.")),
        "small": om.Model("echo:", script=script("It is Rome.", HOSTILE, "Lima it is.")),
        "broken": om.Model("echo:", script=[[om.ContentFiltered("No <b>.")]]),
    }
    return om.compare(models, prompts, metrics=["contains", "rouge_l"], concurrency=1, progress=False)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("hf:org/model", "hf:org/model"),
        ("local:LongOrganisation/Seedling-360M-Chat", "local:Lo…/Seedling-360M-Chat"),
        ("n" * 20 + "m" * 20, "n" * 14 + "…" + "m" * 13),
        ("a/" + "n" * 20 + "m" * 20, "a/" + "n" * 12 + "…" + "m" * 13),
    ],
)
def test_a_long_name_beside_a_chart_keeps_its_end(name, shown):
    drawn = charts.draw_costs({name: 1.0})
    assert f">{shown}<title>{name}</title></text>" in drawn


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "link", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_loads_nothing_and_shows_answers_as_they_are(comparison, tmp_path):
    path = tmp_path / "report.html"
    comparison.html(path)
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {"img", "iframe", "object", "embed", "b"} & set(tags.tags) == {"b"}
    assert tags.tags.count("script") == 1
    assert [value for name, value in tags.attributes if name in {"src", "href", "action"}] == ["data:,"]
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "default-src 'none'" in dict(tags.attributes)["content"] or "default-src 'none'" in text
    assert "&lt;/pre&gt;" in text
    assert "\u202e" not in text
    assert "ContentFiltered: No &lt;b&gt;." in text
    for sentence in comparison.summary:
        assert report.escape_html(sentence) in text


def test_words_that_differ_are_marked():
    assert report.mark_differences("It is Rome.", "It is Paris.") == "It is <mark>Rome</mark>."
    assert report.mark_differences("a < b", "a < b") == "a &lt; b"
    assert report.mark_differences("", "a") == ""
    assert "<mark>" not in report.mark_differences("word " * 2000, "other")


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [0.001, 50.0], [-2.0, 7.5]], ids=str)
def test_charts_of_any_values(values):
    for svg in (
        charts.draw_times({"a" * 50: values, "b": []}, "t"),
        charts.draw_costs(dict.fromkeys("ab", sum(values))),
    ):
        numbers = [float(number) for number in re.findall(r' c?x[12]?="([^"]+)"', svg)]
        assert all(0 <= number <= 720 for number in numbers)
    means = {"a": MeanScore(sum(values), (float("-inf"), float("inf")), 1, False), "b": None}
    assert "nan" not in charts.draw_scores("m", means)


def test_in_a_browser(comparison, tmp_path):
    path = tmp_path / "report.html"
    comparison.html(path)
    page = Page(tmp_path / "profile")
    try:
        page.open(path.as_uri())
        assert page.run("document.title") == "Comparison of models"
        assert page.run("shown.textContent") == "3 of 3 prompts"

        def filtered(field, value):
            page.run(f"{field}.value={value!r};{field}.dispatchEvent(new Event('input'))")
            return page.run("cards.filter(card => !card.hidden).map(card => card.querySelector('b').textContent)")

        assert filtered("find", "TOKYO") == ["2"]
        assert filtered("find", "") == ["1", "2", "3"]
        assert filtered("tag", "europe") == ["1"]
        assert filtered("tag", "") == ["1", "2", "3"]
        assert filtered("only", "differs") == ["1", "2"]
        assert filtered("only", "failed") == ["1", "2", "3"]
        assert page.run("document.querySelectorAll('svg').length") == 5
        page.screenshot(tmp_path / "report.png")
        assert (tmp_path / "report.png").stat().st_size > 20_000
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    finally:
        page.close()
