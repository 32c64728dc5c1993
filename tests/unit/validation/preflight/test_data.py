"""Data files as `cogex prepare` wrote them are accepted, and each planted fault is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl
from tools.models import load_recipe_tokenizer
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import PreparedRows, read_prepared_rows
from tools.recipe import Recipe
from validation.preflight.data import check_data
from validation.preflight.prepared_cache import cache_folders
from validation.preflight.tokenized import Tokenized, TokenizedRows, tokenize
from validation.verdict import VerdictRow

ROOT = Path(__file__).parents[4]
VALIDATION_ROWS = 8


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 88 hand-written rows, 8 of them for validation."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare_cogex(ROOT / "data" / "sample" / "data.json", folder, val_size=VALIDATION_ROWS)
    return folder


@pytest.fixture
def recipe(prepared: Path, tmp_path: Path) -> Recipe:
    """A recipe of the embedded base on a copy of the prepared rows."""
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    common = {"ds_type": "json", "type": "prompt_strategies.cogex"}
    values = {
        "base_model": str(ROOT / "models" / "tiny-base"),
        "datasets": [{"path": str(folder / "train.jsonl"), **common}],
        "test_datasets": [{"path": str(folder / "val.jsonl"), "split": "train", **common}],
        "dataset_prepared_path": str(folder / "prepared"),
        "dataset_num_proc": 1,
        "sequence_len": 2048,
        "validation_rows": VALIDATION_ROWS,
        "micro_batch_size": 4,
        "num_epochs": 1,
        "learning_rate": 1e-3,
        "seed": 42,
        "output_dir": str(tmp_path / "run"),
    }
    return Recipe(tmp_path / "recipe.yml", values)


def encode(recipe: Recipe) -> Tokenized:
    """Encode the rows into lists, in which a test can spoil one."""
    both = tokenize(recipe, load_recipe_tokenizer(recipe))
    train, val = (
        replace(split, input_ids=list(split.input_ids), labels=list(split.labels))
        for split in (both.train, both.val)
    )
    return Tokenized(train, val)


def check(recipe: Recipe) -> list[VerdictRow]:
    return check_data(recipe, encode(recipe))


def find(verdicts: list[VerdictRow], check: str) -> VerdictRow:
    [row] = [row for row in verdicts if row.name.startswith(check)]
    return row


Rows = list[dict[str, str]]


def rewrite(path: str, change: Callable[[Rows], Rows]) -> None:
    """Change the rows of a file, and let the manifest follow, so that only the rows are wrong."""
    file = Path(path)
    write_jsonl(file, change([json.loads(line) for line in file.read_text().splitlines()]))
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest["sha256"][file.name] = sha256(file)
    write_json(file.parent / "manifest.json", manifest)


def set_manifest(recipe: Recipe, **values: Any) -> None:
    path = Path(recipe.training["path"]).parent / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_prepared_rows_are_accepted(recipe: Recipe) -> None:
    """Without a tokenizer, what needs none is checked; manifests of the first release say less."""
    verdicts = check(recipe)
    assert [row.verdict for row in verdicts] == ["ok"] * len(verdicts)
    assert find(verdicts, "validation rows").found == "8, as the recipe says"
    assert find(verdicts, "row ids").found == "88, each once"
    path = Path(recipe.training["path"]).parent / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("format", None)
    path.write_text(json.dumps(manifest))
    without = check_data(recipe, None)
    assert {row.verdict for row in without} == {"ok"}
    assert find(without, "row ids").found == "88, each once"
    assert not [row for row in without if "tokens" in row.name]


def repeat_an_id(recipe: Recipe) -> None:
    rewrite(recipe.validation["path"], lambda rows: [*rows[:-1], rows[-1] | {"id": rows[0]["id"]}])


@pytest.mark.parametrize(
    ("plant", "verdict", "found"),
    [
        (lambda recipe: set_manifest(recipe, format="alpaca"), "fail",
         "made as alpaca, layout version 1; needed is cogex"),
        (lambda recipe: (Path(recipe.training["path"]).parent / "manifest.json").unlink(), "fail",
         "no manifest.json beside it"),
        (lambda recipe: recipe.training.update(type="completion"), "note", "not made by"),
        (repeat_an_id, "fail", "1 more than once: "),
        (lambda recipe: recipe.values.pop("validation_rows"), "note", "is not set"),
    ],
)  # fmt: skip
def test_planted_fault_is_named(
    recipe: Recipe, plant: Callable[[Recipe], object], verdict: str, found: str
) -> None:
    """More of them stand in test_faults.py."""
    plant(recipe)
    rows = [row for row in check_data(recipe, None) if found in row.found]
    assert rows and {row.verdict for row in rows} == {verdict}


@pytest.mark.parametrize(
    ("first", "later", "found"),
    [
        ("2024-01-02", "2024-01-03", "not text alone: input is timestamp[s]"),
        ("a", "2024-01-02", "is '2024-01-02 00:00:00', and in the file '2024-01-02'"),
        ("2024-01-02", "a", "cannot be read: ArrowInvalid: Failed to parse string: 'a'"),
    ],
)
def test_dates_that_the_engine_takes_for_times_are_named(
    recipe: Recipe, first: str, later: str, found: str
) -> None:
    """Rows as the first release wrote them. The engine reads, and guesses, 10 MB at a time."""

    def dates(rows: Rows) -> Rows:
        long = [row | {"input": first, "code": "x" * 1_100_000} for row in rows[:10]]
        return long + [row | {"input": later} for row in rows[10:]]

    rewrite(recipe.training["path"], dates)
    row = find(check_data(recipe, None), f"as the engine reads {recipe.training['path']}")
    assert row.verdict == "fail" and found in row.found
    assert row.todo == "run `cogex prepare cogex` again"


def test_validation_that_whole_tasks_limit_is_a_note(recipe: Recipe) -> None:
    recipe.values["validation_rows"] = 9
    assert "--val-size 9" in find(check_data(recipe, None), "validation rows").todo
    set_manifest(recipe, val_size=9)
    row = find(check_data(recipe, None), "validation rows")
    assert row.verdict == "note" and "whole tasks" in row.found


def test_manifest_that_is_none_is_named(recipe: Recipe) -> None:
    path = Path(recipe.training["path"]).parent / "manifest.json"
    path.write_text('{"sha256": 3}')
    with pytest.raises(UserError, match=r"manifest.json: sha256: .*run `cogex prepare` again"):
        check_data(recipe, None)


def test_lengths_are_the_percentiles_of_the_rows(recipe: Recipe) -> None:
    tokenized = encode(recipe)
    lengths = sorted(len(ids) for ids in tokenized.train.input_ids)
    figures = find(
        check_data(recipe, tokenized), "tokens a row, " + recipe.training["path"]
    ).figures
    assert len(lengths) == 80
    assert figures["p50"] == lengths[39] and figures["p90"] == lengths[71]  # 40th and 72nd of 80
    assert figures["p99"] == figures["longest"] == lengths[79]
    assert figures["tokens"] == sum(lengths)


def with_lengths(recipe: Recipe, lengths: list[int]) -> Tokenized:
    """Rows of made lengths whose only trained token is the last; validation stays as it is."""
    tokenized = encode(recipe)
    ids = [np.full(length, 5, np.int32) for length in lengths]
    labels = [np.append(np.full(length - 1, -100, np.int32), np.int32(5)) for length in lengths]
    rows = [
        {"id": f"row-{index}", "instruction": f"{index}", "input": "", "code": "", "output": ""}
        for index in range(len(lengths))
    ]
    strategy = tokenized.train.strategy
    return Tokenized(TokenizedRows(Path("train.jsonl"), strategy, rows, ids, labels), tokenized.val)


@pytest.mark.parametrize(("over", "verdict"), [(0, "ok"), (2, "note"), (3, "fail")])
def test_rows_over_sequence_len_fail_above_one_percent(
    recipe: Recipe, over: int, verdict: str
) -> None:
    tokenized = with_lengths(recipe, [2048] * (200 - over) + [2049] * over)
    row = find(check_data(recipe, tokenized), "over 2,048 tokens, train")
    assert row.verdict == verdict
    assert row.figures["rows"] == over


def test_the_first_ten_rows_over_sequence_len_are_named(recipe: Recipe) -> None:
    verdicts = check_data(recipe, with_lengths(recipe, [2048, *[3000] * 12]))
    row = find(verdicts, "over 2,048 tokens, train")
    assert row.figures["ids"] == [f"row-{index}" for index in range(1, 11)]
    assert "12 of 13 rows (92.31%), and Axolotl drops them: row-1, " in row.found
    assert row.found.endswith("row-10, …")


def test_fully_masked_rows_are_counted(recipe: Recipe) -> None:
    verdicts = check_data(recipe, with_lengths(recipe, [2048, 2049, 2049]))
    row = find(verdicts, "fully masked, train")
    assert row.verdict == "note" and row.found.startswith("2 rows within 2,048 tokens")


# ---------------------------------------------------------------- the cache that Axolotl keeps


@pytest.fixture
def preprocess(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], None]:
    """Let the engine itself encode and keep the rows, as `axolotl preprocess` does."""
    from axolotl.cli.config import gpu_capabilities
    from axolotl.common.datasets import load_datasets
    from axolotl.utils.config import normalize_config, validate_config
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset

    save = Dataset.save_to_disk  # its worker process, which is left out, takes seconds to start
    monkeypatch.setattr(Dataset, "save_to_disk", lambda self, path, **_: save(self, path))
    monkeypatch.setenv("AXOLOTL_IS_PREPROCESS", "1")  # so that it does not count steps as well

    def run(recipe: Recipe) -> None:
        here, torch_version = gpu_capabilities()
        values = DictDefault(recipe.values)
        cfg = validate_config(values, capabilities=here, env_capabilities=torch_version)
        normalize_config(cfg)
        load_datasets(cfg=cfg)

    return run


def caches(recipe: Recipe) -> set[Path]:
    prepared = Path(recipe.values["dataset_prepared_path"])
    return {folder for folder in prepared.iterdir() if folder.is_dir()}


@pytest.mark.parametrize(
    "keys",
    [
        {"sequence_len": 700, "special_tokens": {"pad_token": "<pad>"}, "group_by_length": True},
        {"sample_packing": True, "train_on_inputs": True, "attn_implementation": "sdpa"},
    ],
    ids=["rows dropped", "packed"],
)
def test_the_cache_is_named_and_filled_as_the_engine_does_it(
    recipe: Recipe, preprocess: Callable[[Recipe], None], keys: dict[str, Any]
) -> None:
    recipe.values.update(keys)
    preprocess(recipe)
    assert set(cache_folders(recipe)) == caches(recipe)
    tokenized = encode(recipe)
    values = [row.found for row in check(recipe) if row.name.startswith("cache")]
    kept = [int((split.lengths <= recipe.sequence_len).sum()) for split in vars(tokenized).values()]
    assert values == [f"{rows} rows, the same as encoded now" for rows in kept]
    assert (sum(kept) < 88) == (recipe.sequence_len == 700)


def keep(recipe: Recipe) -> Path:
    """Put the training rows, as they are encoded now, where the engine would look for them."""
    from datasets import Dataset

    folder, train = cache_folders(recipe)[0], encode(recipe).train
    rows = Dataset.from_dict({"input_ids": train.input_ids, "labels": train.labels})
    rows.shuffle(seed=1).save_to_disk(folder)
    return folder


def test_stale_cache_is_refused_with_the_folder_to_delete(recipe: Recipe) -> None:
    folder = keep(recipe)
    rewrite(
        recipe.training["path"],
        lambda rows: [*rows[2:], {**rows[0], "instruction": f"{rows[0]['instruction']} Please."}],
    )
    row = find(check(recipe), "cache, " + recipe.training["path"])
    assert row.verdict == "fail"
    assert row.found.startswith("stale: 2 of its 80 rows are not what")
    assert row.figures == {"stale": 2, "lacking": 1}
    assert row.todo == f"delete the folder: rm -r {folder}"


def test_cache_with_other_labels_is_stale(recipe: Recipe) -> None:
    keep(recipe)
    tokenized = encode(recipe)
    tokenized.train.labels[3][-2] = -100
    row = find(check_data(recipe, tokenized), "cache, " + recipe.training["path"])
    assert row.figures == {"stale": 1, "lacking": 1}


def test_cache_of_a_recipe_that_axolotl_refuses_is_a_note(recipe: Recipe) -> None:
    recipe.values["micro_batch_size"] = "many"
    row = find(check(recipe), "cache, " + recipe.training["path"])
    assert row.verdict == "note" and "Axolotl refuses the recipe" in row.found


def test_cache_cut_short_is_refused(recipe: Recipe) -> None:
    folder = cache_folders(recipe)[0]
    folder.mkdir(parents=True)
    (folder / "data-00000-of-00001.arrow").write_bytes(b"half")
    row = find(check(recipe), "cache, " + recipe.training["path"])
    assert row.verdict == "fail" and "cannot be read" in row.found
    assert str(folder) in row.todo


def test_rows_in_a_file_are_those_of_a_list(recipe: Recipe, tmp_path: Path) -> None:
    whole = read_prepared_rows(Path(recipe.training["path"]))
    odd = whole[0] | {"id": "é", "input": "a\u2028b\x85c\u00e9"}  # line ends of Unicode
    lines = [json.dumps(row, ensure_ascii=False) for row in (odd, *whole)]
    path = tmp_path / "odd.jsonl"
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    rows = PreparedRows(path)
    assert list(rows) == rows[:] == read_prepared_rows(path) == [odd, *whole]
    assert rows[-1] == whole[-1] and rows[2:4] == whole[1:3]
    for wrong, told in (("", "holds no rows"), (lines[0] + "\n[]", "line 2")):
        path.write_text(wrong, encoding="utf-8")
        for read in (PreparedRows, read_prepared_rows):
            with pytest.raises(UserError, match=told):
                read(path)
