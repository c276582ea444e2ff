"""`openmodels openness`: how open a model is, with evidence."""

from collections.abc import Callable, Sequence

import click

from openmodels.cli import output
from openmodels.errors import InvalidRequest
from openmodels.openness.api import OpennessComparison, compare_openness, openness as judge
from openmodels.openness.criteria import criterion_names, find_criterion
from openmodels.openness.findings import Verdict
from openmodels.openness.profiles import DEFAULT, PROFILES
from openmodels.openness.report import Report

UNMET = 6  # the exit code when a demand of `--fail-under` is not shown to be met

_RANK = {Verdict.CLOSED: 0, Verdict.UNKNOWN: 0, Verdict.PARTIAL: 1, Verdict.OPEN: 2}


@click.command()
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option(
    "--profile",
    "-p",
    default=DEFAULT,
    show_default=True,
    help=f"The definition to judge by: {', '.join(PROFILES)}; the version may be left out.",
)
@click.option("--evidence", type=click.Path(file_okay=False), help="Judge saved evidence, without network.")
@click.option("--from-bom", type=click.Path(dir_okay=False), help="Judge what a CycloneDX or SPDX 3 file states.")
@click.option("--save", type=click.Path(file_okay=False), help="Keep the evidence in this folder; continue from it.")
@click.option("--fast", is_flag=True, help="Look only at license and gating.")
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown with links.")
@click.option("--bom", "form", flag_value="bom", help="Print a CycloneDX 1.6 bill of materials.")
@click.option("--badge", "form", flag_value="badge", help="Print a badge as SVG.")
@click.option(
    "--fail-under",
    multiple=True,
    metavar="DEMAND",
    help="Exit with code 6 unless met: 'all' (every demand of the profile), CRITERION (must be open) or "
    "CRITERION=partial. May be repeated.",
)
@output.json_option
@click.pass_context
def openness(
    ctx: click.Context,
    *,
    models: tuple[str, ...],
    profile: str,
    evidence: str | None,
    from_bom: str | None,
    save: str | None,
    fast: bool,
    form: str | None,
    fail_under: tuple[str, ...],
) -> None:
    """Judge how open models are: data, weights, code, records, terms.

    \b
    openmodels openness allenai/OLMo-7B
    openmodels openness mistralai/Mistral-7B-v0.1 --fail-under license --fail-under weights
    openmodels openness --from-bom model.cdx.json --profile mof-1.0
    """
    demands = [_demand(text) for text in fail_under]
    if form == "bom" and len(models) > 1:
        raise InvalidRequest("A bill of materials is for one model.")
    if from_bom:
        comparison = _judge_bom(models, from_bom, profile=profile, evidence=evidence, save=save)
    elif not models:
        raise click.UsageError("Missing argument 'MODEL...'.")
    else:
        progress = _show_progress if len(models) > 1 else None
        comparison = compare_openness(
            models, profile=profile, evidence=evidence, deep=not fast, save=save, progress=progress
        )
    if len(models) == 1 and comparison.failures:
        raise next(iter(comparison.failures.values()))
    for name, error in comparison.failures.items():
        output.note(f"error: {name}: {error.cause}", fg="red")
    for step in dict.fromkeys(filter(None, map(output.next_step, comparison.failures.values()))):
        output.note(f"hint: {step}")
    if output.wants_json():
        rows = [report.to_dict() for report in comparison]
        output.write_json(rows[0] if len(rows) == 1 else rows)
    else:
        output.write(_written(comparison, form))
        if form is None and len(comparison) > 1:
            output.write("\n")
            grades = [(report.id, report.grade, report.assessment.tally) for report in comparison]
            output.write_table(("model", "grade", comparison.reports[0].profile), grades, folded=(1, 2))
    unmet = [f"{report.id}: {text}" for report in comparison for text, met in demands if not met(report)]
    for text in unmet:
        output.note(f"not met: {text}", fg="red")
    ctx.exit(UNMET if unmet or (demands and comparison.failures) else 1 if comparison.failures else 0)


def _judge_bom(
    models: Sequence[str], bom: str, *, profile: str, evidence: str | None, save: str | None
) -> OpennessComparison:
    if len(models) > 1:
        raise InvalidRequest("Of a bill of materials one model is judged at a time.")
    report = judge(models[0] if models else None, bom=bom, profile=profile, evidence=evidence)
    if save:
        report.save(save)
    return OpennessComparison((report,), {})


def _show_progress(done: int, total: int) -> None:
    if total < 20 or done % 10 == 0 or done == total:
        output.note(f"{done} of {total} models judged", dim=True)


def _written(comparison: OpennessComparison, form: str | None) -> str:
    reports = comparison.reports
    match form:
        case "bom":
            return output.dump_json(reports[0].to_bom(), indent=2) + "\n"
        case "badge":
            return "".join(f"{report.badge()}\n" for report in reports)
        case "markdown":
            table = [comparison.to_markdown()] if len(reports) > 1 else []
            return "\n\n".join([*table, *(report.to_markdown() for report in reports)]) + "\n"
    return "\n\n".join(report.to_text(output.terminal_columns()) for report in reports) + "\n"


def _demand(text: str) -> tuple[str, Callable[[Report], bool]]:
    """Return a demand and its check, or raise InvalidRequest."""
    if text == "all":
        return text, lambda report: report.passed is True
    name, _, least = text.partition("=")
    try:
        criterion, verdict = find_criterion(name.replace("-", "_")), Verdict(least or "open")
    except (InvalidRequest, ValueError) as error:
        raise InvalidRequest(
            f"The demand {text!r} is not understood.",
            next_step=f"Write 'all' or one of: {', '.join(criterion_names())}, optionally with '=partial'.",
        ) from error
    return text, lambda report: _RANK[report[criterion].verdict] >= max(1, _RANK[verdict])
