"""A recipe that cannot be used is one message: what, where and what to do."""

from pathlib import Path

import pytest

from tools.errors import UserError
from tools.recipe import Recipe, find_recipe, read_recipe

ENTRY = {"path": "val.jsonl", "type": "prompt_strategies.cogex"}


def recipe(**values: object) -> Recipe:
    return Recipe(Path("r.yml"), values)


def test_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text(
        "base_model: owner/model\noutput_dir: outputs/x\nsequence_len: 512\nadapter: lora\n"
        "test_datasets:\n  - path: val.jsonl\n"
    )
    read = read_recipe(path)
    assert (read.base_model, read.output_dir) == ("owner/model", Path("outputs/x"))
    assert (read.sequence_len, read.adapter) == (512, "lora")
    assert read.validation == {"path": "val.jsonl"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not valid YAML; correct it there: .*line 1"),
        (b"a: 2024-13-45", "is not valid YAML; correct it there: month"),
        (b"[" * 1000, "is not valid YAML; correct it there"),
        (b"\xff\xfe\xff", r"cannot be read: .*; is it a recipe\?"),
        (b"- a\n- b", "holds no keys; a recipe is a YAML mapping"),
        (None, "there is no such recipe; `ls recipes` shows them"),
    ],
)
def test_no_yaml_mapping(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"r\.yml: {message}"):
        read_recipe(path)
    with pytest.raises(UserError, match="is a folder, and the run folder of no recipe"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("recipes/a-tiny.yml", "recipes/a-tiny.yml"),
        ("a-tiny", "recipes/a-tiny.yml"),
        ("recipes/a-tiny", "recipes/a-tiny.yml"),
        ("b-7b.v2", "recipes/more/b-7b.v2.yaml"),  # a dot in the name is no extension
        ("outputs/a-tiny", "recipes/a-tiny.yml"),  # its run folder
        ("outputs/a-tiny/best", "recipes/a-tiny.yml"),  # a part of it
        ("other-name", "recipes/mine.yml"),  # its run folder has another name
        ("twice", UserError("twice: .*of several recipes; name one of .*one.yml, .*two.yml")),
        ("else/a-tiny", "else/a-tiny"),  # a folder of that name, but no recipe's
        ("else/a-tiny.yml", "else/a-tiny.yml"),  # not there: `read_recipe` says so
        ("a-tinny", UserError("a-tinny: .*did you mean recipes/a-tiny")),
        ("1gpu", UserError("1gpu: there is no such recipe; `ls recipes` shows them")),
    ],
)
def test_a_recipe_is_found_as_people_name_it(
    named: str, found: str | UserError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("recipes/a-tiny.yml", "recipes/more/b-7b.v2.yaml", "recipes/accelerate/1gpu.yml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"output_dir: outputs/{Path(path).stem}\n")
    runs = {"mine": "other-name/", "one": "twice", "two": "./twice", "wrong": "[]"}
    for name, run in runs.items():
        Path(f"recipes/{name}.yml").write_text(f"output_dir: {run}\n")
    Path("recipes/broken.yml").write_text("{")
    for folder in ("outputs/a-tiny/best", "else/a-tiny", "other-name", "twice"):
        Path(folder).mkdir(parents=True)
    if isinstance(found, UserError):
        with pytest.raises(UserError, match=str(found)):
            find_recipe(Path(named))
    else:
        assert find_recipe(Path(named)) == Path(found)


def test_without_recipes_the_folder_is_to_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="recipes is not here; run in the repository's folder"):
        find_recipe(Path("recipes/a-tiny.yml"))


@pytest.mark.parametrize(
    ("key", "wrong"), [("base_model", ["x"]), ("output_dir", 3), ("sequence_len", "long")]
)
def test_a_missing_or_malformed_value_is_one_message(key: str, wrong: object) -> None:
    for made in (recipe(), recipe(**{key: None}), recipe(**{key: ""})):
        with pytest.raises(UserError, match=rf"r\.yml: the key `{key}` is missing; add it"):
            getattr(made, key)
    with pytest.raises(UserError, match=rf"r\.yml: `{key}: .*; correct it"):
        getattr(recipe(**{key: wrong}), key)


@pytest.mark.parametrize("entries", [None, [ENTRY, ENTRY], ["val.jsonl"], [{"path": ""}], ENTRY])
def test_other_than_one_validation_file(entries: object) -> None:
    with pytest.raises(UserError, match=r"r\.yml: `test_datasets` must name the one .*; give it"):
        _ = recipe(test_datasets=entries).validation
