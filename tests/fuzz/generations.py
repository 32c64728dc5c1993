"""What a model might write through the whole of `cogex check`, no model but this file."""

import ast
import dis
import json
import random
import re
import types
import warnings
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from prompt_strategies.layout import render_completion, split_code
from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate, rewrite
from tools.generate import Generation
from tools.models import load_tokenizer
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe
from tools.sandbox import Outcome
from tools.tiny.corpus import write_cogex_rows
from validation.check import check as module
from validation.check.check import check, print_check
from validation.check.emulation import BUILTINS, STATUSES, verify_emulation
from validation.check.measures import MEASURES, judge

ROOT = Path(__file__).parents[2]
ROWS_AT_ONCE = 50
COMPLETE = {
    "id": "total-1",
    "instruction": "Add the numbers.",
    "input": "1, 2, 3",
    "code": """def total(numbers):
    # Step 1: Add them
    summed = sum(numbers)
    kinds = {number: number > 1 for number in numbers}
    return {'summed': summed, 'kinds': kinds, 'answer': {summed, str(summed), len(numbers)}}

>>> total([1, 2, 3])""",
    "output": "{'summed': 6, 'kinds': {1: False, 2: True, 3: True}, 'answer': {1, 6, '6'}}",
}


def fuzz_generations(rng: random.Random, count: int, findings: Findings) -> None:
    """A measure holds only where a second reading of the text agrees; nothing else is counted."""
    recipe = _recipe()
    rows = read_prepared_rows(Path(recipe.validation["path"]))
    whole = [render_completion(row["code"], row["output"]) for row in rows]
    for _ in range(0, count, ROWS_AT_ONCE):
        picked = [rng.choice([COMPLETE, *rng.choices(rows, k=4)]) for _ in range(ROWS_AT_ONCE)]
        made = [_generation(rng, row, whole) for row in picked]
        for row, generation in zip(picked, made, strict=True):
            program = rng.choice([None, split_code(row["code"])[0]])
            if rng.random() < 0.1:
                row = row | {"output": _spoilt_dict(rng, row["output"])}
            with findings.attempt("generation", (row["output"], generation, program)):
                _look_at(rng, row, generation, program)
        with findings.attempt("check", made, ROWS_AT_ONCE):
            _look_at_check(recipe, rng, rows, made)


def _recipe() -> Recipe:
    """The published sample, rows of the tiny corpus and the complete program, for validation."""
    folder = Path("generations")
    prepare_cogex(ROOT / "data/sample/data.json", folder / "sample", val_size=2)
    write_cogex_rows(folder / "data.json", 48, 42)
    prepare_cogex(folder / "data.json", folder / "tiny", val_size=12)
    parts = [(folder / name / "train.jsonl").read_text() for name in ("sample", "tiny")]
    (folder / "val.jsonl").write_text("".join(parts) + json.dumps(COMPLETE) + "\n")
    entry = {"path": str(folder / "val.jsonl"), "type": "prompt_strategies.cogex"}
    values = {
        "base_model": "models/tiny-base",
        "sequence_len": 512,
        "test_datasets": [entry],
        "output_dir": str(folder / "run"),
    }
    return Recipe(folder / "recipe.yml", values)


def _generation(rng: random.Random, row: dict[str, str], whole: list[str]) -> Generation:
    """The row's own completion: its dict spoilt, or any part of it."""
    if rng.random() < 0.4:
        text = render_completion(row["code"], _spoilt_dict(rng, row["output"]))
    else:
        text = rewrite(rng, render_completion(row["code"], row["output"]), whole)
    text = text.encode("utf-8", "ignore").decode()  # a tokenizer writes no lone surrogate
    return Generation(text, len(text) // 3, rng.random() < 0.9)


def _spoilt_dict(rng: random.Random, text: str) -> str:
    act = rng.random()
    if act < 0.4:  # another type of an equal value, or of the same digits
        words = re.split(r"\b(\d+|True|False)\b", text)
        at = rng.randrange(len(words))
        words[at] = rng.choice(
            {"1": ["True", "1.0", "'1'"], "True": ["1"], "False": ["0"]}.get(
                words[at],
                [f"{words[at]}.0", f"'{words[at]}'"] if words[at].isdigit() else [words[at]],
            )
        )
        return "".join(words)
    value = _quietly(ast.literal_eval, text)
    shown = _quietly(repr, mutate(rng, [value]))  # an integer may have too many digits for repr
    return shown[1:-1] if shown and act < 0.8 else rewrite(rng, text, [text])


# ------------------------------------------------------------------------------ one generation


def _look_at(
    rng: random.Random, row: dict[str, str], generation: Generation, given: str | None
) -> None:
    judged = judge(row, generation, given)
    written, holds = judged.completion, judged.holds
    assert holds.keys() == MEASURES.keys() and all(type(held) is bool for held in holds.values())
    tree = _quietly(ast.parse, written.program)
    assert holds["program_parses"] == bool(tree and tree.body)
    output, reference = (
        _quietly(ast.literal_eval, text) for text in (written.output, row["output"])
    )
    right = (
        isinstance(output, dict)
        and isinstance(reference, dict)
        and "answer" in output
        and _plain(output["answer"]) == _plain(reference.get("answer"))
    )
    assert holds["answer_exact"] == right
    [found] = verify_emulation([written], allow_code_execution=False)
    assert found.status in ("unreadable", "not_allowed", "undefined", "complete")
    if found.status == "complete":
        _look_at_complete(rng, written.program, written.call.removeprefix(">>> "), written)


def _look_at_complete(rng: random.Random, program: str, call: str, written: Any) -> None:
    """It may be run: no undefined leaf, and what a hostile run reports is compared."""
    code = _quietly(lambda text: compile(text, "", "exec"), f"{program}\n{call}")
    assert code is None or _loaded(code) <= _stored(code) | BUILTINS
    text = _spoilt_dict(
        rng, written.output if rng.random() < 0.5 else "{'answer': [1, {'a': 2.5}]}"
    )
    report = rng.choice([{"type": "dict", "text": text}, {"error": "NameError"}, {"text": text}])
    stdout = json.dumps(report if rng.random() < 0.5 else mutate(rng, report))
    stdout = rng.choice([stdout, stdout, rewrite(rng, stdout, [stdout])])
    outcome = Outcome(stdout, "", 0, rng.random() < 0.1, rng.random() < 0.1, 0.1)
    with patch("validation.check.emulation.run_programs", return_value=[outcome]):
        [found] = verify_emulation([written], allow_code_execution=True)
    assert found.status in STATUSES and found.status != "complete"
    assert not found.faithful or not (found.differing or found.missing or found.extra)
    json.dumps(vars(found), ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    """A literal as nested tuples with its types, in one order: equal only where all is equal."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, sorted((repr(_plain(key)), repr(_plain(value[key]))) for key in value)
    if isinstance(value, set):
        return kind, sorted(repr(_plain(item)) for item in value)
    if isinstance(value, list | tuple):
        return kind, [_plain(item) for item in value]
    if isinstance(value, int):
        return kind, hex(value)
    return kind, repr(value + 0) if isinstance(value, float | complex) else repr(value)


def _quietly(read: Any, text: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _blocks(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _blocks(constant)


def _loaded(code: types.CodeType) -> set[str]:
    """The global names that the bytecode reads; a class reads what it has stored itself."""
    names = set()
    for block in _blocks(code):
        own = {item.argval for item in dis.get_instructions(block) if item.opname == "STORE_NAME"}
        for item in dis.get_instructions(block):
            if item.opname == "LOAD_GLOBAL" or (
                item.opname == "LOAD_NAME" and item.argval not in own
            ):
                names.add(item.argval)
    return names


def _stored(code: types.CodeType) -> set[str]:
    """The global names that the bytecode stores."""
    names = {"__name__", "__module__", "__qualname__", "__annotations__"}
    for block in _blocks(code):
        kinds = {"STORE_GLOBAL", *(["STORE_NAME"] if block is code else [])}
        names |= {item.argval for item in dis.get_instructions(block) if item.opname in kinds}
    return names


# ------------------------------------------------------------------------------ all together


def _look_at_check(
    recipe: Recipe, rng: random.Random, rows: list[dict[str, str]], made: list[Generation]
) -> None:
    """The figures of check.json are those of its rows, and the file can be shown."""
    limit = rng.randrange(1, len(rows) + 1)
    tokenizer = load_tokenizer(recipe.base_model)
    with (
        patch.object(module, "load_named", return_value=(None, tokenizer)),
        patch.object(
            module, "generate", lambda _, __, prompts, **___: rng.choices(made, k=len(prompts))
        ),
    ):
        result = check(recipe, model_name="base", limit=limit)
    print_check(result, Console(file=StringIO()))
    for part, name in ((result, ""), (result["emulator"], "-emulator")):
        written = (recipe.output_dir / f"generations-base{name}.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in written.splitlines()]
        assert part["rows"] == len(lines) == limit
        for measure, item in part["measures"].items():
            assert item["count"] == sum(line["holds"][measure] for line in lines) <= limit
        assert all(item["count"] <= item["rows"] <= limit for item in part["collapse"].values())
        assert sum(part["emulation"]["statuses"].values()) == part["emulation"]["programs"] == limit
        assert part["emulation"]["run"] == 0
        families = part["answer_exact_by_family"].values()
        assert all(item["count"] <= item["rows"] for item in families)
