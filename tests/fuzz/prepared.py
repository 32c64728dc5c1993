"""Prepared rows and their manifest through preflight's sections on data and tokens."""

import json
import random
from pathlib import Path
from typing import Any

from prompt_strategies import tokenise
from tests.fuzz.findings import Findings
from tests.fuzz.mutation import FRAGMENTS, mutate, rewrite, spoil
from tools.files import sha256
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import COGEX_FIELDS
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import write_cogex_rows
from validation.preflight.data import check_data
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens, load_recipe_tokenizer

DATA = Path("data/tiny")
NAMES = ("train.jsonl", "val.jsonl", "manifest.json")


def fuzz_prepared(rng: random.Random, count: int, findings: Findings) -> None:
    """Rows that preflight calls sound are strings, apart, and encoded without loss."""
    recipe = _recipe()
    tokenizer = load_recipe_tokenizer(recipe)
    whole = {name: (DATA / name).read_bytes() for name in NAMES}
    for _ in range(count):
        name = rng.choice([*NAMES[:2] * 3, NAMES[2]])
        data = _spoilt_manifest(rng, whole) if name == NAMES[2] else _spoilt(rng, whole[name])
        (DATA / name).write_bytes(data)
        if rng.random() < 0.8:
            _trust()
        with findings.attempt("prepared", (name, data[:2000])):
            both = tokenize(recipe, tokenizer)
            found = check_data(recipe, both) + check_tokens(recipe, tokenizer, both)
            json.dumps([vars(item) for item in found], allow_nan=False)
            if all(item.verdict != "fail" for item in found):
                _look_at(both, tokenizer)
        for other in NAMES:
            (DATA / other).write_bytes(whole[other])


def _recipe() -> Recipe:
    """The tiny recipe with 36 rows, 12 of them for validation."""
    write_cogex_rows(DATA / "data.json", 36, 42)
    prepare_cogex(DATA / "data.json", DATA, val_size=12)
    path = Path("recipes/cogex-tiny.yml")
    path.write_text(path.read_text().replace("validation_rows: 240", "validation_rows: 12"))
    return read_recipe(path)


def _spoilt(rng: random.Random, data: bytes) -> bytes:
    """One line of a file, or its bytes."""
    if rng.random() < 0.1:
        return spoil(rng, data)
    lines = data.decode().split("\n")[:-1]
    at = rng.randrange(len(lines))
    row = json.loads(lines[at])
    act = rng.random()
    if act < 0.2:
        lines[at] = json.dumps(mutate(rng, row))
    elif act < 0.3:
        lines.insert(rng.randrange(len(lines)), json.dumps(mutate(rng, row) | {"id": row["id"]}))
    elif act < 0.4:
        lines[at] = rewrite(rng, lines[at], lines)
    else:
        field = rng.choice(COGEX_FIELDS)
        lines[at] = json.dumps(row | {field: rewrite(rng, row[field], [*FRAGMENTS, "\ud800"])})
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _spoilt_manifest(rng: random.Random, whole: dict[str, bytes]) -> bytes:
    data = whole["manifest.json"]
    return (
        spoil(rng, data)
        if rng.random() < 0.2
        else json.dumps(mutate(rng, json.loads(data))).encode()
    )


def _trust() -> None:
    """Let the manifest know the files as they are, so that more than their hash is looked at."""
    path = DATA / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        manifest["sha256"] = {name: sha256(DATA / name) for name in NAMES[:2]}
        path.write_text(json.dumps(manifest))
    except (ValueError, TypeError):
        pass  # the manifest is what was spoilt


def _look_at(both: Tokenized, tokenizer: Any) -> None:
    names, tasks = [], []
    for split in (both.train, both.val):
        lines = [line for line in split.path.read_text().split("\n") if line.strip()]
        assert len(lines) == len(split.rows) == len(split.input_ids)
        rows = [json.loads(line) for line in lines]
        names += [row["id"] for row in rows]
        tasks.append({(row["instruction"], row["input"]) for row in rows})
        for row, ids, labels in zip(rows, split.input_ids, split.labels, strict=True):
            assert all(type(row[field]) is str for field in COGEX_FIELDS)
            assert tokenise.decode(tokenizer, ids.tolist()).startswith(
                f"### Instruction\n{row['instruction']}\n### Input\n{row['input']}\n### Code\n"
            )
            assert ids[-1] == labels[-1] == tokenizer.eos_token_id
            assert (ids == tokenizer.eos_token_id).sum() == 1
    assert len(set(names)) == len(names) and not tasks[0] & tasks[1]
