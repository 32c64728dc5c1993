"""Preparing ArXivDLInstruct: one side for each repository, nested subsets, bounded memory."""

import ast
import json
import random
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from transformers import AutoTokenizer

from prompt_strategies.alpaca_layout import LAYOUT_VERSION
from tests.made_arxivdl import made_rows
from tools.errors import UserError
from tools.prepare.arxivdl import LONGEST_FILE, SmallestRanks, prepare_arxivdl, read_sizes, split_of
from tools.prepare.arxivdl_source import REVISION, RowStream, open_stream

SIZES = [200, 500]
Manifest = dict[str, Any]
COUNT = 1600  # made rows; half of them are usable


def write_rows(path: Path, rows: list[Any]) -> RowStream:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return open_stream(path)


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepare(folder: Path, rows: list[Any], **options: Any) -> dict[str, Any]:
    source = write_rows(folder / "rows.jsonl", rows)
    return prepare_arxivdl(source, folder / "out", **({"sizes": SIZES, "test_size": 60} | options))


def part(folder: Path, name: str, size: int = 500) -> list[dict[str, str]]:
    return read_lines(folder / "out" / str(size) / f"{name}.jsonl")


def functions(rows: list[dict[str, str]]) -> set[str]:
    return {" ".join(row["output"].split()) for row in rows}


@pytest.fixture(scope="module")
def rows() -> list[Manifest]:
    return list(made_rows(COUNT))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("arxivdl")
    return folder, prepare(folder, rows)


def test_every_row_is_used_or_counted_with_its_reason(
    prepared: tuple[Path, Manifest], rows: list[dict[str, Any]]
) -> None:
    folder, summary = prepared
    rejected = read_lines(folder / "out/rejected.jsonl")
    assert summary["read"] == COUNT == summary["kept"] + summary["rejected"]
    assert summary["kept"] == sum(summary["offered"].values())
    assert len(rejected) == summary["rejected"] == sum(summary["reasons"].values())
    reason = "longer than 1,000 characters"
    assert rejected == [
        {"index": index, "reason": reason}
        for index, row in enumerate(rows)
        if len(row["function"]) > 1000
    ]


def test_no_repository_is_on_both_sides(prepared: tuple[Path, Manifest]) -> None:
    folder, _ = prepared
    sides = [{row["repo"] for row in part(folder, name)} for name in ("train", "val", "test")]
    assert all(sides)
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_fifth_of_the_repositories_is_held_out() -> None:
    held = sum(split_of(f"owner/name-{index}", 42) != "train" for index in range(5000))
    assert held / 5000 == pytest.approx(0.2, abs=0.02)  # 3.5 standard deviations


def test_subsets_are_nested_and_share_one_held_out_set(prepared: tuple[Path, Manifest]) -> None:
    folder, _ = prepared
    small, large = part(folder, "train", 200), part(folder, "train", 500)
    assert (len(small), len(large)) == (200, 500)
    assert large[:200] == small
    for name in ("val", "test"):
        assert part(folder, name, 200) == part(folder, name, 500)


def test_a_size_prepared_alone_is_the_same(
    prepared: tuple[Path, Manifest], rows: list[Any], tmp_path: Path
) -> None:
    prepare(tmp_path, rows, sizes=[200])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["200", "rejected.jsonl"]
    for path in (tmp_path / "out/200").glob("*.jsonl"):
        assert path.read_bytes() == (prepared[0] / "out/200" / path.name).read_bytes()


def test_any_size_is_the_first_rows_of_the_larger(
    tmp_path: Path, rows: list[Any], prepared: tuple[Path, Manifest]
) -> None:
    prepare(tmp_path, rows, sizes=read_sizes("150, 7,150"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*/")) == ["150", "7"]
    whole = part(prepared[0], "train")
    for size in (7, 150):
        assert part(tmp_path, "train", size) == whole[:size]
        assert part(tmp_path, "test", size) == part(prepared[0], "test")
    for text in ("", "a", "1;2"):
        with pytest.raises(UserError, match=r"give numbers with a comma, as 100,1500"):
            read_sizes(text)


def test_the_seed_chooses_the_rows_and_their_order_does_not(
    prepared: tuple[Path, Manifest], rows: list[Any], tmp_path: Path
) -> None:
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)
    for seed, same in ((42, True), (7, False)):
        prepare(tmp_path, shuffled, seed=seed)
        for name in ("train", "val", "test"):
            found = functions(part(tmp_path, name)) == functions(part(prepared[0], name))
            assert found is same


def test_no_function_is_on_both_sides_though_repositories_copy_it(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    copied = [
        row | {"repo": f"fork-{index}", "function": row["function"].replace("\n    ", "\n     ")}
        for index, row in enumerate(rows)
        if len(row["function"]) < 900
    ]
    summary = prepare(tmp_path, rows + copied, sizes=[500], test_size=30)
    held = functions(part(tmp_path, "val")) | functions(part(tmp_path, "test"))
    assert summary["copies"] > 0
    assert not functions(part(tmp_path, "train")) & held
    assert not functions(part(tmp_path, "val")) & functions(part(tmp_path, "test"))
    assert len(functions(part(tmp_path, "train"))) == 500  # no copy counts twice


def test_no_instruction_is_on_both_sides(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    # each instruction stands twice: in another repository, with another function
    same = [row | {"prompt": f"Do task {index // 2}."} for index, row in enumerate(rows)]
    spread = [row | {"repo": f"{row['repo']}-{index % 2}"} for index, row in enumerate(same)]
    summary = prepare(tmp_path, spread, sizes=[200])
    asked = [{row["instruction"] for row in part(tmp_path, name, 200)} for name in ("train", "val")]
    assert summary["copies"] > 0
    assert not asked[0] & asked[1]


@pytest.mark.parametrize(("length", "kept"), [(1000, True), (1001, False)])
def test_the_longest_function_has_1000_characters(
    tmp_path: Path, rows: list[dict[str, Any]], length: int, kept: bool
) -> None:
    body = "def long():\n    return 1  # "
    edge = rows[0] | {"function": body + "é" * (length - len(body))}
    summary = prepare(tmp_path, [edge, *rows[1:]])
    listed = {row["index"] for row in read_lines(tmp_path / "out/rejected.jsonl")}
    assert (0 not in listed) is kept
    assert summary["read"] == COUNT


def test_the_limit_may_be_in_tokens(
    tmp_path: Path, rows: list[dict[str, Any]], tiny_base: Path
) -> None:
    limit, tokenizer = 500, AutoTokenizer.from_pretrained(tiny_base)
    name = str(tiny_base)
    prepare(tmp_path, rows, sizes=[200], max_length=limit, unit="tokens", tokenizer=name)
    listed = {row["index"] for row in read_lines(tmp_path / "out/rejected.jsonl")}
    for index, row in enumerate(rows[:60]):
        tokens = len(tokenizer(row["function"], add_special_tokens=False)["input_ids"])
        assert (index in listed) is (tokens > limit)


def test_an_unusable_row_is_rejected(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"prompt": " "}, "empty: prompt"),
        ({"prompt": 3}, "wrong type: prompt"),
        ({"function": None}, "missing: function"),
        ({"function": "\n \n"}, "empty: function"),
        ({"function": "a = '\ud800'"}, "not UTF-8: function"),
        ({"repo": None}, "missing: repo"),
    ]
    odd = [*(rows[0] | change for change, _ in changes), "no object"]
    prepare(tmp_path, [*odd, *rows], sizes=[200])
    reasons = [*(reason for _, reason in changes), "not an object"]
    assert read_lines(tmp_path / "out/rejected.jsonl")[: len(odd)] == [
        {"index": index, "reason": reason} for index, reason in enumerate(reasons)
    ]


def test_a_method_is_moved_to_the_margin(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    usable = [row for row in rows if len(row["function"]) < 600]
    methods = [row | {"function": textwrap.indent(row["function"], "    ")} for row in usable]
    summary = prepare(tmp_path, methods, sizes=[200])
    for row in part(tmp_path, "train", 200):
        ast.parse(row["output"])
    assert summary["normalised"] == summary["kept"]


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("augmented")
    elsewhere = [rows[0] | {"function": "def other():\n    return 1"}]
    long = [rows[0] | {"full_code": rows[0]["function"] + "#" * LONGEST_FILE}]
    none = [{key: value for key, value in rows[0].items() if key != "full_code"}]
    return folder, prepare(folder, [*rows, *elsewhere, *long, *none], augmented=True)


def test_an_augmented_row_has_its_file_without_the_function(
    augmented: tuple[Path, Manifest], rows: list[dict[str, Any]]
) -> None:
    for row in part(augmented[0], "train"):
        given = rows[int(row["id"].removeprefix("row-"))]
        assert given["function"].strip() not in row["input"]
        assert row["input"] == given["full_code"].replace(given["function"], "").strip("\n")


def test_an_augmented_row_whose_file_is_of_no_use_is_rejected(
    augmented: tuple[Path, Manifest],
) -> None:
    reasons = augmented[1]["reasons"]
    assert reasons["function not in its file"] == 1
    assert reasons["file longer than 5,000 characters"] == 1
    assert reasons["missing: full_code"] == 1


def test_the_manifest_tells_source_settings_counts_and_hashes(
    prepared: tuple[Path, Manifest],
) -> None:
    folder, summary = prepared
    manifest = json.loads((folder / "out/200/manifest.json").read_text())
    assert manifest["source"]["rows"] == COUNT
    assert manifest["source"]["sha256"] == open_stream(folder / "rows.jsonl").sha256()
    counts = [manifest[name] for name in ("train", "val", "test")]
    assert counts == [200, summary["val"], summary["test"]]
    assert (manifest["format"], manifest["layout_version"]) == ("arxivdl", LAYOUT_VERSION)
    assert (manifest["seed"], manifest["max_length"], manifest["unit"]) == (42, 1000, "characters")
    assert set(manifest["sha256"]) == {"train.jsonl", "val.jsonl", "test.jsonl"}
    row = part(folder, "train")[0]
    assert set(row) == {"id", "instruction", "input", "output", "repo", "file"}
    assert row["input"] == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sizes": [0]}, "--sizes: 0 is not from 1 to 10,000"),
        ({"sizes": [100, 10_001]}, "--sizes: 10,001 is not from 1 to 10,000"),
        ({"sizes": [10_000]}, r"too few usable rows for --sizes 10000: \d+ for train"),
        ({"unit": "tokens"}, "--tokenizer belong together"),
        ({"tokenizer": "x"}, "--tokenizer belong together"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    tmp_path: Path, rows: list[Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        prepare(tmp_path, rows, **options)
    assert not list(tmp_path.glob("out/**/*.json*"))


def test_rows_of_another_dataset_are_refused(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}] * 9
    with pytest.raises(UserError, match=r"9 missing: prompt.*prompt, function and repo"):
        prepare(tmp_path, rows)


# the source


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_parquet_gives_the_rows_of_json_lines(tmp_path: Path, rows: list[Any], kind: str) -> None:
    table = pyarrow.Table.from_pylist(rows)
    half = len(rows) // 2
    folder = tmp_path / "data"
    folder.mkdir()
    if kind == "file":
        parquet.write_table(table, folder / "all.parquet", row_group_size=100)
    else:
        parquet.write_table(table.slice(0, half), folder / "train-00000-of-00002.parquet")
        parquet.write_table(table.slice(half), folder / "train-00001-of-00002.parquet")
    source = open_stream(folder / "all.parquet" if kind == "file" else folder)
    got = list(source.rows())
    assert [row["function"] for row in got] == [row["function"] for row in rows]
    assert set(got[0]) == {"prompt", "function", "repo", "file", "full_code"}


def test_a_repository_of_the_hub_is_streamed(tmp_path: Path, rows: list[Any]) -> None:
    (tmp_path / "data").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows[:30]), tmp_path / "data/train-0.parquet")
    got = list(RowStream(str(tmp_path)).rows())
    assert [row["prompt"] for row in got] == [row["prompt"] for row in rows[:30]]
    assert set(got[0]) == {"prompt", "function", "repo", "file", "full_code"}


def test_without_a_network_the_hub_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot be read: .* with --input"):
        list(open_stream(None).rows())


def test_the_hub_is_read_at_a_pinned_commit() -> None:
    assert len(REVISION) == 40
    assert open_stream(None).name.endswith(REVISION) and open_stream(None).sha256() == REVISION


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", b'{"prompt": "a"}\n{"prompt":\n', "line 2 is not valid JSON"),
        ("rows.jsonl", b'{"prompt": "\xff"}\n', "cannot be read: 'utf-8' codec"),
        ("rows.parquet", b"PAR1 no parquet", "cannot be read: "),
        ("rows.parquet", None, "there is no such file"),
        ("", None, r"holds no \*\.parquet"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        list(open_stream(tmp_path / name).rows())


def test_the_source_is_never_overwritten(tmp_path: Path, rows: list[Any]) -> None:
    (tmp_path / "out/200").mkdir(parents=True)
    source = write_rows(tmp_path / "out/200/train.jsonl", rows)
    with pytest.raises(UserError, match="give another --out"):
        prepare_arxivdl(source, tmp_path / "out", sizes=[200])


# memory


def test_the_smallest_ranks_are_held_and_no_others() -> None:
    sample, ranks = SmallestRanks(50), random.Random(3).sample(range(10**6), 4000)
    for rank in ranks:
        sample.offer(rank, {"rank": str(rank)})
        sample.offer(rank, {"rank": "a copy"})
    assert [int(row["rank"]) for row in sample.rows()] == sorted(ranks)[:50]
    assert len(sample.held) < 100


def test_the_source_is_read_a_row_at_a_time(tmp_path: Path) -> None:
    class Counting(RowStream):
        """Says how many rows are alive at once."""

        alive = most = 0

        def rows(self) -> Iterator[Manifest]:
            class Row(dict[str, Any]):
                def __del__(row) -> None:
                    Counting.alive -= 1

            for row in made_rows(COUNT):
                Counting.alive += 1
                Counting.most = max(Counting.most, Counting.alive)
                yield Row(row)

        def sha256(self) -> str:
            return "made"

    prepare_arxivdl(Counting("made"), tmp_path, sizes=[200])
    assert Counting.most <= 3


def test_parquet_is_read_a_row_group_at_a_time(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [{"prompt": rng.randbytes(2000).hex(), "repo": "a"} for _ in range(2000)]  # 8 MB
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=50)
    del table
    before, most = pyarrow.total_allocated_bytes(), 0
    for _ in open_stream(tmp_path / "rows.parquet").rows():
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < 2_000_000
