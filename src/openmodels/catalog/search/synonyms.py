"""Synonyms of a search, and the terms of the index that they stand for."""

from __future__ import annotations

from openmodels.catalog.vocabulary import read_table

_STOP_WORDS = """
a an the that which what who is are be i we you me my our it's may can could should would will do does use used
using for with without of to and or in on at by from as want need needs looking some any best good great better
nice please find show give get list model models llm llms lm ai language large one ones under work works like
run runs running permitted allowed purposes purpose suitable trained weights version versions also parameters
parameter params released under license licensed licence licenced speaking
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Each line: a word, and several words that mean it.
_PHRASES = """
question-answering: question answering
text-to-speech: text to speech
speech-recognition: speech to text, speech recognition
text-to-image: text to image, image generation
text-generation: text generation
text-classification: text classification
sentence-similarity: sentence similarity
embedding: sentence embedding, sentence embeddings
function-calling: function calling, tool use, tool calling
stable diffusion xl: sdxl
gguf: llama.cpp, llama cpp
4bit: 4 bit, 4-bit
8bit: 8 bit, 8-bit
moe: mixture of experts
finetuned: fine tuned, fine-tuned
ner: named entity recognition
instruct: instruction tuned, instruction following
openassistant: open assistant
huggingface: hugging face
gpt4all: gpt 4 all
eleutherai: eleuther ai
allenai: allen ai, allen institute
mistralai: mistral ai
"""

# Each line: words that people write, and the terms that they stand for in the catalogs.
_GROUPS = """
chat instruct it assistant conversational dialogue dialog instruction sft dpo rlhf: tag:conversational tag:chat
code coder coding programming programmer codegen: tag:code lang:code
math maths mathematics mathematical arithmetic: tag:math
medical medicine biomedical clinical health healthcare bio med: tag:medical tag:biology tag:biomedical tag:medicine
embedding embeddings embed embedder retrieval retriever vectors: task:feature-extraction task:sentence-similarity
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
lora adapter peft: lib:peft tag:lora
guard safety moderation safeguard shield:
tiny small mini smol nano little compact:
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
WORDS = {word: words for words, _ in _SYNONYMS for word in words}
"""The words that mean the same as a word."""
TERMS = {word: terms for words, terms in _SYNONYMS for word in words}
"""The terms of the index that mean the same as a word."""
PHRASES = {phrase: word for word, phrases in read_table(_PHRASES) for phrase in phrases.split(", ")}
"""Several words that are one, replaced before a text is cut up."""
AUTHORS = {name: tuple(accounts.split()) for name, accounts in read_table(_ACCOUNTS)}
AUTHORS |= {name: (name,) for name in _SAME_NAME.split()}
"""What people call an organisation, and its accounts on the Hub in lower case."""
