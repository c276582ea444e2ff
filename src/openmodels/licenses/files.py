"""Files that hold terms: their names, what they speak of, which can be read."""

import re
from enum import StrEnum

LONGEST_PATH = 512
_EXTENSION = r"(?:\.(?:txt|md|markdown|rst|html?|pdf|docx?|rtf|odt|tex|license|licence|[a-z]{2}(?:[-_][a-z]{2,4})?))*"
_NAME = re.compile(
    r"(?i)(?:.*[\s_.()-])?(?:[a-z]+)?(?:(?:un)?licen[cs]es?|licensing|lizenz(?:en)?|licencias?|licen[çc]as?"
    r"|licenz[ae]|lisens"
    r"|copying(?:\.lesser)?|copyright|notices?|eula|agreement|tou|tos|terms(?:[\s_-]*(?:of|and)[\s_-]*(?:use"
    r"|service|conditions))?"
    r"|(?:acceptable|prohibited)?[\s_-]*us(?:e|age)[\s_-]*(?:polic(?:y|ies)|restrictions?|terms)|disclaimer|patents)"
    rf"(?![\s_-]*plate)(?:[\s_.()-][\w\s.()-]*?)?{_EXTENSION}"
)
_CJK_NAME = re.compile(rf"(?i).*(?:许可|許可|协议|協議|授权|授權|ライセンス|利用規約|라이선스|이용약관).*?{_EXTENSION}")
_PROGRAM = re.compile(
    r"(?i)\.(?:py|json|jsonl|ya?ml|toml|safetensors|bin|pt|pth|onnx|gguf|h5|msgpack|model|csv|parquet|png|jpe?g"
    r"|gif|webp|svg|js|ts"
    r"|c|cc|cpp|h|hpp|cu|sh|ipynb|zip|gz|tar|npz|npy|wav|mp[34]|lock|cfg|ini)$"
)
_FOLDER = re.compile(r"(?i)(?:^|/)(?:legal|licen[cs]es?|terms)/[^/]+$")
_UNREADABLE = {"pdf": "a PDF", "doc": "a Word file", "docx": "a Word file", "rtf": "an RTF file", "odt": "an ODT file"}
_OTHERS = re.compile(
    r"(?i)(?:^|/)(?:third[-_ ]?part(?:y|ies)|vendor|external|deps|dependencies|node_modules|site-packages)/"
    r"|third[-_ ]?part(?:y|ies)"
)
_CODE = re.compile(r"(?i)(?:^|[\W_])(?:code|software|src|scripts?)(?:$|[\W_])")
_DATA = re.compile(r"(?i)(?:^|[\W_])(?:data|datasets?|corpus)(?:$|[\W_])")
_NOTICE = re.compile(r"(?i)(?:^|[\W_])(?:notices?|copyright|patents|disclaimer|attributions?)(?:$|[\W_])")
_POLICY = re.compile(r"(?i)polic(?:y|ies)|restrictions?")
_STANDARD = re.compile(
    r"(?i)(?:licen[cs]es?|copying|unlicense|licen[cs]e[\W_]*(?:apache|mit|bsd|gpl|lgpl|agpl|mpl|isc|cc0?"
    r"|cc[\W_]by)[\w.-]*"
    rf"|(?:apache|mit|bsd|gpl|mpl)[\w.-]*[\W_]licen[cs]e){_EXTENSION}"
)


class FileRole(StrEnum):
    """What a file of terms speaks of."""

    LICENSE = "license"  # of the weights
    POLICY = "policy"  # how they may be used
    CODE = "code"
    DATA = "data"
    NOTICE = "notice"  # who holds which rights
    OTHERS = "others"  # parts by others, in a folder of theirs


def is_license_file(path: str) -> bool:
    """Return whether a file's name says that it holds terms."""
    name = path.rpartition("/")[2]
    if len(path) > LONGEST_PATH or _PROGRAM.search(name):
        return False
    return bool(_NAME.fullmatch(name) or _CJK_NAME.fullmatch(name) or _FOLDER.search(path))


def find_role(path: str) -> FileRole:
    """Return what a file of terms speaks of, by its path."""
    stem = re.sub(r"\.\w{2,8}$", "", path)
    if _OTHERS.search(path):
        return FileRole.OTHERS
    if _POLICY.search(stem):
        return FileRole.POLICY
    if "model" not in stem.lower() and "weight" not in stem.lower():
        for pattern, role in ((_CODE, FileRole.CODE), (_DATA, FileRole.DATA), (_NOTICE, FileRole.NOTICE)):
            if pattern.search(stem):
                return role
    return FileRole.LICENSE


def has_own_terms(path: str) -> bool:
    """Return whether a name says more than "LICENSE" or "COPYING"."""
    return find_role(path) is FileRole.LICENSE and not _STANDARD.fullmatch(path.rpartition("/")[2])


def why_unreadable(path: str, text: str | None = None) -> str:
    """Return why a file cannot be read as terms ("a PDF", "empty"), "" where it can."""
    if reason := _UNREADABLE.get(path.rpartition(".")[2].lower(), ""):
        return reason
    if text is None:
        return ""
    start = text[:2_000].lstrip("\ufeff \t\r\n")
    if not start:
        return "empty"
    if start.startswith("version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer"
    if start.startswith("%PDF-"):
        return "a PDF"
    if re.match(r"(?i)<!doctype html|<html\b|<\?xml\b|<head\b", start):
        return "an HTML page"
    if "\0" in start or start.count("\ufffd") > len(start) / 20:
        return "not a text"
    return ""
