"""What sentences of cards say about terms: for whom, in ten languages, and what they deny."""

import pytest

from openmodels.licenses import LicenseClass, Restriction
from openmodels.licenses.phrases import find_restrictions, unread_language
from openmodels.licenses.statements import Part, find_open_license, read_statements


def heard(sentence):
    return {part.value for statement in read_statements(sentence) for part in statement.parts}


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("These weights are distributed under CC BY-NC-SA 4.0.", {"weights"}),
        ("Both the checkpoints and the scripts are for non-commercial research only.", {"weights", "code"}),
        ("The corpus we trained the model on may be used for academic purposes only.", {"data"}),
        ("Scripts are MIT, but the parameters may not be used commercially.", {"weights"}),
        ("The annotations are CC-BY-NC-4.0, while the model is released under Apache-2.0.", {"data"}),
        ("The network was adapted from a public checkpoint and is for educational use only.", {"weights"}),
        ("Commercial use of the weights needs our written consent.", {"weights"}),
        ("Firms with more than 200 employees must buy a license.", {"weights"}),
        (
            "Please register at petrel.example before you use the model in a product; registration is required.",
            {"weights"},
        ),
        ("The model must not be used by companies that compete with Petrel.", {"weights"}),
        ("You may not use this model or its outputs to train other AI systems.", {"weights"}),
        ("Use for military purposes is prohibited by the license.", {"weights"}),
        ("The model is governed by the Petrel Model License.", {"weights"}),
        ("Model License: CC-BY-NC-ND-4.0", {"weights"}),
        ("Data license: CC BY-NC 4.0", {"data"}),
        ("模型权重仅限科研用途，商用请联系我们取得授权。", {"weights"}),
        ("Pre-trained on court rulings (CC0, CC BY-ND 4.0).", {"data"}),
        ("该数据集禁止商业使用。", {"data"}),
        ("本モデルは非商用の研究目的に限り利用できます。", {"weights"}),
        ("モデルの利用には事前の許可が必要です。", {"weights"}),
        ("본 모델은 비상업적 용도로만 사용할 수 있습니다.", {"weights"}),
        ("Das Modell darf ausschließlich zu Forschungszwecken genutzt werden.", {"weights"}),
        ("Eine kommerzielle Nutzung der Gewichte ist nicht gestattet.", {"weights"}),
        ("Les poids sont réservés à la recherche académique.", {"weights"}),
        ("Toute utilisation commerciale du modèle est interdite.", {"weights"}),
        ("El modelo es únicamente para fines académicos.", {"weights"}),
        ("Los datos no pueden usarse con fines comerciales.", {"data"}),
        ("O modelo destina-se apenas a fins de pesquisa.", {"weights"}),
        ("I pesi sono esclusivamente per uso di ricerca.", {"weights"}),
        ("Modellen er bare til bruk i forskning.", {"weights"}),
        ("Kommersiell bruk av modellen er ikke tillatt.", {"weights"}),
    ],
)
def test_restrictions_and_their_subject(sentence, parts):
    assert heard(sentence) == parts


@pytest.mark.parametrize(
    "sentence",
    [
        "Unlike the Gemma Terms of Use, our license has no use policy.",
        "The model is under MIT rather than the Llama 3.1 Community License.",
        "Earlier checkpoints were under CC-BY-NC-4.0.",
        "It builds on Petrel-1B, which is licensed under CC BY-NC 4.0.",
        "The weights may be used for research as well as commercial purposes.",
        "Commercial and non-commercial use is welcome.",
        "Use is not limited to research only.",
        "No registration is required to use the model.",
        "It was pre-trained only on scientific articles.",
        "The model should not be used to spread rumours.",
        "The test set is used to measure accuracy.",
        "The code is licensed under the Apache License, Version 2.0.",
        "The model is licensed under the BSD 3-Clause License.",
        "Any unlawful use is prohibited.",
        "该模型可用于学术研究和商业用途。",
        "Das Modell ist nicht nur für die Forschung gedacht.",
    ],
)
def test_what_restricts_nothing(sentence):
    assert not heard(sentence)


def test_the_terms_of_a_name():
    (statement,) = read_statements("The checkpoint is released under CC BY-NC-SA 3.0.")
    assert statement.license.spdx == "CC-BY-NC-SA-3.0"
    assert statement.parts == {Part.WEIGHTS}
    (statement,) = read_statements(
        "The weights follow the Petrel Harbour License; they are under the Petrel Harbour License."
    )
    assert statement.license.kind is LicenseClass.UNKNOWN


def test_kinds_of_restrictions():
    assert Restriction.COMPANY_SIZE in find_restrictions("Unternehmen mit über 30 Mitarbeitern")
    assert Restriction.COMPETITORS in find_restrictions("Les concurrents sont exclus.")
    assert Restriction.OUTPUT_USE in find_restrictions("Non è consentito addestrare altri modelli.")
    assert Restriction.REGISTRATION in find_restrictions("使用前请先注册。")
    assert not find_restrictions("The weather in Bergen is mild.")


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("Модель распространяется под некоммерческой лицензией.", "Cyrillic"),
        ("Het model valt onder een licentie voor onderzoek.", "Dutch"),
        ("Model jest objęty licencją akademicką.", "Polish"),
        ("Mô hình chỉ dùng cho mục đích phi thương mại.", "Vietnamese"),
        ("Bu model ticari olmayan kullanım içindir.", "Turkish"),
        ("هذا النموذج متاح بموجب ترخيص بحثي", "Arabic"),
    ],
)
def test_languages_that_are_not_read_are_named(sentence, language):
    assert language in unread_language(sentence)


def test_a_license_that_a_sentence_names_for_the_weights():
    assert find_open_license("The model is released under the MIT license.").spdx == "MIT"
    assert find_open_license("Weights: Apache 2.0 license").spdx == "Apache-2.0"
    assert find_open_license("The code is under MIT.") is None
    assert find_open_license("Formerly under the MIT license.") is None
