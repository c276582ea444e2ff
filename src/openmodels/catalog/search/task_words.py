"""What people call the tasks of the Hub, in English."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openmodels.catalog.vocabulary import read_table

# Each line: the Hub's tasks, and the words for them beside their own. With several tasks the words mean any of them.
_TASK_WORDS = """
text-generation: llm, llms, lm, slm, language model, large language model, small language model
text-generation: text generator, text completion, causal lm, gpt-like
text-classification: text classifier, classify text, document classification
text-classification: intent classification, intent detection, topic classification
text-classification: sentiment, sentiment analysis, sentiment classification, emotion detection
text-classification: emotion classification, spam detection, spam filter, toxicity detection
text-classification: hate speech detection, language detection, language identification
token-classification: ner, named entity recognition, named entity, entity recognition, entity extraction
token-classification: extract entities, pos tagging, part of speech, part of speech tagging, pii detection
token-classification: pii redaction
table-question-answering: table qa, tabular question answering, questions about tables
question-answering: qa, extractive qa, question answerer, answer questions
zero-shot-classification: zero shot text classification, zero shot classifier, nli, natural language inference
zero-shot-classification: textual entailment
zero-shot-classification zero-shot-image-classification zero-shot-object-detection: zero shot, zeroshot
translation: machine translation, translate text, text translation
summarization: text summarization, summarize text, summarise text, tldr
feature-extraction sentence-similarity: text embedding, text embeddings, sentence embedding
feature-extraction sentence-similarity: sentence embeddings, document embedding, document embeddings
feature-extraction sentence-similarity: embedding model, dense retrieval, retrieval, retriever, vector search
feature-extraction sentence-similarity: vectorize, rag
feature-extraction: text vectors, feature extractor
text2text-generation: text2text, seq2seq, text to text
fill-mask: mlm, masked language model, masked lm, fill in the blank
sentence-similarity: semantic similarity, text similarity, semantic textual similarity, semantic search, sts
sentence-similarity: paraphrase detection, duplicate detection
text-ranking: rerank, reranker, re-ranker, re ranker, re ranking, cross encoder, document ranking
text-ranking: passage ranking
table-to-text: table to text
multiple-choice: multiple choice
audio-text-to-text: audio language model, speech language model, audio understanding, audio question answering
image-text-to-text: vlm, vlms, vlm model, vision language, vision language model, visual language model
image-text-to-text: multimodal llm, mllm, lvlm, image chat, image understanding, understand images
image-text-to-text: chat with images
visual-question-answering image-text-to-text: visual question answering, vqa, questions about images
image-text-to-text visual-question-answering: ask about images
image-to-text image-text-to-text: ocr, optical character recognition, text recognition
image-to-text image-text-to-text: handwriting recognition, read text from images
image-to-text image-text-to-text: pdf to text, pdf to markdown, image to markdown
image-to-text image-text-to-text: image captioning, caption images, captioning
image-to-text image-text-to-text: describe images, describe pictures, image description, img2txt, image2text
image-to-text image-text-to-text: img2text
document-question-answering image-text-to-text: docvqa, document qa, document vqa, questions about documents
document-question-answering image-text-to-text: document understanding
video-text-to-text: video understanding, video question answering, video captioning, video qa, video llm, video chat
visual-document-retrieval: document retrieval, visual retrieval, colpali style
any-to-any: omni, omnimodal, omni model, omni modal, speech to speech
depth-estimation: depth, depth map, depth maps, monocular depth, depth prediction, depth estimator
image-classification: image classifier, image recognition, classify images, classify pictures
image-classification: picture classification, photo classification
object-detection: object detector, detect objects, object recognition, object tracking
object-detection: bounding boxes
image-segmentation mask-generation: segmentation, segment images, semantic segmentation, instance segmentation
image-segmentation mask-generation: panoptic segmentation
image-segmentation: background removal, remove background, image matting
mask-generation: segment anything, mask generator
text-to-image: image generation, image generator, generate images
text-to-image: picture generation, generate pictures, create images, draw pictures, text2image, text2img
text-to-image: txt2img, t2i, ai art, image synthesis
image-to-image: img2img, image2image, image editing, edit images, image editor, image restoration
image-to-image: super resolution, superresolution, image upscaling, upscaler, upscaling, upscale images
image-to-image: style transfer
image-to-image: inpainting, outpainting, colorization, image enhancement, denoise images
image-to-video: img2vid, img2video, image2video, animate images, i2v
text-to-video: video generation, video generator, generate videos, txt2vid, txt2video
text-to-video: text2video, t2v, create videos
video-to-video: vid2vid, video editing
unconditional-image-generation: unconditional image generation
video-classification: action recognition, video classifier, classify videos, activity recognition
zero-shot-image-classification: image text matching, contrastive language image
zero-shot-object-detection: open vocabulary detection, open vocabulary object detection, text prompted detection
text-to-3d: text to 3d, 3d generation, generate 3d, 3d model generation
image-to-3d: image to 3d, 3d reconstruction, picture to 3d
image-feature-extraction: image embedding, image embeddings, image features, visual features, image retrieval
image-feature-extraction: image similarity, vision encoder, vision backbone
keypoint-detection: pose estimation, human pose, landmark detection, key point detection, keypoints
text-to-speech text-to-audio: tts, speech synthesis, text2speech, speech generation, voice cloning
text-to-speech text-to-audio: voice generation, voice synthesis, read aloud
text-to-audio: music generation, generate music, music generator, sound generation, sound effects
text-to-audio: audio generation, text to music, text2music, text to sound
automatic-speech-recognition: asr, speech recognition, speech to text, speech2text, stt, s2t, voice recognition
automatic-speech-recognition: voice to text, audio to text, audio transcription, transcribe audio
automatic-speech-recognition: transcribe speech, transcribe, transcription, transcriber, dictation, subtitles
automatic-speech-recognition: captions for video
audio-to-audio: speech enhancement, noise suppression, denoise audio, voice conversion, source separation
audio-to-audio: audio separation, stem separation, vocal remover
audio-classification: audio classifier, classify audio, classify sounds, sound classification
audio-classification: sound recognition, speaker recognition, speaker identification
audio-classification: speech emotion recognition, keyword spotting, music genre classification, wake word
voice-activity-detection: vad, speech detection, speaker diarization, diarization
tabular-classification: tabular data, classify tables, tabular classifier
tabular-regression: regression, predict prices
time-series-forecasting: time series, timeseries, forecasting, forecaster, time series prediction
time-series-forecasting: time series model, demand forecasting
reinforcement-learning: rl agent, deep reinforcement learning, game playing
robotics: robot, vla, vision language action, robot control, robot policy, robot manipulation
graph-machine-learning: graph ml, graph neural network, gnn
"""

TASKS = frozenset(task for tasks, _ in read_table(_TASK_WORDS) for task in tasks.split())
"""The tasks that the Hub lets authors choose from."""

_WORDS: dict[str, tuple[str, ...]] = {}
for _tasks, _listed in read_table(_TASK_WORDS):
    for _word in _listed.split(", "):
        _WORDS[_word] = tuple(dict.fromkeys((*_WORDS.get(_word, ()), *_tasks.split())))

_PHRASES: dict[str, tuple[str, ...]] = _WORDS | {task.replace("-", " "): (task,) for task in TASKS}


def phrase_key(words: Iterable[str]) -> str:
    """Return what "describe a picture" and "describing pictures" share."""
    listed = list(words)
    roots = [_root(word) for word in listed if word not in _SKIPPED]
    # "Text to speech" is not "speech to text"; "classification of images" is "image classification".
    return " ".join(roots if "to" in listed or "into" in listed else sorted(roots))


def _root(word: str) -> str:
    if len(word) > _SHORT:
        word = word.replace("isation", "ization").removesuffix("ing").removesuffix("ed")
        word = word[:-1] if word[-1:] == word[-2:-1] != "s" else word
    if len(word) > _SHORT - 1:
        word = word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s").removesuffix("e")
    return word


_SKIPPED = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "into",
        "in",
        "my",
        "from",
        "for",
        "with",
        "on",
        "its",
        "their",
        "out",
        "up",
        "some",
        "any",
        "these",
        "those",
        "and",
    ]
)
_SHORT = 5

_BY_KEY: dict[str, tuple[str, tuple[str, ...]]] = {
    phrase_key(phrase.split()): (phrase, tasks) for phrase, tasks in _PHRASES.items()
}
LONGEST = 1 + max(phrase.count(" ") for phrase in _PHRASES)
"""Words of the longest phrase."""
WORDS = frozenset(word for phrase in _PHRASES for word in phrase.split())
"""The words of all phrases."""


def find_tasks(words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the phrase that some words are a form of, and its tasks, or None.

    The words are in lower case; the likeliest task is the first.
    """
    if tasks := _PHRASES.get(phrase := " ".join(words)):
        return phrase, tasks
    if words[0] in _SKIPPED or words[-1] in _SKIPPED:
        return None
    return _BY_KEY.get(phrase_key(words))
