"""A paper counts by its title, its authors or the card's own words; a card by what is written in it."""

import pytest
from huggingface_hub import ModelCard, ModelCardData
from made_up import context, page, repository

from openmodels.hub.card import parse_outline
from openmodels.openness.findings import Verdict

OPEN, PARTIAL, CLOSED, UNKNOWN = Verdict
PAPER = "https://arxiv.org/abs/2203.01234"
GLOW = "acme/Glow-7B"


def judge(criterion, card, *others, name=GLOW, **fields):
    model = page(name, readme=parse_outline(card), tags=[], cardData=fields.pop("front", {}), **fields)
    return context(model, *others).finding(criterion)


class TestPapers:
    @pytest.mark.parametrize(
        "card",
        [
            f"# Glow\n## Model Sources\n- **Paper:** [Link]({PAPER})",
            f"# Glow\n📄 [Technical report]({PAPER}) | [Code](https://github.com/acme/glow)",
            f"# Glow\nFor details read our [paper]({PAPER}).",
            f"# Glow\n## Training\nAs our [preprint]({PAPER}) tells, it was trained on text.",
            f"# Glow\n[Glow: light from text]({PAPER})",
            f"# Glow\nSee [Acme's language models (paper)]({PAPER}).",
            f"# Glow\nPaper: {PAPER}",
            "# G\n```bibtex\n@article{g,\n  title={{Glow}: Light from Text},\n  eprint={2203.01234}\n}\n```",
            f"# G\n```\n@misc{{g,\n  title = {{Light}},\n  author = {{Acme Team}},\n  url = {{{PAPER}}}\n}}\n```",
        ],
    )
    def test_its_own(self, card):
        assert judge("technical_report", card).verdict is OPEN

    @pytest.mark.parametrize(
        "card",
        [
            f"# Glow\n## Method\n[paper]({PAPER})",
            f"# Glow\n## Evaluation\nScores as in this [paper]({PAPER}).",
            f"# Glow\nIt uses grouped attention ([paper]({PAPER})).",
            f"# Glow\nTuned by rejection sampling [report]({PAPER}).",
            f"# Glow\n[Rotary embeddings (paper)]({PAPER})",
            f"# Glow\nThe adapter paper {PAPER}",
            "# Glow\n## Citation\n```bibtex\n@article{x,\n title={Rotary embeddings},\n eprint={2203.01234}\n}\n```",
        ],
    )
    def test_somebody_elses(self, card):
        assert judge("technical_report", card).verdict in (UNKNOWN, CLOSED)

    def test_the_paper_of_the_base_is_not_that_of_the_fine_tune(self):
        base = page("other/Star-7b", tags=["arxiv:2203.01234"], readme={})
        card = f"# Calf\n[Paper]({PAPER})"
        fields = {"name": "acme/Calf-7b", "front": {"base_model": "other/Star-7b"}, "createdAt": "2022-03-02"}
        assert judge("technical_report", card, base, **fields).verdict is not OPEN
        assert judge("technical_report", card, name="acme/Calf-7b").verdict is OPEN

    @pytest.mark.parametrize(
        ("tags", "created", "verdict"),
        [
            (["arxiv:2203.01234"], "2022-04-10", OPEN),
            (["arxiv:2203.01234", "arxiv:1706.03762"], "2022-04-10", OPEN),
            (["arxiv:2203.01234"], "2024-04-10", UNKNOWN),
            # A paper newer than the model is none of those it was made with.
            (["arxiv:2203.01234"], "2021-06-10", OPEN),
            (["arxiv:2203.01234", "arxiv:1706.03762"], "2021-06-10", OPEN),
            (["arxiv:2203.01234"], "2020-01-10", UNKNOWN),
            (["arxiv:2203.01234", "arxiv:2203.05678"], "2022-04-10", UNKNOWN),
            (["arxiv:2203.01234"], None, UNKNOWN),
        ],
    )
    def test_a_tag_alone_counts_where_the_paper_came_with_the_model(self, tags, created, verdict):
        model = page(tags=tags, createdAt=created, unknown=["readme"], readme={}, cardData={})
        assert context(model).finding("technical_report").verdict is verdict

    @pytest.mark.parametrize(
        ("paper", "verdict"),
        [
            ({"title": "Glow: Light from Text"}, OPEN),
            ({"title": "Light from Text", "authors": "Acme Team and Bo Li"}, OPEN),
            ({"title": "Light from Text", "authors": "Ann Ash and Bo Li", "organization": "acme"}, OPEN),
            ({"title": "Light from Text", "authors": "Ann Ash and Bo Li", "organization": "acme-fans"}, UNKNOWN),
            ({"title": "LLaMA: Open and Efficient Foundation Language Models"}, UNKNOWN),
            ({"title": "Rotary embeddings", "authors": "Wilhelmina Acme and Bo Li"}, UNKNOWN),
            ({}, UNKNOWN),
        ],
    )
    def test_the_gathered_title_and_authors_say_whose_it_is(self, paper, verdict):
        papers = {"2203.01234": paper, "2302.13971": {"title": "LLaMA: Open and Efficient Foundation Language Models"}}
        tags = ["arxiv:2203.01234", "arxiv:2302.13971"]
        one = context(page(tags=tags, papers=papers, readme={}, unknown=["readme"])).finding("technical_report")
        assert one.verdict is verdict
        if verdict is OPEN:
            assert [proof.url for proof in one.evidence] == [PAPER], "another model's paper proves nothing of this one"

    @pytest.mark.parametrize(
        ("name", "kind", "verdict"),
        [
            ("stranger/Emberlm-3-Cosyhome", "emberlm", UNKNOWN),
            ("lab/Emberlm-3-8b", "emberlm", OPEN),
            ("lab/Emberlm-3-8b", "llama", OPEN),
        ],
    )
    def test_the_paper_of_an_architecture_is_not_that_of_each_model_named_after_it(self, name, kind, verdict):
        fields = {"config": {"model_type": kind}, "papers": {"2203.01234": {"title": "The EmberLM 3 models"}}}
        model = page(name, tags=["arxiv:2203.01234"], readme={}, unknown=["readme"], **fields)
        assert context(model).finding("technical_report").verdict is verdict

    def test_the_paper_of_the_base_stays_the_bases_with_its_title(self):
        base = page("other/Calfish-7b", tags=["arxiv:2203.01234"], readme={})
        fields = {"papers": {"2203.01234": {"title": "Calf and more"}}, "cardData": {"base_model": base["id"]}}
        model = page("acme/Calf-7b", tags=["arxiv:2203.01234"], readme={}, unknown=["readme"], **fields)
        assert context(model, base).finding("technical_report").verdict is not OPEN

    def test_the_readme_of_its_own_repository_cites_it(self):
        readme = {"citations": [{"title": "Glow: Light from Text", "arxiv": "2203.01234"}]}
        model = page(tags=[])
        model["readme"] = model["readme"] | {"links": model["readme"]["links"][:1]}
        one = context(model, repositories=[repository(readme=readme)]).finding("technical_report")
        assert (one.verdict, one.evidence[0].url) == (OPEN, PAPER)

    def test_only_the_paper_that_came_with_the_model_is_the_proof(self):
        tags = ["arxiv:2302.13971", "arxiv:2402.00001"]
        one = context(page(tags=tags, createdAt="2024-02-20", readme={}, unknown=["readme"])).finding(
            "technical_report"
        )
        assert [proof.url for proof in one.evidence] == ["https://arxiv.org/abs/2402.00001"]


def template(**fields):
    return str(ModelCard.from_template(ModelCardData(license="mit"), model_id=GLOW, **fields))


class TestCards:
    def test_the_untouched_template_is_no_card(self):
        one = judge("model_card", template())
        assert (one.verdict, one.rule) == (CLOSED, "card.template")

    def test_what_its_boilerplate_says_is_no_content(self):
        outline = parse_outline(template())
        assert outline["empty_headings"] == outline["headings"]
        assert not any("Information Needed" in claim["fact"] for claim in outline["claims"])

    def test_a_template_filled_in_part_names_its_empty_sections(self):
        card = template(direct_use="Chatting in the dark.", bias_risks_limitations="It knows nothing of the day.")
        one = judge("model_card", card)
        assert one.verdict is PARTIAL
        assert "2 of 6" in one.reason
        assert "Empty sections: " in one.reason
        assert "Training Data" in one.reason
        assert "Direct Use" not in one.reason.partition("Empty sections")[2]

    def test_the_trainers_card_that_nobody_completed(self):
        sections = ("Model description", "Intended uses & limitations", "Training and evaluation data")
        card = "# glow\n" + "".join(f"## {section}\n\nMore information needed\n\n" for section in sections)
        one = judge(
            "model_card", f"{card}## Training procedure\n### Training hyperparameters\n- learning_rate: 2e-05\n"
        )
        assert one.verdict is PARTIAL
        assert all(section in one.reason for section in sections)

    @pytest.mark.parametrize(
        "filler", ["TODO", "_TBD_", "N/A", "Coming soon!", "{{ training_data }}", "[Add details]", ""]
    )
    def test_fillers_are_no_content(self, filler):
        outline = parse_outline(f"# Glow\nA model.\n## Training data\n{filler}\n## Evaluation\nIt scores 71.")
        assert outline["empty_headings"] == ["Training data"]

    def test_code_tables_and_sections_below_are_content(self):
        card = "# Glow\n## Usage\n```python\nrun()\n```\n## Results\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        card += "## Data\n### Sources\nBooks.\n"
        assert parse_outline(card)["empty_headings"] == []

    def test_a_card_that_was_read_and_has_no_headings_is_not_unknown(self):
        assert judge("model_card", "Glow is a model.").verdict is CLOSED


def test_citations_of_a_card():
    entry = '@article{g,\n  Title = "A {B} c",\n  author={X and Y},\n  journal={arXiv preprint arXiv:2203.01234}\n}\n'
    assert parse_outline(f"# G\n{entry}")["citations"] == [
        {"title": "A B c", "authors": "X and Y", "arxiv": "2203.01234"}
    ]
