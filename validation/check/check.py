"""Checks that a model does what CoGEX trains: write a program, call it, emulate it to a dict.

There are the two modes of arXiv 2405.16337. As *reasoner* the model writes program, call and
output; as *emulator* it gets the row's own program, and writes call and output. Each mode has its
measures, a search for mode collapse, and verified emulation: a complete program may be run, and the
model's output is compared with what the program returns. Nothing is run without consent.
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from prompt_strategies.layout import render_emulator_prompt, render_prompt, split_code
from tools.errors import UserError
from tools.files import (
    refuse_unwritable,
    sha256,
    shown_if_not_written,
    write_json,
    write_jsonl,
)
from tools.generate import NOTHING, Generation, generate
from tools.models import (
    load_base,
    load_model,
    load_recipe_tokenizer,
    load_trained,
    quantization,
)
from tools.prepared_rows import declared_strategy, read_prepared_rows
from tools.recipe import Recipe
from tools.results import CheckFile
from tools.run_folder import checkpoint_folders
from tools.sandbox import CONSENT, unavailable
from tools.training.run_record import changed_data, told
from validation.check.collapse import COLLAPSE, find_loop, measure_collapse
from validation.check.emulation import STATUSES, Emulation, summarize, verify_emulation
from validation.check.measures import EMULATOR_MEASURES, MEASURES, THRESHOLDS, Judged, family, judge
from validation.selection.checkpoints import model_hashes
from validation.verdict import VerdictRow, as_result, print_verdicts

LABELS = {"reasoner": MEASURES, "emulator": EMULATOR_MEASURES}
EMULATION = {
    "keys": "keys emulated as they truly come out",
    "faithful": "programs emulated faithfully in every key",
    "answers": "answers emulated faithfully",
}
Mode = Literal["both", "reasoner"]


def check(
    recipe: Recipe,
    *,
    model_name: str = "best",
    mode: Mode = "both",
    limit: int | None = None,
    min_answer: float | None = None,
    min_family: float | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    allow_code_execution: bool = False,
) -> dict[str, Any]:
    """Generate on the recipe's validation rows and judge every generation.

    `model_name` is `best`, `base` (no adapter) or `checkpoint-N`; mode `reasoner` leaves the
    emulator out and takes half the time. Writes into the run folder `check.json`,
    `generations.jsonl` and `generations-emulator.jsonl` (`check-NAME.json` and so on for others
    than best), and returns the first's content; its `passed` says whether every threshold was
    met. Raises UserError if the rows are not CoGEX rows, or there is no such model.
    """
    _check_possible(recipe, allow_code_execution)
    rows = read_prepared_rows(Path(recipe.validation["path"]))[:limit]
    given: dict[str, list[str | None]] = {"reasoner": [None] * len(rows)}
    if mode == "both":
        given["emulator"] = [_program(recipe, row) for row in rows]
    model, tokenizer = load_named(recipe, model_name)
    hashes = {} if model_name == "base" else model_hashes(recipe.output_dir / model_name)
    suffix = "" if model_name == "best" else f"-{model_name}"
    thresholds = THRESHOLDS | ({} if min_answer is None else {"answer_exact": min_answer})
    refuse_unwritable(recipe.output_dir)
    sections, records = {}, {}
    for name, programs in given.items():
        prompts = list(map(_prompt, rows, programs))
        length = recipe.sequence_len
        generations = generate(
            model, tokenizer, prompts, max_length=length, temperature=temperature, seed=seed
        )
        judged = list(map(judge, rows, generations, programs))
        emulations = verify_emulation(
            [item.completion for item in judged], allow_code_execution=allow_code_execution
        )
        part = "" if name == "reasoner" else f"-{name}"
        records[f"generations{suffix}{part}.jsonl"] = list(map(_record, judged, emulations))
        sections[name] = {
            **_shares(judged, LABELS[name], thresholds, min_family),
            "collapse": _collapse(prompts, generations),
            "emulation": summarize(emulations),
        }
    result = {
        "recipe": str(recipe.path),
        "model": model_name,
        "model_sha256": hashes,
        "data_changed": told(changed_data(recipe)),
        "validation_sha256": sha256(Path(recipe.validation["path"])),
        **sections["reasoner"],
        "emulator": sections.get("emulator"),
        **as_result([row for name in sections for row in verdicts(name, sections[name])]),
    }
    CheckFile.model_validate(result)  # what its readers need is there
    with shown_if_not_written(result):
        for name, lines in records.items():
            write_jsonl(recipe.output_dir / name, lines)
        if "emulator" not in sections:  # an earlier check's
            (recipe.output_dir / f"generations{suffix}-emulator.jsonl").unlink(missing_ok=True)
        write_json(recipe.output_dir / f"check{suffix}.json", result)
    return result


def _check_possible(recipe: Recipe, allow_code_execution: bool) -> None:
    """Refuse at once what would otherwise be refused after an hour of generation."""
    if not judges(recipe):
        raise UserError(
            f"{recipe.path}: check judges CoGEX programs, and its validation rows are "
            f"`type: {recipe.validation.get('type')}`; name a recipe whose strategy has "
            "`task: program`, as prompt_strategies.cogex"
        )
    if allow_code_execution and (reason := unavailable()):
        raise UserError(
            f"{CONSENT}: nothing can be run here: {reason}; without the option all else is checked"
        )


def judges(recipe: Recipe) -> bool:
    """Whether a recipe's validation rows are programs, which check can judge."""
    strategy = declared_strategy(recipe, recipe.validation)
    return strategy is not None and strategy.task == "program"


def load_named(recipe: Recipe, model_name: str) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a recipe's `best`, `base` or `checkpoint-N`."""
    if model_name == "best":
        return load_trained(recipe.path)
    tokenizer = load_recipe_tokenizer(recipe)
    if model_name == "base":
        return load_base(recipe.base_model, quantization(recipe)), tokenizer
    folder = recipe.output_dir / model_name
    if folder not in checkpoint_folders(recipe.output_dir).values():
        raise UserError(f"{folder}: there is no such checkpoint; name best, base or checkpoint-N")
    return load_model(folder, recipe), tokenizer


def _program(recipe: Recipe, row: dict[str, str]) -> str:
    try:
        return split_code(row["code"])[0]
    except ValueError as error:
        raise UserError(
            f"{recipe.validation['path']}, row {row['id']}: {error}; run `cogex prepare` again"
        ) from None


def _prompt(row: dict[str, str], given: str | None) -> str:
    if given is None:
        return render_prompt(row["instruction"], row["input"])
    return render_emulator_prompt(row["instruction"], row["input"], given)


def _shares(
    judged: list[Judged],
    labels: dict[str, str],
    thresholds: dict[str, float],
    min_family: float | None,
) -> dict[str, Any]:
    """Count for each measure of `labels` the rows in which it holds, and answers by family."""
    totals = Counter(family(item.row) for item in judged)
    right = Counter(family(item.row) for item in judged if item.holds["answer_exact"])
    counts = {name: sum(item.holds[name] for item in judged) for name in labels}
    return {
        "rows": len(judged),
        "prompts_too_long": sum(item.generation == NOTHING for item in judged),
        "measures": {
            name: _share(count, len(judged), thresholds.get(name)) for name, count in counts.items()
        },
        "answer_exact_by_family": {
            name: _share(right[name], totals[name], min_family)
            for name in sorted(filter(None, totals))
            if None not in totals
        },
    }


def _share(count: int, rows: int, threshold: float | None) -> dict[str, Any]:
    return {
        "count": count,
        "rows": rows,
        "threshold": threshold,
        # compared as count >= threshold * rows, so that 98% of 50 is 49
        "passed": threshold is None or count >= threshold * rows - 1e-9,
    }


def _collapse(prompts: list[str], generations: list[Generation]) -> dict[str, Any]:
    """Look at what was generated; a prompt too long is a failure of another kind."""
    kept = [pair for pair in zip(prompts, generations, strict=True) if pair[1] != NOTHING]
    return measure_collapse([prompt for prompt, _ in kept], [item for _, item in kept])


def verdicts(mode: str, section: dict[str, Any]) -> list[VerdictRow]:
    """Judge the figures of one mode; a figure without a threshold is a note."""
    named = [
        *((LABELS[mode][key], item) for key, item in section["measures"].items()),
        *((f"answer, {key}", item) for key, item in section["answer_exact_by_family"].items()),
        *((COLLAPSE[key], item) for key, item in section["collapse"].items()),
    ]
    return [_verdict(mode, name, item) for name, item in named]


def _verdict(mode: str, name: str, item: dict[str, Any]) -> VerdictRow:
    sign, threshold = ("≤", item["at_most"]) if "at_most" in item else ("≥", item["threshold"])
    found = _of(item["count"], item["rows"])
    if threshold is None:
        return VerdictRow(name, found, "note", section=mode)
    expected = f"{sign} {threshold:.0%}"
    if item["passed"]:
        return VerdictRow(name, found, expected=expected, section=mode)
    todo = "read what it wrote: generations*.jsonl in the run folder, or the report"
    return VerdictRow(name, found, "fail", todo, expected=expected, section=mode)


def _record(item: Judged, emulation: Emulation) -> dict[str, Any]:
    return {
        "id": item.row["id"],
        "instruction": item.row["instruction"],
        "input": item.row["input"],
        "generated": item.generation.text,
        "tokens": item.generation.tokens,
        "reference": f"{item.row['code']}\n### Output\n{item.row['output']}",
        "holds": item.holds,
        "loop": find_loop(item.generation.text),
        "emulation": asdict(emulation),
    }


def print_check(result: dict[str, Any], console: Console) -> None:
    """Show the verdicts on both modes, and for each the verified emulation."""
    console.print(f"{result['model']} on {result['rows']} held-out rows:", markup=False)
    print_verdicts(result["verdicts"], console)
    for sentence in result["data_changed"]:
        console.print(sentence, markup=False, soft_wrap=True)
    for name, section in (("reasoner", result), ("emulator", result["emulator"])):
        if section and (count := section["prompts_too_long"]):
            console.print(
                f"{count} prompts fill the recipe's `sequence_len` and count as failures in every "
                f"measure of the {name}."
            )
        if section:
            _print_emulation(name, section["emulation"], console)


def _of(count: int, total: int) -> str:
    return f"{count}/{total} ({count / total:.1%})" if total else "0/0"


def _print_emulation(mode: str, emulation: dict[str, Any], console: Console) -> None:
    """Show what became of the programs, and how many outputs are what they return."""
    programs, statuses = emulation["programs"], emulation["statuses"]
    if not emulation["complete"]:
        found = ", ".join(f"{count} {STATUSES[name]}" for name, count in statuses.items())
        console.print(
            f"Verified emulation, {mode}: 0 of {programs} programs complete: nothing to verify "
            f"({found})",
            soft_wrap=True,
        )
        return
    table = Table(f"verified emulation, {mode}", "count")
    for status, count in statuses.items():
        table.add_row(f"programs that {STATUSES[status]}", _of(count, programs))
    table.add_section()
    for key, label in EMULATION.items():
        if emulation[key]["of"]:
            table.add_row(label, _of(emulation[key]["count"], emulation[key]["of"]))
    console.print(table)
    if waiting := statuses.get("complete"):
        console.print(f"To run the {waiting} complete programs in a sandbox: {CONSENT}")
