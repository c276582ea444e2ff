"""A restriction written into an open license is found wherever it stands; harmless changes are not taken for one."""

import random
import re
import textwrap

import pytest

from openmodels.licenses import find
from openmodels.licenses.extra_words import HARMLESS, is_harmless
from openmodels.licenses.identification import identify

BASES = {  # ScanCode's name of the text -> the id of the license
    "mit": "mit",
    "apache-2.0": "apache-2.0",
    "bsd-new": "bsd-3-clause",
    "bsd-simplified": "bsd-2-clause",
    "isc": "isc",
    "mpl-2.0": "mpl-2.0",
    "gpl-3.0": "gpl-3.0",
    "cc-by-4.0": "cc-by-4.0",
    "openmdw-1.0": "openmdw-1.0",
    "unlicense": "unlicense",
}
RESTRICTIONS = {
    "en": [
        "Hospitals with over eighty beds owe the authors a yearly fee.",
        "You shall not offer the weights as a hosted endpoint.",
        "Use in advertising is outside the scope of this grant.",
        "Classroom use only.",
        "Whoever deploys it must email the lab first.",
    ],
    "zh": [
        "仅供高校教学使用。",
        "企业使用前须联系作者取得书面授权。",
        "禁止用于金融交易。",
        "不得将本模型的输出用于训练其他模型。",
        "年营业额超过一百万元的公司须另行付费。",
    ],
    "de": [
        "Die Nutzung durch Behörden ist untersagt.",
        "Nur für den Einsatz in Schulen.",
        "Firmen mit mehr als zwanzig Angestellten zahlen eine Gebühr.",
        "Vor dem Einsatz ist eine Anmeldung nötig.",
        "Die Weitergabe der Gewichte ist ausgeschlossen.",
    ],
    "fr": [
        "Réservé aux laboratoires publics.",
        "Toute vente est interdite.",
        "L'usage par des banques est exclu.",
        "Une inscription préalable est exigée.",
        "Les sorties ne servent pas à entraîner un autre modèle.",
    ],
    "es": [
        "Solo para fines didácticos.",
        "Queda prohibida la venta.",
        "Las aseguradoras necesitan un acuerdo aparte.",
        "Se debe avisar al autor antes de cada despliegue.",
        "No vale para vigilancia.",
    ],
    "ja": [
        "学校での利用に限ります。",
        "販売は禁止します。",
        "企業は事前に著者の承諾を得てください。",
        "出力を他のモデルの学習に使わないでください。",
        "政府機関による利用はできません。",
    ],
}
PLACES = ("prefixed", "appended", "inserted")


@pytest.fixture(scope="module")
def texts(license_texts):
    return {name: license_texts[name] for name in BASES}


def alter(text: str, words: str, place: str, chance: random.Random) -> str:
    if place == "prefixed":
        return f"{words}\n\n{text}"
    if place == "appended":
        return f"{text}\n\n{words}\n"
    # Between two words, so that every gap of every template is among the places.
    blanks = [match.start() for match in re.finditer(r"\s+", text)]
    at = chance.choice(blanks)
    return f"{text[:at]} {words} {text[at:]}"


@pytest.mark.parametrize("language", RESTRICTIONS)
def test_an_added_restriction_is_never_open(language, texts):
    chance, opened, count = random.Random(language), [], 0
    for words in RESTRICTIONS[language]:
        for place in PLACES:
            for name in chance.sample(list(BASES), 4):
                count += 1
                identified = identify(alter(texts[name], words, place, chance))
                if identified.license.open:
                    opened.append((name, place, words))
    assert count == 60
    assert not opened


HOLDERS = "Copyright 2019 Iris Vega <iris@vega.example>\n© 2024 The Petrel Authors. All rights reserved.\n\n"
VARIATIONS = {
    "wrapped": lambda text: "\n\n".join(textwrap.fill(part, 60) for part in text.split("\n\n")),
    "unwrapped": lambda text: "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")),
    "indented": lambda text: textwrap.indent(text, "    "),
    "commented": lambda text: textwrap.indent(text, "# ", lambda line: True),
    "quoted": lambda text: textwrap.indent(text, "> ", lambda line: True),
    "holder": lambda text: "Copyright (c) 2021-2026 Ångström Laboratories GmbH & Co. KG\n\n" + text,
    "holders": lambda text: HOLDERS + text,
    "small holder": lambda text: "Copyright (c) 2025 ivega\n\n" + text,
    "Chinese holder": lambda text: "版权所有 © 2025 青鸟智能科技有限公司\n\n" + text,
    "tagged": lambda text: "SPDX-FileCopyrightText: 2026 Petrel e.V.\n\n" + text,
    "windows": lambda text: text.replace("\n", "\r\n"),
    "quotes": lambda text: re.sub(r'"([^"\n]*)"', "“\\1”", text).replace("'", "’"),
    "double blanks": lambda text: re.sub(r"(?<=\.) ", "  ", text),
    "bold heading": lambda text: re.sub(r"\A\s*([A-Z][^\n.]{3,60})\n", r"# **\1**\n", text),
    "rules": lambda text: "-----\n\n" + text + "\n\n=====\n",
    "case": lambda text: text.replace("THE SOFTWARE IS PROVIDED", "The Software is provided"),
    "licence": lambda text: text.replace("License", "Licence"),
    "byte order mark": lambda text: "\ufeff" + text,
    "years": lambda text: re.sub(r"\b(?:19|20)\d\d\b(?=[^\n]*(?:Copyright|Inc))", "2026", text),
    "tabs": lambda text: text.replace("   ", "\t"),
}  # fmt: skip


def test_harmless_variations_are_still_the_license(texts):
    lost = []
    for name, expected in BASES.items():
        for kind, vary in VARIATIONS.items():
            found = identify(vary(texts[name]))
            if find(found.license.id).id != find(expected).id:
                lost.append((name, kind, found.description))
    assert len(BASES) * len(VARIATIONS) == 200
    assert len(lost) <= 4, lost


def test_each_class_of_harmless_words_says_why():
    assert len({known.name for known in HARMLESS}) == len(HARMLESS)
    assert all(known.reason.endswith(".") for known in HARMLESS)


@pytest.mark.parametrize(
    "words",
    [
        "Copyright (c) 2020-2025 Jean-Luc d'Arras, Petrel Inc. and contributors. All rights reserved.",
        "SPDX-License-Identifier: MIT",
        "MIT License",
        "Petrel-7B is released under the MIT License.",
        "The files in assets/fonts/ are third-party components under their own licenses.",
        "Third-party code under vendor/zlib/ remains under the license of its authors; see NOTICE for details.",
        "https://opensource.org/licenses/MIT",
        "Copyright 2019 The Regents of the University of Bergen, Iris K. Vega and Petrel Co. Ltd. (https://petrel.example)",
        "<program>  Copyright (C) <year>  <name of author>",
        "Copyright: 2026 Иван Петров",
    ],
)
def test_words_that_change_nothing(words):
    assert is_harmless(words, ["MIT"])


@pytest.mark.parametrize(
    "words",
    [
        "Copyright (c) 2025 Petrel. Classroom use only.",
        "Copyright (c) 2025 Petrel, strictly internal",
        "SPDX-License-Identifier: CC-BY-NC-4.0",
        "Petrel Research License",
        "Petrel-7B is released under the MIT License for schools.",
        "The files in weights/ are under their own licenses.",
        "All files in this repository keep the licenses of others.",
        "The files in assets/ may not be used by banks.",
        "The files in release/ are third-party components under their own licenses.",
        "Copyright 2024 Petrel. Banks Keep Out",
        "Copyright 2024 Petrel - Pupils Alone",
        "Copyright 2024 Petrel, For Pupils",
        "Copyright 2024 Petrel (Pupils Alone)",
        "Copyright 2024 Petrel Harbour Pupils Of Bergen Alone Forever",
        "Copyright 2024 Petrel: Pupils Alone",
        "Copyright 2024 Petrel Pup\u200bils",
        "Copyright 2024 P\u0435trel",  # a Cyrillic letter
        "Copyright 2024 Petrel Только Школы",
        "Released under the MIT License (NC)",
        "Petrel-7B is released under the MIT License PUPILS ALONE",
        "For the weights see the model license agreement.",
    ],
)
def test_words_that_may_change_something(words):
    assert not is_harmless(words, ["MIT"])


def test_what_stands_beside_a_license_is_quoted(texts):
    found = identify(texts["mit"] + "\n\nHospitals with over eighty beds owe the authors a yearly fee.\n")
    assert found.nearest == "MIT"
    assert "11 words beyond MIT: “Hospitals with over eighty beds" in found.description
    cut = identify(texts["apache-2.0"].replace("royalty-free, irrevocable", "irrevocable"))
    assert not cut.license.open
    assert "Apache-2.0" in cut.description


def test_hidden_words_are_read(texts):
    references = "".join(f"&#{ord(letter)};" for letter in "Classroom use only.")
    for hidden in (
        "<!-- pupils alone -->",
        "<pupils alone>",
        '<b title="pupils alone">x</b>',
        "[^1]: pupils",
        references,
    ):
        assert not identify(texts["mit"] + hidden).license.open, hidden
