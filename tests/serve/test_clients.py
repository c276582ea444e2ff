"""Other real clients: azure-ai-inference, huggingface_hub, LangChain and pydantic-ai."""

import asyncio

import pydantic
import pytest
from running_server import KEY

TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class City(pydantic.BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture(scope="module")
def azure(server):
    from azure.ai.inference import ChatCompletionsClient
    from azure.core.credentials import AzureKeyCredential

    with ChatCompletionsClient(f"{server.address}/v1", AzureKeyCredential(KEY), model="fake") as client:
        yield client


@pytest.fixture(scope="module")
def hub(server):
    from huggingface_hub import InferenceClient

    return InferenceClient(base_url=f"{server.address}/v1", api_key=KEY)


@pytest.fixture(scope="module")
def chain(server):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="fake", base_url=f"{server.address}/v1", api_key=KEY, max_retries=0)


class TestAzure:
    def test_chat(self, azure):
        from azure.ai.inference.models import SystemMessage, UserMessage

        messages = [SystemMessage("Be brief."), UserMessage("hi")]
        answer = azure.complete(messages=messages, temperature=0.5, max_tokens=9)
        assert answer.choices[0].message.content == "Hello world"
        assert answer.usage.total_tokens == 10
        chunks = list(azure.complete(messages=messages, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world"

    def test_tools(self, azure):
        from azure.ai.inference.models import ChatCompletionsToolDefinition, FunctionDefinition, UserMessage

        tool = ChatCompletionsToolDefinition(function=FunctionDefinition(name="weather", parameters=TOOL))
        answer = azure.complete(messages=[UserMessage("hi")], tools=[tool])
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"

    def test_embeddings(self, server):
        from azure.ai.inference import EmbeddingsClient
        from azure.core.credentials import AzureKeyCredential

        with EmbeddingsClient(f"{server.address}/v1", AzureKeyCredential(KEY), model="fake") as client:
            assert client.embed(input=["abc"]).data[0].embedding == [3, 4, 5, 6]


class TestHuggingFace:
    def test_chat(self, hub):
        messages = [{"role": "user", "content": "hi"}]
        answer = hub.chat_completion(messages, model="fake", max_tokens=9, seed=1, stop=["x"])
        assert answer.choices[0].message.content == "Hello world"
        chunks = list(hub.chat_completion(messages, model="fake", stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world"

    def test_tools_and_forms(self, hub):
        tool = {"type": "function", "function": {"name": "weather", "description": "x", "parameters": TOOL}}
        messages = [{"role": "user", "content": "hi"}]
        answer = hub.chat_completion(messages, model="fake", tools=[tool], tool_choice="auto")
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
        answer = hub.chat_completion(messages, model="fake", response_format=form)
        assert City.model_validate_json(answer.choices[0].message.content).name == "Oslo"


class TestLangChain:
    def test_chat(self, chain):
        answer = chain.invoke("hi")
        assert answer.content == "Hello world"
        assert answer.usage_metadata["total_tokens"] == 10
        assert "".join(chunk.content for chunk in chain.stream("hi")) == "Hello world"

    def test_tools(self, chain):
        def weather(city: str) -> str:
            """Look up the weather."""
            return city

        (call,) = chain.bind_tools([weather]).invoke("hi").tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})

    @pytest.mark.parametrize("method", ["json_schema", "json_mode"])
    def test_forms(self, chain, method):
        assert chain.with_structured_output(City, method=method).invoke("hi") == City(name="Oslo", people=700_000)

    def test_responses(self, server):
        from langchain_openai import ChatOpenAI

        chain = ChatOpenAI(
            model="fake", base_url=f"{server.address}/v1", api_key=KEY, max_retries=0, use_responses_api=True
        )
        assert chain.invoke("hi").text == "Hello world"
        assert "".join(chunk.text for chunk in chain.stream("hi")) == "Hello world"

    def test_embeddings(self, server):
        from langchain_openai import OpenAIEmbeddings

        options = {"check_embedding_ctx_length": False, "api_key": KEY}
        vectors = OpenAIEmbeddings(model="fake", base_url=f"{server.address}/v1", **options).embed_documents(["abc"])
        assert vectors == [[3, 4, 5, 6]]


class TestPydanticAI:
    @pytest.fixture
    def run(self, server):
        """Returns what runs an agent once, in an event loop of its own."""
        import openai
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        async def run_agent(options, tool, limits):
            async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0) as client:
                agent = Agent(OpenAIChatModel("fake", provider=OpenAIProvider(openai_client=client)), **options)
                if tool is not None:
                    agent.tool_plain(tool)
                return (await agent.run("hi", usage_limits=limits)).output

        return lambda tool=None, limits=None, **options: asyncio.run(run_agent(options, tool, limits))

    def test_chat(self, run):
        assert run(instructions="Be brief.") == "Hello world"

    def test_a_form(self, run):
        from pydantic_ai import NativeOutput

        assert run(output_type=NativeOutput(City)) == City(name="Oslo", people=700_000)

    def test_tools(self, run):
        from pydantic_ai import UsageLimits
        from pydantic_ai.exceptions import UsageLimitExceeded

        cities = []

        def weather(city: str) -> str:
            """Look up the weather."""
            cities.append(city)
            return "clear"

        # The fake model calls its tool again and again.
        with pytest.raises(UsageLimitExceeded):
            run(weather, UsageLimits(request_limit=2))
        assert cities == ["Oslo", "Oslo"]
