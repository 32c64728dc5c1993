"""A task's rows: three splits without a common input, the same for the same card."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from tests.published_files import published_file
from tests.unit.tools.search.test_card import GOOD
from tools.errors import UserError
from tools.files import sha256
from tools.prepare import fetch
from tools.search.data import Task, TaskRow, load_task
from tools.tiny.corpus import cogex_rows

ROOT = Path(__file__).parents[4]


def load(folder: Path, **change: Any) -> Task:
    path = folder / "card.yml"
    path.write_text(yaml.safe_dump(GOOD | change))
    return load_task(path)


def inputs(rows: tuple[TaskRow, ...]) -> set[str]:
    return {row.input for row in rows}


@pytest.mark.parametrize("name", ["coin", "sum", "tiny-coin", "tiny-sum", "tiny-word_sorting"])
def test_generated_task_has_its_splits_and_no_row_of_the_demos(name: str) -> None:
    from tools.demo import ROWS, SEED

    task = load_task(ROOT / "tasks" / f"{name}.yml")
    sizes = task.card.split
    splits = [inputs(rows) for rows in (task.train, task.dev, task.test)]
    assert list(map(len, splits)) == [sizes.train, sizes.dev, sizes.test]
    assert len(set.union(*splits)) == sum(map(len, splits))
    assert set.union(*splits).isdisjoint(row["input"] for row in cogex_rows(ROWS, SEED))


def test_the_same_card_gives_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    one, again = load(tmp_path), load(tmp_path)
    assert (one.train, one.fingerprint) == (again.train, again.fingerprint)
    other = load(tmp_path, split=GOOD["split"] | {"seed": 7})
    assert other.train != one.train
    assert other.fingerprint != one.fingerprint


def test_made_rows_are_right(tmp_path: Path) -> None:
    train = {"generator": "sum", "seed": 1, "rows": 30, "options": {"digits": 5}}
    test = {"generator": "sum", "seed": 2, "rows": 9, "options": {"digits": 6}}
    task = load(tmp_path, data={"train": train, "test": test})
    for digits, rows in ((5, task.train + task.dev), (6, task.test)):
        for row in rows:
            one, other = row.input.split(" + ")
            assert (len(one), len(other)) == (digits, digits)
            assert int(row.answer) == int(one) + int(other)

    task = load(tmp_path, data={"train": {"generator": "coin", "seed": 1, "rows": 200}})
    for row in task.train + task.dev + task.test:
        flips = row.input.count(" flips the coin")
        assert 2 <= flips + row.input.count("does not flip") <= 4
        assert row.answer == ("no" if flips % 2 else "yes")
    task = load(tmp_path, data={"train": {"generator": "word_sorting", "seed": 1, "rows": 30}})
    for row in task.train:
        words = row.input.removeprefix("List: ").split()
        assert row.answer.split() == sorted(words) and len(words) >= 2


@pytest.mark.parametrize(
    ("generator", "options", "lengths", "measure"),
    [
        ("coin", {"people": [2, 16]}, range(2, 17), lambda text: text.count(".") - 1),
        ("sum", {"digits": [2, 12]}, range(2, 13), lambda text: len(text.split(" + ")[0])),
        ("word_sorting", {"words": [3, 20]}, range(3, 21), lambda text: len(text.split()) - 1),
        ("operations", {"steps": [1, 8]}, range(1, 9), lambda text: text.count(".") - 1),
    ],
)
def test_made_rows_of_all_lengths_say_how_long_they_are(
    tmp_path: Path, generator: str, options: dict[str, Any], lengths: range, measure: Any
) -> None:
    source = {"generator": generator, "seed": 1, "rows": 400, "options": options}
    task = load(tmp_path, data={"train": source}, length="{{ length }}")
    rows = task.train + task.dev + task.test
    assert all(row.length == measure(row.input) for row in rows)
    assert {row.length for row in rows} <= {*lengths}
    wide = {"train": 100, "dev": 100, "test": 100}
    assert {row.length for row in load(tmp_path, data={"train": source}, split=wide,
            length="{{ length }}").train} == {*lengths}  # fmt: skip


def test_chained_operations_come_out_as_said(tmp_path: Path) -> None:
    source = {"generator": "operations", "seed": 1, "rows": 60}
    for row in load(tmp_path, data={"train": source}).train:
        start, *steps = row.input.rstrip(".").split(". ")
        value = int(start.removeprefix("Start with "))
        for step in steps:
            verb, amount = step.split()
            value = {"Add": lambda v, a: v + int(a), "Subtract": lambda v, a: v - int(a),
                     "Double": lambda v, a: 2 * v}[verb](value, amount)  # fmt: skip
        assert int(row.answer) == value


def test_length_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 1 of `data.train` gives the length '.*correct `len"):
        load(tmp_path, length="{{ input }}")
    with pytest.raises(UserError, match=r"`length` does not fit row 1 of `data.train`: 'size' is"):
        load(tmp_path, length="{{ size }}")


def test_inputs_of_worked_examples_are_in_no_split(tmp_path: Path) -> None:
    rows = load(tmp_path).train
    chain = {"input": rows[0].input, "reasoning": "x", "answer": rows[0].answer}
    source = GOOD["data"]["train"] | {"rows": 31}
    task = load(tmp_path, chains=[chain], data={"train": source})
    assert chain["input"] not in {row.input for row in task.train + task.dev + task.test}
    assert task.duplicates == 1


def test_json_and_json_lines_are_read_alike(tmp_path: Path) -> None:
    rows = [{"q": f"word {number}", "a": number} for number in range(30)]
    (tmp_path / "rows.json").write_text(json.dumps({"examples": rows}))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    fields = {"input": "{{ q | upper }}", "answer": "{{ a }}"}
    one = load(tmp_path, data={"train": {"file": f"{tmp_path}/rows.json"}}, **fields)
    other = load(tmp_path, data={"train": {"file": f"{tmp_path}/rows.jsonl"}}, **fields)
    assert one.train == other.train
    assert one.train[0].input.startswith("WORD ")


def test_inputs_seen_before_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"q": number // 2, "a": number} for number in range(40)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "more.json").write_text(json.dumps([*rows[:10], {"q": 99, "a": 1}]))
    source = {"train": {"file": f"{tmp_path}/rows.json"}, "test": {"file": f"{tmp_path}/more.json"}}
    fields = {"input": "{{ q }}", "answer": "{{ a }}"}
    task = load(tmp_path, data=source, split={"train": 10, "dev": 10, "test": 1}, **fields)
    assert task.duplicates == 20 + 10
    assert [row.input for row in task.test] == ["99"]
    assert int(task.train[0].answer) % 2 == 0  # the first of each pair stays


def test_hub_rows_are_read_by_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name stands in for the hub; all else is the real library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    for split, first in (("train", 0), ("validation", 100)):
        made = {
            "sentence": [f"s{first + n}" for n in range(20)],
            "label": [n % 2 for n in range(20)],
        }
        datasets.Dataset.from_dict(made).to_parquet(folder / f"{split}.parquet")
    hub = {"hub": "owner/name", "revision": "0" * 40}
    task = load(
        tmp_path,
        data={"train": hub | {"split": "train"}, "test": hub | {"split": "validation"}},
        input="{{ sentence }}",
        answer="{{ ['bad', 'good'][label] }}",
    )
    assert all(int(row.input[1:]) >= 100 for row in task.test)
    assert {row.answer for row in task.train + task.dev} == {"bad", "good"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "{{ nothing }}"}, r"row 1 of `data.train`.*the fields input, length, target"),
        ({"input": "{{ input"}, "is not a Jinja template"),
        ({"answer": "{{ '' }}"}, "row 1 of `data.train` gives an empty"),
        ({"answer": "{{ ''.__class__.__mro__ }}"}, "does not fit row 1"),
        ({"answer": "{{ 1 / 0 }}"}, "does not fit row 1.*division by zero"),
        ({"answer": "{{ range(10**9) | list }}"}, "does not fit row 1"),
        ({"answer": "{{ none }}"}, "does not fit row 1.*a field that it names is null"),
        ({"answer": "so", "metric": "numeric"}, "row 1 of `data.train` gives the answer 'so', wh"),
        ({"split": {"train": 5, "dev": 50, "test": 5}}, "has 30 rows .*, and the splits need 60"),
        ({"metric": "os.nothing"}, "metric: os.nothing: "),
        ({"data": {"train": {"generator": "sum", "seed": 1, "rows": 500,
                             "options": {"digits": 1}}}}, "gave 81 different rows, not 500"),
        ({"data": {"train": {"generator": "sum", "seed": 1, "rows": 5,
                             "options": {"digit": 1}}}}, "`data.train.options`: "),
        ({"data": {"train": {"generator": "tiny", "seed": 1, "rows": 5,
                             "options": {"family": "no"}}}}, "options`: family: .* of .*coin"),
        ({"data": {"train": {"file": "nowhere.json"}}}, "nowhere.json: there is no such file"),
        ({"data": {"train": {"hub": "no-such/rows", "revision": "0" * 40, "split": "train"}}},
         "no-such/rows at 0000000 cannot be loaded"),
    ],
)  # fmt: skip
def test_unusable_data_is_one_message(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, **change)


@pytest.mark.parametrize("text", ["{", "[1]", "3", "[]"])
def test_file_without_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(UserError, match=r"rows\.json"):
        load(tmp_path, data={"train": {"file": f"{tmp_path}/rows.json"}})


def test_fetched_file_must_be_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"train": {"file": "data/fetched/SVAMP.json"}}
    with pytest.raises(UserError, match="run `cogex fetch svamp`"):
        load(tmp_path, data=source)
    fetch.FILES["svamp"].path.parent.mkdir(parents=True)
    fetch.FILES["svamp"].path.write_text("[]")
    with pytest.raises(UserError, match="another file: SHA-256"):
        load(tmp_path, data=source)


SVAMP = {"Body": "Ann has 3 dvds. ", "Question": "How many?", "Answer": 3.0}
SORTED = {"input": "Sort the following words alphabetically: List: b a", "target": "a b"}


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("svamp", [SVAMP], TaskRow("Ann has 3 dvds. How many?", "3.0")),
        ("word_sorting", {"examples": [SORTED]}, TaskRow("List: b a", "a b")),
    ],
)
def test_original_files_fit_their_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: Any, row: TaskRow
) -> None:
    """Made files of the published form."""
    monkeypatch.chdir(tmp_path)
    card = yaml.safe_load((ROOT / "tasks" / f"{name}.yml").read_text())
    source = card["data"].get("test", card["data"]["train"])
    path = Path(source["file"])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    pinned = fetch.Pinned(path.name, "https://nowhere.invalid/", sha256(path))
    monkeypatch.setitem(fetch.FILES, name, pinned)
    card["data"]["test"] = source
    if name == "svamp":  # all its rows are of one file
        (tmp_path / "t.json").write_text(json.dumps([SVAMP | {"Body": f"{n}"} for n in range(9)]))
        card["data"]["train"] = {"file": "t.json"}
    card["split"] = {"train": 2, "dev": 3, "test": 1}
    (tmp_path / "card.yml").write_text(yaml.safe_dump(card))
    assert load_task(tmp_path / "card.yml").test == (row,)


@pytest.mark.parametrize("name", ["svamp", "word_sorting"])
def test_published_files_load(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not published_file(name).is_file():
        pytest.skip(f"the original file of {name} is not here: cogex fetch {name}")
    (tmp_path / fetch.FOLDER).mkdir(parents=True)
    (tmp_path / fetch.FILES[name].path).symlink_to(published_file(name))
    monkeypatch.chdir(tmp_path)
    task = load_task(ROOT / "tasks" / f"{name}.yml")
    assert len(task.test) == task.card.split.test
