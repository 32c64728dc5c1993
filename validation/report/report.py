"""`cogex report`: a run on one page that loads nothing, pictures first.

Everything on it is read from the run folder and the recipe, so that the same run gives the same
page. A sentence names what was not measured, with the command that measures it. The page shows text
of rows and models, and executes none of it: see `_shown`.
"""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prompt_strategies.base import CompletionStrategy
from prompt_strategies.tokenise import IGNORE_INDEX
from tools.errors import UserError
from tools.files import sha256, whole_file
from tools.models import load_recipe_tokenizer
from tools.prepared_rows import declared_strategy, encode_entry, load_strategy
from tools.recipe import Recipe
from tools.results import GeneratedRow, Sample
from tools.search.shown import label
from validation.check.check import EMULATION, judges
from validation.check.collapse import COLLAPSE
from validation.check.emulation import STATUSES
from validation.check.measures import labels
from validation.curves.curves import judge
from validation.curves.expected_run import ExpectedRun, expected_run
from validation.inspect_rows import TEMPLATES, printable
from validation.report import pictures
from validation.report.facts import RunFacts, read_facts, stale
from validation.report.model_card import write_card
from validation.report.search_pictures import of_search

EXAMPLES = 5  # generations that are shown with a right answer, and as many with a wrong one
PACKAGES = ("torch", "axolotl", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes",
            "datasets", "tokenizers", "safetensors")  # fmt: skip
PAPER_BASES = (
    "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-13b-hf",
    "codellama/CodeLlama-7b-hf", "codellama/CodeLlama-13b-hf",
)  # fmt: skip
# arXiv 2405.16337, section 3.1; docs/fidelity.md gives the reasons for all the rest
PAPER = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "num_epochs": 5,
    "learning_rate": 3e-4,
    "examples_per_step": 32,
    "validation_rows": 2000,
}
NOT_STATED = ("lora_alpha", "optimizer", "lr_scheduler", "warmup_ratio", "weight_decay",
              "max_grad_norm", "sequence_len")  # fmt: skip


def report(recipe: Recipe, out: Path | None = None) -> Path:
    """Write the report of a recipe's run, and the model card where there is a `best/`.

    The page goes to `out`, else to `report.html` in the run folder; its path is returned. Raises
    UserError if there is no run folder, or if a file in it is not what its command wrote.
    """
    facts = read_facts(recipe)
    path = out or recipe.output_dir / "report.html"
    page = _environment().get_template("report.html.j2").render(_context(facts))
    with whole_file(path) as file:
        file.write(page)
    if facts.best is not None:
        write_card(facts)
    return path


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Show as escapes what a page would execute or hide; Jinja then escapes HTML."""
    return printable(value) if type(value) is str else value


def _context(facts: RunFacts) -> dict[str, Any]:
    recipe = facts.recipe
    expected = expected_run(recipe)
    lengths, no_lengths = _lengths(recipe)
    return {
        "facts": facts,
        "expected": expected,
        "stale": list(stale(facts)),
        "pictures": _pictures(facts, expected, lengths),
        "no_lengths": no_lengths,
        "verdicts": judge(facts.state, expected) if facts.state else [],
        "compared": compare_with_paper(facts, expected),
        "checkable": judges(recipe),
        "programs": getattr(declared_strategy(recipe, recipe.validation), "task", "") == "program",
        "examples": _examples(facts),
        "samples": _samples(facts),
        "rate": _rate(facts, expected),
        "label_of_test": label,
        "search_pictures": {
            item.task.name: of_search(item, facts.sweeps.get(item.task.name))
            for item in facts.searches
        },
        "hashes": _hashes(facts),
        "versions": _versions(),
        "labels": labels(facts.check.task) if facts.check else {},
        "families": {name: name for name in facts.check.answer_exact_by_family}
        if facts.check
        else {},
        "collapse": COLLAPSE,
        "emulation": EMULATION,
        "statuses": STATUSES,
    }


def _pictures(
    facts: RunFacts, expected: ExpectedRun, lengths: pictures.Lengths | None
) -> list[pictures.Picture]:
    drawn = []
    if facts.state:
        drawn = [
            pictures.losses(facts.state, facts.chosen.step if facts.chosen else None),
            pictures.learning_rate(facts.state, expected),
            pictures.gradient_norm(facts.state, expected),
        ]
    return [*drawn, pictures.histogram(lengths)] if lengths else drawn


def _lengths(recipe: Recipe) -> tuple[pictures.Lengths | None, str]:
    """Count the tokens of the training rows, or say why they cannot be counted here."""
    tokens, trained = [], 0
    try:
        for ids, labels in encode_entry(recipe, recipe.training, load_recipe_tokenizer(recipe)):
            tokens.append(len(ids))
            trained += int((labels[1:] != IGNORE_INDEX).sum())
    except UserError as error:
        return None, str(error)
    return pictures.Lengths(np.array(tokens), trained, recipe.sequence_len), ""


def compare_with_paper(
    facts: RunFacts, expected: ExpectedRun
) -> list[tuple[str, str, str, bool | None]]:
    """Return (what, the paper's value, the run's, whether they are the same) for each value.

    The last is None for what the paper leaves open. Validation rows are those that were scored;
    before scoring, those that the recipe asks for.
    """
    selection, base = facts.selection, facts.recipe.base_model
    values = facts.recipe.values | {
        "learning_rate": expected.peak,
        "examples_per_step": expected.examples,
        "validation_rows": selection.validation.rows if selection else facts.recipe.validation_rows,
    }
    lowest, best, same = "the lowest validation perplexity", "not chosen yet", None
    if selection:
        same = selection.criterion == "perplexity"
        best = lowest if same else "the lowest loss that the trainer logged"
    return [
        ("base_model", "Llama-2 or Code Llama, 7B or 13B", base, base in PAPER_BASES),
        *(
            (key, _text(paper), _text(values.get(key)), values.get(key) == paper)
            for key, paper in PAPER.items()
        ),
        ("the best checkpoint has", lowest, best, same),
        *((key, "not stated", _text(values.get(key)), None) for key in NOT_STATED),
    ]


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case list():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case int():
            return f"{value:,}"
    return str(value)


def _samples(facts: RunFacts) -> dict[str, list[Sample]]:
    """What the model wrote for each row, from checkpoint to checkpoint."""
    rows: dict[str, list[Sample]] = {}
    for sample in facts.samples:
        rows.setdefault(sample.id, []).append(sample)
    return rows


def _examples(facts: RunFacts) -> list[dict[str, Any]]:
    """Generations with a right answer and with a wrong one, each evenly spaced over the file."""
    rows = facts.generations
    shown = []
    for wanted in (True, False):
        places = [place for place, row in enumerate(rows) if _right(row) == wanted]
        few = min(EXAMPLES, len(places))
        shown += [places[i * len(places) // few] for i in range(few)]
    rows = [rows[place] for place in sorted(shown)]
    if not rows:
        return []
    strategy = load_strategy(facts.recipe, facts.recipe.training, None)
    names = labels(strategy.task)
    return [_example(row, strategy, names) for row in rows]


def _example(
    row: GeneratedRow, strategy: CompletionStrategy, names: dict[str, str]
) -> dict[str, Any]:
    """Each part as the model wrote it and in the reference; `trained`: it carries loss."""
    written, reference = strategy.parse(row.generated), strategy.parse(row.reference)
    asked = dict.fromkeys(strategy.columns, "") | (row.model_extra or {})
    return {
        "id": row.id,
        "prompt": strategy.render(asked).prompt,
        "prompt_trained": strategy.train_on == "full",
        "parts": [
            {
                "name": name,
                "written": text,
                "reference": reference[name],
                "trained": name in ("output", "answer") or strategy.train_on != "output",
            }
            for name, text in written.items()
        ],
        "right": _right(row),
        "missing": [names.get(name, name) for name, holds in row.holds.items() if holds is False],
    }


def _right(row: GeneratedRow) -> bool:
    return bool(row.holds.get("answer_exact"))


def _rate(facts: RunFacts, expected: ExpectedRun) -> str:
    """Say how fast the last launch trained, where the trainer logged its end."""
    if not (facts.state and facts.state.seconds and facts.launches):
        return ""
    seconds = facts.state.seconds
    steps = facts.state.global_step - facts.launches[-1].step
    rate = steps * expected.examples / seconds
    return (
        f"The last launch trained {steps:,} steps of {expected.examples} examples in "
        f"{seconds:,.0f} seconds, evaluations and checkpoints included: "
        f"{rate:.3g} examples a second."
    )


def _hashes(facts: RunFacts) -> list[tuple[str, str]]:
    """What a run of the same kind needs: (name, SHA-256 or revision) of each file."""
    recipe = facts.recipe
    files = [recipe.path, Path(recipe.training["path"]), Path(recipe.validation["path"])]
    found = [
        (str(path), facts.changed.get(str(path)) or sha256(path))
        for path in files
        if path.is_file() or str(path) in facts.changed
    ]
    if facts.manifest and (source := facts.manifest.source):
        found.append((f"{source.path}, {source.rows:,} rows, the rows' source", source.sha256))
    if facts.best:
        folder = facts.best.folder
        found += [(str(folder / name), value) for name, value in facts.best.sha256.items()]
    if commit := _commit(recipe.path):
        found.append(("the checkout, as this page was written", commit))
    return found


def _commit(path: Path) -> str | None:
    """The git commit of the checkout that holds a file; None where there is none."""
    command = ["git", "-C", str(path.resolve().parent), "describe", "--always", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*", "--dirty= with local changes"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _versions() -> list[tuple[str, str]]:
    """The packages that are installed where the page is written."""
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, "not installed"))
    return found
