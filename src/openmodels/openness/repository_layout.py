"""What the file names of a repository show: programs and their configurations.

A link proves nothing: three in ten repositories linked as training code hold none. A tree does.
"""

import re
from dataclasses import dataclass

from openmodels.openness.evidence_pages import RepositoryEvidence

_SCRIPT = re.compile(r"(?i)\.(?:py|sh|slurm|sbatch|ipynb|jl|cu|cpp|rs|lua)$")
_LAUNCH = re.compile(r"(?i)\.(?:sh|slurm|sbatch)$")
_CONFIG = re.compile(r"(?i)\.(?:ya?ml|json|jsonnet|libsonnet|toml|gin|cfg|ini|pbtxt)$")
_CONFIG_PLACE = re.compile(
    r"(?i)(?:^|[/_.-])(?:configs?|conf|recipes?|experiments?|runs?|hparams|deepspeed|zero\d?)(?:$|[/_.-])"
)
# Copies of other people's code, tests and papers' notebooks say nothing about this model.
_FOREIGN = re.compile(
    r"(?i)(?:^|/)(?:\.[^/]+|tests?|docs?|third[-_]?party|3rd[-_]?party|vendor|vendored|external|deps|dependencies"
    r"|submodules|node_modules|document-convert|ocr|ppocr)(?:/|$)|(?:^|/)(?:test_|conftest)[^/]*$"
)
# Layers and adapters of a model's definition are no programs that tune.
_LAYER = re.compile(r"(?i)(?:^|/)(?:q?lora|peft|adapters?)(?:_(?:layers?|utils|v\d|model\w*))?\.py$")
# Training a tokenizer, a classifier or a filter is work on data.
_SIDE = re.compile(
    r"(?i)tokeniz|\bbpe\b|_bpe|fasttext|classifier|edu_bert|reward|dedup|filter|quantiz|gptq|awq|(?:^|[/_-])(?:data"
    r"|datasets?|preproc\w*)/"
)
_PRETRAIN = re.compile(r"(?i)(?<!from_)(?<!from-)pre[-_]?train")
_TRAIN = re.compile(r"(?i)(?:^|[/_-])(?:train|training|trainer)(?:[/_.-]|$|\d)")
_TUNE = re.compile(
    r"(?i)fine[-_]?tun|p-?tuning|(?:^|/)chat/|(?:^|[/_.-])(?:x?sft|dpo|orpo|kto|ppo|grpo|rlvr|rlhf|rl|simpo|apo|q?lora"
    r"|peft|instruct|instruction[-_]tun\w*|align(?:ment)?|post[-_]?train\w*)(?:[/_.-]|$)"
)
_EVALUATE = re.compile(
    r"(?i)(?:^|[/_.-])(?:evals?|evaluat(?:e|ions?|or)|lm[-_]?eval\w*|(?:eval)?harness|run_eval\w*)(?:[/_.-]|$)"
)
_PREPARE = re.compile(
    r"(?i)(?:^|[/_.-])(?:prepare|preprocess\w*|prep|dedup\w*|clean\w*|tokeniz\w*|data_?prep\w*|taggers?|mixer"
    r"|decontamination|filter\w*)(?:[/_.-]|$)"
)
_CONVERT = re.compile(r"(?i)convert|export|merge|upload|sync|download|_to_|install|build_image|plot|inspect|hf_hub")
_BUILD = re.compile(
    r"(?i)(?:^|[/_.-])(?:compile|build|docker\w*|quanti\w+|setup|install\w*|kernels?|env\w*)(?:[/_.-]|$)"
)
_START = re.compile(r"(?i)(?:main|run|launch|start|tr\d+|job)\w*|.*(?:run|launch|job)[^/]*\.(?:sh|slurm|sbatch)$")
_INFER = re.compile(r"(?i)(?:^|[/_.-])(?:infer\w*|generat\w*|chat|sample\w*|serv\w+|demo|predict\w*)(?:[/_.-]|$)")
_MODEL = re.compile(r"(?i)(?:^|/)(?:modell?ing_?\w*|models?|architecture)(?:\.py|/)")
_EXAMPLE = re.compile(r"(?i)(?:^|/)(?:examples?|colabs?|notebooks?|demos?|tutorials?)/|\.ipynb$")


# A library's definition, tests or manual of a model do not train it: they serve all models.
_LIBRARY = re.compile(
    r"(?i)(?:^|/)(?:models?|modell?ing|model_executor|tests?|docs?|tutorials?|integrations?|templates?|conversion"
    r"|layers|ops|kernels)/|(?:^|/)(?:modell?ing|configuration|tokenization|convert|test)_[^/]*$"
)
_RECIPE = re.compile(r"(?i)\.(?:ya?ml|toml|gin|jsonnet|libsonnet|sh|slurm|sbatch)$")
_DOCUMENT = re.compile(r"(?i)(?:pre[-_]?)?train\w*[^/]*\.(?:md|rst)$|train\w*/[^/]*\.(?:md|rst)$")


@dataclass(frozen=True)
class RepositoryLayout:
    """The kinds of files in a repository; each a tuple of paths in the listed order."""

    training: tuple[str, ...]  # programs that train a model and are not for fine-tuning alone
    launchers: tuple[str, ...]  # shell scripts that start training
    tuning: tuple[str, ...]  # scripts that fine-tune
    examples: tuple[str, ...]  # fine-tuning notebooks and examples, which are help for users
    training_configs: tuple[str, ...]  # configurations and launchers beside training
    tuning_configs: tuple[str, ...]  # recipes and launchers of fine-tuning
    evaluation: tuple[str, ...]  # scripts that evaluate
    preparation: tuple[str, ...]  # scripts that prepare data
    inference: tuple[str, ...]  # scripts that generate
    architecture: tuple[str, ...]  # files that define the model
    recipes: tuple[str, ...]  # files in the format of a configuration or launcher, wherever they lie
    documents: tuple[str, ...]  # texts about training


def classify_files(repository: RepositoryEvidence) -> RepositoryLayout:
    """Sort the paths of a repository by what they are for."""
    name = repository.id.partition("/")[2]
    # A repository that is called "…-train" says in its name what its top-level scripts are for.
    is_for_training = bool(_TRAIN.search(name)) and not _TUNE.search(name)
    paths = [path for path in repository.tree if not _FOREIGN.search(path)]
    scripts = [path for path in paths if _SCRIPT.search(path)]
    trained = [
        path for path in scripts if _is_training(f"{name}/{path}" if is_for_training and "/" not in path else path)
    ]
    tuned = [path for path in scripts if _is_tuning(path)]
    evaluation = [path for path in scripts if _EVALUATE.search(path) and not _PRETRAIN.search(path)]
    configs = [path for path in paths if _is_config(path) and not _EVALUATE.search(path)]
    return RepositoryLayout(
        training=tuple(path for path in trained if not _LAUNCH.search(path)),
        launchers=tuple(filter(_LAUNCH.search, trained)),
        tuning=tuple(sorted((path for path in tuned if not _EXAMPLE.search(path)), key=_plainness_key)),
        examples=tuple(filter(_EXAMPLE.search, tuned)),
        training_configs=tuple(path for path in configs if not _TUNE.search(path)),
        tuning_configs=tuple(path for path in configs if _TUNE.search(path) and not _SIDE.search(path)),
        evaluation=tuple(path for path in evaluation if not path.endswith("__init__.py")),
        preparation=tuple(filter(_PREPARE.search, scripts)),
        inference=tuple(filter(_INFER.search, scripts)),
        architecture=tuple(filter(_MODEL.search, scripts)),
        recipes=tuple(path for path in paths if _RECIPE.search(path) and _is_for_training(path)),
        documents=tuple(filter(_DOCUMENT.search, repository.tree)),
    )


def find_evaluation_code(layout: RepositoryLayout) -> tuple[str, ...]:
    """Return the paths that prove evaluation code.

    Those are several programs in a folder for it near the top.
    """
    placed = [
        path for path in layout.evaluation if any(_EVALUATE.search(f"{part}/") for part in path.split("/")[:-1][:3])
    ]
    return tuple(placed[:3]) if len(placed) >= 2 else ()


def is_library_file(path: str) -> bool:
    """Return whether a file defines, tests or explains a model for a library."""
    return _LIBRARY.search(path) is not None


def is_configuration(path: str) -> bool:
    """Return whether a file is a configuration, and not a launcher."""
    return _CONFIG.search(path) is not None


def is_pretraining(path: str) -> bool:
    """Return whether a path says that it is about pre-training."""
    return _PRETRAIN.search(path) is not None


def _is_for_training(path: str) -> bool:
    """Return whether nothing in a path says that it is for another purpose."""
    others = (_TUNE, _SIDE, _EVALUATE, _INFER, _CONVERT, _PREPARE, _BUILD)
    return not any(pattern.search(path) for pattern in others)


def _is_training(path: str) -> bool:
    folder, _, file = path.rpartition("/")
    if _TUNE.search(path) or _SIDE.search(path) or _CONVERT.search(file) or file.endswith((".ipynb", "__init__.py")):
        return False
    if _PRETRAIN.search(file):
        return True
    if _EVALUATE.search(path) or _PREPARE.search(file):
        return False
    if _PRETRAIN.search(folder):
        return True
    # In a folder for training, helpers are no entry points: the file must say that it trains or starts.
    return bool(_TRAIN.search(file) or (_TRAIN.search(f"{folder}/") and _START.match(file)))


def _is_tuning(path: str) -> bool:
    is_other = any(pattern.search(path) for pattern in (_SIDE, _EVALUATE, _LAYER)) or path.endswith("__init__.py")
    return bool(_TUNE.search(path)) and not is_other


def _plainness_key(path: str) -> tuple[bool, int]:
    """Return a key that sorts programs whose name says that they tune first."""
    file = path.rpartition("/")[2]
    return not re.search(r"train|tun|sft|dpo|ppo|grpo|run", file, re.IGNORECASE), path.count("/")


def _is_config(path: str) -> bool:
    if _CONVERT.search(path.rpartition("/")[2]):
        return False
    if _LAUNCH.search(path):
        return not any(pattern.search(path) for pattern in (_INFER, _PREPARE, _BUILD))
    if _INFER.search(path) or not _CONFIG.search(path):
        return False
    return bool(_CONFIG_PLACE.search(path) or _PRETRAIN.search(path) or _TRAIN.search(path))
