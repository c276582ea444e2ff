"""Inspect and lighteval run tasks on the default model, and their results become rows of a comparison."""

from __future__ import annotations

import asyncio
import json
import types

import pytest

import openmodels as om
from openmodels.integrations.evaluation import compare_rows

pytestmark = pytest.mark.filterwarnings("ignore")

QUESTIONS = {
    "What is the capital of France?": "Paris",
    "What is the capital of Italy?": "Rome",
    "Name the colour of snow.": "white",
    "What is the opposite of hot?": "cold",
}


@pytest.fixture(scope="module")
def model():
    with om.Model(om.DEFAULT_MODEL, device="cpu") as model:
        yield model


@pytest.fixture(scope="module")
def greedy(model):
    return {question: model.chat(question, temperature=0, max_tokens=8).text for question in QUESTIONS}


def test_inspect_runs_a_task(model, greedy, tmp_path):
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    from openmodels.integrations.inspect_ai import as_model, as_rows

    samples = [Sample(input=question, target=target) for question, target in QUESTIONS.items()]
    task = inspect_ai.Task(name="capitals", dataset=samples, solver=generate(), scorer=includes())
    options = {"display": "none", "log_dir": str(tmp_path), "log_format": "json", "ctl_server": False}
    (log,) = inspect_ai.eval(task, model=as_model(model), temperature=0, max_tokens=8, **options)
    # By name, Inspect finds the provider through its entry point.
    (other,) = inspect_ai.eval(task, model="openmodels/echo:", **options)
    assert log.status == other.status == "success"
    rows = as_rows([log, other])
    assert {row["model"] for row in rows} == {model.reference, "echo:"}
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 0, 1, 2, 3]
    for row in rows[:4]:
        assert row["text"] == greedy[row["prompt"]]
        assert row["scores"] == {"includes": float(row["reference"].lower() in row["text"].lower())}
        assert row["output_tokens"] <= 8
        assert row["seconds"] > 0
        assert row["error"] is None
        assert row["tags"] == ["capitals"]
    comparison = compare_rows(rows)
    assert comparison.models == (model.reference, "echo:")
    right = sum(row["scores"]["includes"] for row in rows[:4])
    assert comparison.scores["includes"][model.reference].mean == right / 4
    assert (comparison.pairs[0].a, comparison.pairs[0].wins) == (model.reference, right)
    assert "includes" in comparison.table()


def test_inspect_options_reach_the_model_or_are_refused():
    from inspect_ai.model import ChatMessageUser, GenerateConfig
    from inspect_ai.tool import ToolFunction, ToolInfo, ToolParams

    from openmodels.integrations.inspect_ai import OpenModelsAPI

    api = OpenModelsAPI("echo:")

    def ask(tools=(), choice="auto", **config):
        return asyncio.run(api.generate([ChatMessageUser(content="hi")], list(tools), choice, GenerateConfig(**config)))

    seen = {}
    api._model.achat = lambda messages, **options: seen.update(options, messages=messages) or echo(messages)
    echo = om.Model("echo:").achat
    schema = {"name": "a", "json_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    weather = ToolInfo(name="weather", description="The weather.", parameters=ToolParams())
    ask([weather], ToolFunction(name="weather"), max_tokens=5, stop_seqs=["."], top_p=0.5, response_schema=schema)
    assert seen["messages"][0]["content"] == "hi"
    assert (seen["max_tokens"], seen["stop"], seen["top_p"]) == (5, (".",), 0.5)
    assert seen["schema"]["properties"]["x"]["type"] == "integer"
    assert seen["tool_choice"] == "weather"
    assert seen["tools"][0]["function"]["name"] == "weather"
    with pytest.raises(om.UnsupportedFeature, match="logit_bias"):
        ask(logit_bias={1: 2.0})


def test_lighteval_runs_tasks_that_generate_and_that_choose(model, greedy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    from lighteval.utils import imports

    # Where LiteLLM is installed, lighteval imports it, which fetches prices, and fails with newer ones.
    is_available = imports.is_package_available
    monkeypatch.setattr(imports, "is_package_available", lambda name: name != "litellm" and is_available(name))
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.metrics.metrics import Metrics
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.registry import Registry
    from lighteval.tasks.requests import Doc

    from openmodels.integrations.lighteval import as_model, as_rows

    # One of lighteval's own tasks fetches a file when it is imported.
    monkeypatch.setattr(Registry, "_load_from_files", staticmethod(lambda *_: {}))
    monkeypatch.setattr(Registry, "_load_from_subdirs", staticmethod(lambda *_: {}))
    (tmp_path / "data").mkdir()
    lines = [json.dumps({"question": question, "target": target}) for question, target in QUESTIONS.items()]
    (tmp_path / "data" / "test.jsonl").write_text("\n".join(lines))
    targets = list(QUESTIONS.values())

    def task(name, metric, make_doc):
        return LightevalTaskConfig(
            name=name,
            prompt_function=lambda line, task: make_doc(line["question"], line["target"], task),
            hf_repo=str(tmp_path / "data"),
            hf_subset="default",
            metrics=[metric],
            hf_avail_splits=["test"],
            evaluation_splits=["test"],
            generation_size=8,
        )

    module = types.ModuleType("capitals")
    module.TASKS_TABLE = [
        task("say", Metrics.exact_match, lambda question, target, name: Doc(question, [target], 0, task_name=name)),
        task(
            "pick",
            Metrics.loglikelihood_acc,
            lambda question, target, name: Doc(question, targets, targets.index(target), task_name=name),
        ),
    ]
    pipeline = Pipeline(
        tasks="say|0,pick|0",
        pipeline_parameters=PipelineParameters(ParallelismManager.NONE, custom_tasks_directory=module),
        evaluation_tracker=EvaluationTracker(str(tmp_path / "out"), save_details=False),
        model=as_model(model),
    )
    pipeline.evaluate()
    rows = as_rows(pipeline)
    said = [row for row in rows if row["tags"] == ["say|0"]]
    picked = [row for row in rows if row["tags"] == ["pick|0"]]
    assert len({row["index"] for row in rows}) == 8
    for row in said:
        assert row["text"] == greedy[row["prompt"]]
        assert row["scores"] == {"em": float(row["text"].strip() == row["reference"][0])}
    for row in picked:
        scores = model.score([om.user(row["prompt"])], targets)
        assert row["text"] == max(scores, key=lambda score: score.logprob).text
        assert row["scores"] == {"acc": float(row["text"] == row["reference"][0])}
    accuracy = pipeline.get_results()["results"]["pick:0"]["acc"]
    assert accuracy == pytest.approx(sum(row["scores"]["acc"] for row in picked) / 4)
