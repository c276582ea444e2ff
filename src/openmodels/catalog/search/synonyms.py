"""Synonyms of a search, and the terms of the index that they stand for."""

from __future__ import annotations

from functools import lru_cache

from openmodels.catalog.vocabulary import read_table
from openmodels.hub import model_names

_STOP_WORDS = """
a an the that this these those there which what whats who how is are be been being i im id ill we you me my our your
it its it's may can could should would will do does did doing has have had having lets let us use used user users
using for with without of to and or not but in on at by from as into onto over than then so if when where while
about around between per via want wants need needs needed looking look search searching some any anyone anything
something someone thing things stuff best good great better nice top most more less very really quite just only also
too even still like please pls thanks thank hi hello hey help find show give get got list recommend recommended
recommendation recommendations suggest suggestion suggestions suggested ideas idea know think try tell choose pick
question wondering model models modle ai large language one ones work works working runs run running ran permitted
allowed allow purposes purpose suitable capable able trained weights weight version versions parameters parameter
params param released under license licensed licence licenced licenses speaking speak speaks text texts available
out up now today currently decent solid quality high new newest latest recent popular state art sota fast easy
simple cheap free possible specific specifically based task tasks job type kind kinds sort compatible supports
support supporting supported make makes making made write writes doesn't don't isn't ollama pull serve download
downloads huggingface hub repo repository git clone from_pretrained automodel install hugging face here go goes turn
turns well no need prefer preferably preferred ideally currently actually basically somewhat enough fit fits fitting
anybody somebody someone else every each other another same similar like sth instead exactly today yet already ever
always often usually maybe perhaps btw fyi imo ty plz cheers dear folks guys everyone all mine ours their his her us him
them class sized size sizes ish range vram ram gpu gpus cpu hardware memory card cards bit lot lots much many few
equivalent comparable alternative alternatives option options opinion opinions experience usage company enterprise
personal home own
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Each line: a word, and several words that mean it.
_PHRASES = """
function-calling: function calling, tool use, tool calling, tool calls, function call, agentic, agent, agents
stable diffusion xl: sdxl
gguf: llama.cpp, llama cpp, llamacpp
4bit: 4 bit, 4 bits, 4bits, int4, four bit, 4bpw
8bit: 8 bit, 8 bits, 8bits, int8, eight bit
moe: mixture of experts, sparse mixture
finetuned: fine tuned, finetune, fine tune
instruct: instruction tuned, instruction following, instruction following model
apache: apache 2.0, apache 2, apache2, apache2.0, apache license, apache license 2.0, apache licensed
apache: apache 2.0 license
mit: mit license, mit licensed, mit licence
openassistant: open assistant
huggingfacetb: hugging face tb
gpt4all: gpt 4 all
eleutherai: eleuther ai
allenai: allen ai, allen institute
mistralai: mistral ai
stabilityai: stability ai
code: source code, code generation, code completion, python code, python, javascript, write code, software engineering
math: maths problems, math problems
uncensored: without censorship, no censorship, not censored, non censored, unfiltered, no filter, no filters
uncensored: without filters, no restrictions, without restrictions, no refusals, without refusals, no guardrails
uncensored: without guardrails
multilingual: many languages, multiple languages, all languages, multi lingual, several languages
"""

# Each line: words that people write, and the terms that they stand for in the catalogs.
_GROUPS = """
chat instruct it assistant conversational dialogue dialog instruction sft dpo rlhf chatbot: tag:conversational tag:chat
multilingual multi polyglot: tag:multilingual lang:multilingual
quantized quantised quantization quantisation quant quants gguf awq gptq 4bit: format:gguf tag:4-bit tag:awq tag:gptq
fp8: tag:fp8
exl2 exl3 exllama: tag:exl2 tag:exl3
bnb bitsandbytes: tag:bitsandbytes
openvino ov: tag:openvino format:openvino lib:openvino
code coder coding programming programmer codegen: tag:code lang:code
math maths mathematics mathematical arithmetic: tag:math
medical medicine biomedical clinical health healthcare bio med: tag:medical tag:biology tag:biomedical tag:medicine
embedding embeddings embed embedder: task:feature-extraction task:sentence-similarity
rerank reranker reranking ranker: task:text-ranking tag:reranker
vision vl vlm multimodal image-text visual: task:image-text-to-text task:visual-question-answering
4bit q4 int4 nf4 gptq awq w4a16: tag:4-bit tag:gptq tag:awq
8bit q8 int8 w8a8: tag:8-bit
gguf ggml llamacpp: format:gguf lib:gguf
mlx: format:mlx lib:mlx
onnx: format:onnx
summarization summarisation summarize summarise summary summaries summarizer: task:summarization tag:summarization
translation translate translator translating: task:translation tag:translation
speech-recognition asr transcription transcribe stt transcriber: task:automatic-speech-recognition
text-to-speech tts voice: task:text-to-speech task:text-to-audio
text-to-image diffusion t2i: task:text-to-image
text-generation: task:text-generation
text-classification classification classifier classify: task:text-classification
ner entity entities: task:token-classification
question-answering qa: task:question-answering
fill-mask mlm masked: task:fill-mask
sentence-similarity similarity sts: task:sentence-similarity
function-calling tools tool functions function: tag:function-calling tag:tool-use cap:tool-calling
reasoning thinking reasoner reason think: cap:reasoning tag:reasoning
uncensored abliterated decensored:
finance financial fin finbert: tag:finance
legal law lawyer: tag:legal tag:law
moe mixture experts: tag:moe
merge merged mergekit: tag:merge tag:mergekit
lora loras adapter adapters peft: lib:peft tag:lora
guard safety moderation moderate safeguard shield guardrail guardrails guardian:
base pretrained pt foundation:
apache apache2: license:Apache-2.0
mit: license:MIT
roleplay rp storytelling story creative:
sql text2sql text-to-sql: tag:sql
biology protein proteins: tag:biology
"""

# Each line: what people call an organisation, and its accounts on the Hub in lower case.
_ACCOUNTS = """
meta: meta-llama facebook
facebook: facebook meta-llama
ai2: allenai
allen: allenai
mistral: mistralai
oasst: openassistant
eleuther: eleutherai
nomic: nomic-ai
alibaba: qwen
deepmind: google
tii: tiiuae
zhipu: zai-org thudm
hf: huggingfacetb huggingfaceh4
huggingface: huggingfacetb huggingfaceh4
msft: microsoft
cohere: coherelabs cohereforai
databricks: databricks mosaicml
tencent: tencent tencentarc
ibm: ibm-granite
stability: stabilityai
moonshot: moonshotai
nous: nousresearch
xai: xai-org
yi: 01-ai
"""
_SAME_NAME = "openassistant baai snowflake apple salesforce bigcode bigscience lmsys"

_SYNONYMS = [(tuple(words.split()), tuple(terms.split())) for words, terms in read_table(_GROUPS)]
WORDS: dict[str, tuple[str, ...]] = {}
"""The words that mean the same as a word."""
TERMS: dict[str, tuple[str, ...]] = {}
"""The terms of the index that mean the same as a word."""
for _words, _terms in _SYNONYMS:
    for _word in _words:
        WORDS.setdefault(_word, _words)
        TERMS.setdefault(_word, _terms)
PHRASES = {phrase: word for word, phrases in read_table(_PHRASES) for phrase in phrases.split(", ")}
"""Several words that are one, or one that is several."""
AUTHORS = {name: tuple(accounts.split()) for name, accounts in read_table(_ACCOUNTS)}
AUTHORS |= {name: (name,) for name in _SAME_NAME.split()}
"""What people call an organisation, and its accounts on the Hub in lower case."""
WORDS_BY_BITS = {
    4: ("4bit", "4-bit", "q4", "int4", "nf4", "gptq", "awq", "w4a16", "mxfp4", "nvfp4", "exl2", "gguf"),
    8: ("8bit", "8-bit", "q8", "int8", "fp8", "w8a8"),
}
"""Words of names and tags for weights whose parameters have so many bits; most GGUF repositories have a 4-bit file."""
VARIANTS = frozenset(
    {
        *model_names.CONVERSION,
        *["quantised", "quant", "quants", "lora", "loras", "adapter", "adapters", "merge", "merged"],
    }
)
"""Words that ask for a conversion, an adapter or a merge instead of the model itself."""

SIZES = {
    "tiny": 1_500_000_000, "small": 4_000_000_000, "mini": 4_000_000_000, "smol": 4_000_000_000, "nano": 1_500_000_000,
    "little": 4_000_000_000, "compact": 4_000_000_000, "lightweight": 4_000_000_000, "smallest": 1_500_000_000,
    "light": 4_000_000_000, "smaller": 4_000_000_000, "lighter": 4_000_000_000, "light weight": 4_000_000_000,
    "no gpu": 4_000_000_000, "without gpu": 4_000_000_000, "without a gpu": 4_000_000_000, "cpu only": 4_000_000_000,
    "low end": 4_000_000_000, "low vram": 4_000_000_000, "low memory": 4_000_000_000, "low resource": 4_000_000_000,
}  # fmt: skip
"""Words for few parameters, and how many these are at most."""

_ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("er", ""), ("er", "e"),
    ("isation", "ization"), ("isations", "ization"), ("ise", "ize"), ("ises", "ize"), ("iser", "izer"),
    ("ising", "ize"),
)  # fmt: skip


@lru_cache(maxsize=4096)
def stem(phrase: str) -> str | None:
    """Return the known word that one is a form of ("translates"), or None."""
    for end, other in _ENDINGS:
        if not phrase.endswith(end) or len(phrase) < len(end) + 3:
            continue
        start = phrase.removesuffix(end)
        doubled = (start[:-1],) if start[-1:] == start[-2:-1] and not other else ()
        for form in (start + other, *doubled):
            if form in WORDS or form in PHRASES:
                return str(form)
    return None
