"""Checks what a model writes on held-out rows, by the measures of what its recipe trains.

A recipe's strategy says what that is: a program, a plan, a plain answer or code. For programs there
are the two modes of arXiv 2405.16337. As *reasoner* the model writes program, call and output; as
*emulator* it gets the row's own program, and writes call and output. Each mode has its measures, a
search for mode collapse, and verified emulation: a complete program may be run, and the model's
output is compared with what the program returns. Nothing is run without consent.

The references go through the same measures, as if a perfect model had written them, and each
threshold is a share of what they reach. So a perfect model passes, whatever the data.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from prompt_strategies.base import CompletionStrategy, Rendered
from prompt_strategies.layout import render_emulator_prompt, split_code
from prompt_strategies.tokenise import after_prompt, decode, encode_prompts
from tools.backend import NOTHING, Generation, Server
from tools.errors import UserError
from tools.files import (
    refuse_unwritable,
    sha256,
    shown_if_not_written,
    write_json,
    write_jsonl,
)
from tools.generate import open_writer, read_generation
from tools.intervals import wilson
from tools.models import (
    load_base,
    load_model,
    load_recipe_tokenizer,
    load_trained,
    quantization,
    writing_dtype,
)
from tools.prepared_rows import declared_strategy, encode_pairs, load_strategy, read_prepared_rows
from tools.programs import leaves_of
from tools.python_text import parse
from tools.recipe import Recipe
from tools.results import CheckFile
from tools.run_folder import checkpoint_folders
from tools.sandbox import CONSENT, unavailable
from tools.search.leaves import by_leaves
from tools.training.run_record import changed_data, told
from validation.check.collapse import COLLAPSE, find_loop, measure_collapse
from validation.check.emulation import STATUSES, summarize, verify_emulation
from validation.check.measures import THRESHOLDS, Judged, family, judge_as, labels
from validation.selection.checkpoints import model_hashes
from validation.verdict import VerdictRow, as_result, print_verdicts

EMULATION = {
    "keys": "keys emulated as they truly come out",
    "faithful": "programs emulated faithfully in every key",
    "answers": "answers emulated faithfully",
}
Mode = Literal["both", "reasoner"]
Strategy = type[CompletionStrategy]
MAX_NEW_TOKENS = 512


@dataclass(frozen=True)
class _Asked:
    """A row as one mode asks for it; `ids` are those of the whole row, as trained."""

    row: dict[str, str]
    text: Rendered
    given: str | None  # the emulator's program
    ids: list[int]


@dataclass(frozen=True)
class _Model:
    """What writes: a loaded model or a served one; `hashes` are those of a trained one's files."""

    name: str
    tokenizer: Any
    write: Callable[..., list[Generation]]  # as tools.generate.generate, from the prompts on
    hashes: dict[str, str]


@dataclass(frozen=True)
class _Extent:
    """How much of a recipe's check is asked for."""

    model: str
    rows: int
    of: int
    reasoner_alone: bool
    temperature: float
    seed: int
    max_new_tokens: int
    data: Path | None
    shots: int

    def _differences(self) -> dict[str, str]:
        """In what it is not the whole check of a model: words by the part of a file's name."""
        found = {}
        if self.data:
            found[self.data.stem] = f"rows of {self.data}"
        if self.shots:
            found[f"{self.shots}-shots"] = f"{self.shots} training rows before each prompt"
        if self.rows < self.of:
            found[f"{self.rows}-rows"] = f"{self.rows:,} of {self.of:,} rows"
        if self.reasoner_alone:
            found["reasoner"] = "reasoner alone"
        if self.temperature:
            drawn = f"temperature-{self.temperature:g}-seed-{self.seed}"
            found[drawn] = f"temperature {self.temperature:g}, seed {self.seed}"
        if self.max_new_tokens != MAX_NEW_TOKENS:
            most = f"{self.max_new_tokens} new tokens at most"
            found[f"{self.max_new_tokens}-tokens"] = most
        return found

    @property
    def partial(self) -> str:
        """What it leaves out or does otherwise, in words; empty for a whole check."""
        found = self._differences()
        every = {} if self.rows < self.of or not found else {"": f"all {self.of:,} rows"}
        return ", ".join((every | found).values())

    @property
    def suffix(self) -> str:
        """What sets the names of its files apart; empty for the whole check of best."""
        model = [] if self.model == "best" else [self.model]
        return "".join(f"-{part}" for part in (*model, *self._differences()))


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
    max_new_tokens: int = MAX_NEW_TOKENS,
    data: Path | None = None,
    shots: int = 0,
    allow_code_execution: bool = False,
    server: Server | None = None,
) -> dict[str, Any]:
    """Generate on the recipe's validation rows, or on those of `data`; judge every generation.

    `model_name` is `best`, `base` (no adapter) or `checkpoint-N`; mode `reasoner` leaves the
    emulator out and takes half the time. `shots` training rows stand before each prompt, the same
    for all, drawn with the seed. With a `server` its model writes in place of the named one.
    Writes into the run folder, once all is measured, `check.json`, `generations.jsonl` and for
    programs `generations-emulator.jsonl`, and returns the first's content; its `passed` says
    whether every threshold was met. A check of another model than best, or of a part, has names of
    its own, as `check-24-rows-reasoner.json`. Raises UserError if the rows cannot be judged, if
    none could be right with so few tokens, or if there is no such model.
    """
    strategy = _strategy(recipe, allow_code_execution)
    path = data or Path(recipe.validation["path"])
    every = read_prepared_rows(path, strategy.columns)
    rows = every[:limit]
    programs: dict[str, list[str] | list[None]] = {"reasoner": [None] * len(rows)}
    if strategy.task == "program" and mode == "both":
        programs["emulator"] = [_program(path, row) for row in rows]
    alone = strategy.task == "program" and mode == "reasoner"
    model = _open(recipe, model_name, server)
    extent = _Extent(
        model.name, len(rows), len(every), alone, temperature, seed, max_new_tokens, data, shots
    )
    pairs = encode_pairs(load_strategy(recipe, recipe.validation, model.tokenizer), rows, path)
    ids = [row_ids.tolist() for row_ids, _ in pairs]
    least = THRESHOLDS | ({} if min_answer is None else {"answer_exact": min_answer})
    refuse_unwritable(recipe.output_dir)
    examples = _examples(recipe, strategy, shots, seed)
    sections, records = {}, {}
    for name, given in programs.items():
        asked = list(map(_ask, [strategy] * len(rows), rows, given, ids))
        references = _references(model.tokenizer, asked, recipe.sequence_len, max_new_tokens)
        _refuse_too_few_tokens(path, references, max_new_tokens)
        prompts = [examples + item.text.prompt for item in asked]
        made = _answer(model, prompts, examples, asked[0], recipe.sequence_len, extent)
        judged, perfect = _judge(strategy, asked, made), _judge(strategy, asked, references)
        records[name] = [_record(strategy, *item) for item in zip(asked, judged, strict=True)]
        sections[name] = {
            **_shares(judged, perfect, labels(strategy.task, name), least, min_family),
            "collapse": _collapse(prompts, made, references),
            "emulation": _emulation(judged, records[name], allow_code_execution)
            if strategy.task == "program"
            else None,
        }
    found = [row for name, part in sections.items() for row in verdicts(strategy.task, name, part)]
    result = {
        "recipe": str(recipe.path),
        "model": model.name,
        "task": strategy.task,
        "partial": extent.partial,
        "model_sha256": model.hashes,
        "data_changed": told(changed_data(recipe)),
        "validation_sha256": sha256(path),
        **sections["reasoner"],
        "emulator": sections.get("emulator"),
        **as_result(found),
    }
    CheckFile.model_validate(result)  # what its readers need is there
    with shown_if_not_written(result):
        for name, lines in records.items():
            part = "" if name == "reasoner" else f"-{name}"
            write_jsonl(recipe.output_dir / f"generations{extent.suffix}{part}.jsonl", lines)
        write_json(recipe.output_dir / f"check{extent.suffix}.json", result)
    return result


def _open(recipe: Recipe, model_name: str, server: Server | None) -> _Model:
    """Load the named model, or connect to the server in its place."""
    if server:
        served = server.open(recipe.path)
        return _Model(served.name, served.tokenizer, served.write, {})
    _, tokenizer, write = open_writer(partial(load_named, recipe, model_name))
    hashes = {} if model_name == "base" else model_hashes(recipe.output_dir / model_name)
    return _Model(model_name, tokenizer, write, hashes)


def _strategy(recipe: Recipe, allow_code_execution: bool) -> Strategy:
    """Refuse at once what would otherwise be refused after an hour of generation."""
    strategy = declared_strategy(recipe, recipe.validation)
    if strategy is None or not labels(getattr(strategy, "task", "")):
        raise UserError(
            f"{recipe.path}: check knows no right answer to validation rows of "
            f"`type: {recipe.validation.get('type')}`; `cogex select` measures their perplexity, "
            "and `cogex codebench` tests the code that a model writes"
        )
    if allow_code_execution and strategy.task == "program" and (reason := unavailable()):
        raise UserError(
            f"{CONSENT}: nothing can be run here: {reason}; without the option all else is checked"
        )
    return strategy


def judges(recipe: Recipe) -> bool:
    """Whether a recipe's validation rows have a task, so that check can judge them."""
    strategy = declared_strategy(recipe, recipe.validation)
    return bool(labels(getattr(strategy, "task", "")))


def load_named(recipe: Recipe, model_name: str) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a recipe's `best`, `base` or `checkpoint-N`."""
    if model_name == "best":
        return load_trained(recipe.path)
    tokenizer = load_recipe_tokenizer(recipe)
    if model_name == "base":
        base = load_base(recipe.base_model, quantization(recipe), writing_dtype(recipe))
        return base, tokenizer
    folder = recipe.output_dir / model_name
    if folder not in checkpoint_folders(recipe.output_dir).values():
        raise UserError(f"{folder}: there is no such checkpoint; name best, base or checkpoint-N")
    return load_model(folder, recipe), tokenizer


def _program(path: Path, row: dict[str, str]) -> str:
    try:
        return split_code(row["code"])[0]
    except ValueError as error:
        raise UserError(f"{path}, row {row['id']}: {error}; run `cogex prepare` again") from None


def _ask(strategy: Strategy, row: dict[str, str], given: str | None, ids: list[int]) -> _Asked:
    text = strategy.render(row)
    if given is not None:
        prompt = render_emulator_prompt(row["instruction"], row["input"], given)
        text = Rendered(prompt, text.completion, text.output_start)
    return _Asked(row, text, given, ids)


def _examples(recipe: Recipe, strategy: Strategy, shots: int, seed: int) -> str:
    """Return training rows to stand before a prompt, each with a blank line below it."""
    if not shots:
        return ""
    rows = read_prepared_rows(Path(recipe.training["path"]), strategy.columns)
    texts = map(strategy.render, random.Random(seed).sample(rows, min(shots, len(rows))))
    return "".join(f"{text.prompt}{text.completion}\n\n" for text in texts)


def _answer(
    model: _Model,
    prompts: list[str],
    examples: str,
    first: _Asked,
    sequence_len: int,
    extent: _Extent,
) -> list[Generation]:
    """Let the model go on with the prompts; examples before them make room for themselves."""
    room = sum(map(len, encode_prompts(model.tokenizer, [examples]))) if examples else 0
    made = model.write(
        prompts,
        max_length=room + sequence_len,
        temperature=extent.temperature,
        seed=extent.seed,
        max_new_tokens=extent.max_new_tokens,
    )
    return [_before_another(item, first.text.prompt) for item in made] if examples else made


def _before_another(made: Generation, prompt: str) -> Generation:
    """Cut a generation where the model goes on with an example of its own."""
    kept, stop, _ = made.text.partition("\n" + prompt.split("\n")[0] + "\n")
    return replace(made, text=kept.rstrip(), ended=True) if stop else made


def _references(
    tokenizer: Any, asked: Sequence[_Asked], max_length: int, max_new_tokens: int
) -> list[Generation]:
    """Return what a perfect model writes: the rest of each row, as far as it may go."""
    made = []
    prompts = encode_prompts(tokenizer, [item.text.prompt for item in asked])
    for item, prompt in zip(asked, prompts, strict=True):
        if len(prompt) >= max_length:
            made.append(NOTHING)
            continue
        end = min(max_length, len(prompt) + max_new_tokens)
        generation = read_generation(tokenizer, prompt, item.ids[len(prompt) : end])
        seen = decode(tokenizer, prompt)
        text = after_prompt(item.text.prompt, seen, generation.text)
        made.append(replace(generation, text=text))
    return made


def _refuse_too_few_tokens(
    path: Path, references: Sequence[Generation], max_new_tokens: int
) -> None:
    """Refuse a check in which not even a perfect model could come to an end."""
    begun = [item for item in references if item != NOTHING]
    if begun and not any(item.ended for item in begun):
        raise UserError(
            f"{path}: no row's own completion ends within {max_new_tokens} new tokens, so that "
            "nothing could be right; allow more with --max-new-tokens"
        )


def _judge(strategy: Strategy, asked: Sequence[_Asked], made: Sequence[Generation]) -> list[Judged]:
    return [
        judge_as(strategy.task, item.row, item.text, generation, item.given)
        for item, generation in zip(asked, made, strict=True)
    ]


def _emulation(
    judged: Sequence[Judged], records: Sequence[dict[str, Any]], allow_code_execution: bool
) -> dict[str, Any]:
    """Verify what was emulated; note it in each record, and return it in sum."""
    found = verify_emulation(
        [item.completion for item in judged], allow_code_execution=allow_code_execution
    )
    for record, emulation in zip(records, found, strict=True):
        record["emulation"] = asdict(emulation)
    return summarize(found)


def _shares(
    judged: list[Judged],
    perfect: list[Judged],
    names: dict[str, str],
    thresholds: dict[str, float],
    min_family: float | None,
) -> dict[str, Any]:
    """Count for each measure of `names` the rows in which it holds, and answers by family."""
    families: dict[str | None, list[int]] = {}
    for number, item in enumerate(judged):
        families.setdefault(family(item.row), []).append(number)

    def share(name: str, threshold: float | None, numbers: Sequence[int]) -> dict[str, Any]:
        held, of_references = (
            [several[number].holds[name] for number in numbers] for several in (judged, perfect)
        )
        return _share(held, of_references, threshold)

    return {
        "rows": len(judged),
        "prompts_too_long": sum(item.generation == NOTHING for item in judged),
        "measures": {name: share(name, thresholds.get(name), range(len(judged))) for name in names},
        "answer_exact_by_family": {
            name: share("answer_exact", min_family, families[name])
            for name in sorted(filter(None, families))
            if None not in families
        },
        **({"leaves": _by_leaves(judged)} if "keys_agree" in names else {}),
    }


def _by_leaves(judged: Sequence[Judged]) -> dict[str, Any]:
    """Count right answers by the undefined functions of their programs."""
    return by_leaves(
        [
            (leaves_of(item.completion.program), int(item.holds["answer_exact"] is True), 1)
            for item in judged
            if parse(item.completion.program).body
        ]
    )


def _share(
    held: Sequence[bool | None], references: Sequence[bool | None], threshold: float | None
) -> dict[str, Any]:
    """Count where a measure holds, and hold that to a share of what the references reach."""
    count, rows = held.count(True), len(held) - held.count(None)
    best, of = references.count(True), len(references) - references.count(None)
    # compared as count / rows >= threshold * best / of, so that 98% of 50 is 49
    reached = rows > 0 and count * of >= threshold * best * rows - 1e-9 * of if threshold else True
    return {
        "count": count,
        "rows": rows,
        "interval": list(wilson(count, rows)) if rows else None,
        "not_judged": held.count(None),
        "references": {"count": best, "rows": of},
        "threshold": threshold,
        "passed": reached or not of,
    }


def _collapse(
    prompts: list[str], generations: list[Generation], references: list[Generation]
) -> dict[str, Any]:
    """Look at what was generated; a prompt too long is a failure of another kind."""
    kept = [index for index, item in enumerate(generations) if item != NOTHING]
    return measure_collapse(
        [prompts[index] for index in kept],
        [generations[index] for index in kept],
        [references[index] for index in kept],
    )


def verdicts(task: str, mode: str, section: dict[str, Any]) -> list[VerdictRow]:
    """Judge the figures of one mode; a figure without a threshold is a note."""
    names = labels(task, mode)
    named = [
        *((names[key], item) for key, item in section["measures"].items()),
        *((f"answer, {key}", item) for key, item in section["answer_exact_by_family"].items()),
        *((COLLAPSE[key], item) for key, item in section["collapse"].items()),
    ]
    return [_verdict(mode if task == "program" else "", name, item) for name, item in named]


def _verdict(mode: str, name: str, item: dict[str, Any]) -> VerdictRow:
    found = _of(item["count"], item["rows"])
    if item.get("not_judged"):
        found += f", {item['not_judged']} not judged"
    least, most, best = item.get("threshold"), item.get("at_most"), item["references"]
    reached = f"{best['count'] / best['rows']:.1%}" if best["rows"] else "not judged"
    if least is None and most is None:
        return VerdictRow(name, found, "note", expected=f"references {reached}", section=mode)
    if most is not None:
        more = (
            f" more than the references' {reached}" if best["count"] else f", references {reached}"
        )
        expected = f"≤ {most:.0%}{more}"
    elif best["count"] < best["rows"]:
        expected = f"≥ {least:.0%} of the references' {reached}"
    else:
        expected = f"≥ {least:.0%}, references {reached}"
    if item["passed"]:
        return VerdictRow(name, found, expected=expected, section=mode)
    todo = "read what it wrote: generations*.jsonl in the run folder, or the report"
    return VerdictRow(name, found, "fail", todo, expected=expected, section=mode)


def _record(strategy: Strategy, asked: _Asked, judged: Judged) -> dict[str, Any]:
    unanswered = getattr(judged.generation, "reason", "")  # why a server gave no text
    return {
        **{key: asked.row[key] for key in ("id", *strategy.given)},
        **({"no_text": unanswered} if unanswered else {}),
        "generated": judged.generation.text,
        "tokens": judged.generation.tokens,
        "reference": asked.text.completion,
        "holds": judged.holds,
        "loop": find_loop(judged.generation.text),
    }


def print_check(result: dict[str, Any], console: Console) -> None:
    """Show the verdicts on each mode, and the verified emulation of programs."""
    console.print(f"{result['model']} on {result['rows']} held-out rows:", markup=False)
    if result["partial"]:
        console.print(f"A partial check: {result['partial']}. The report shows it as that.")
    print_verdicts(result["verdicts"], console)
    for sentence in result["data_changed"]:
        console.print(sentence, markup=False, soft_wrap=True)
    for name, section in (("reasoner", result), ("emulator", result["emulator"])):
        if section and (count := section["prompts_too_long"]):
            console.print(
                f"{count} prompts{' of the emulator' if name == 'emulator' else ''} fill the "
                "recipe's `sequence_len` and count as failures in every measure."
            )
        if section and section["emulation"]:
            _print_emulation(name, section["emulation"], console)
        if section and (numbers := section.get("leaves", {}).get("by_number")):
            found = "; ".join(
                f"{number}: {_of(item['right'], item['rows'])}" for number, item in numbers.items()
            )
            console.print(f"Right answers by undefined functions, {name}: {found}", soft_wrap=True)


def _of(count: int, total: int) -> str:
    """Return a share and its 95% interval (Wilson) in words."""
    if not total:
        return "0/0"
    low, high = wilson(count, total)
    return f"{count}/{total} ({count / total:.1%}; {100 * low:.0f} to {100 * high:.0f})"


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
