"""`cogex new` writes a recipe that fits base and data, from the closest one, overwriting none."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.any_base import write_any_base
from tools.errors import UserError
from tools.prepare.cogex import prepare_cogex
from tools.recipe import read_recipe
from tools.recipe_header import read_header
from tools.tiny.corpus import write_cogex_rows
from validation.new_recipe import _yaml, new_recipe
from validation.preflight.run import preflight

ROOT = Path(__file__).parents[3]
FROM = ("cogex-tiny", "cogex-qwen3-4b", "cogex-llama2-13b-fsdp2", "alpaca-llama2-7b")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some recipes, prepared rows, and two bases."""
    folder = tmp_path_factory.mktemp("made")
    write_cogex_rows(folder / "data.json", 24, 3)
    prepare_cogex(folder / "data.json", folder / "data/mine", val_size=7)
    write_any_base(folder / "phi3", "phi3", "gpt2")
    write_any_base(folder / "short", "llama", "sentencepiece", max_position_embeddings=200)
    (folder / "recipes").mkdir()
    for name in FROM:
        shutil.copy(ROOT / f"recipes/{name}.yml", folder / "recipes")
    for name in ("models", "recipes/deepspeed", "recipes/accelerate"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(autouse=True)
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it as working folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)


def test_all_that_depends_on_base_and_data_is_set_and_the_rest_is_kept() -> None:
    written = new_recipe("mine", "phi3/", Path("data/mine"))
    assert (written.path, written.template) == (
        Path("recipes/mine.yml"), Path("recipes/cogex-tiny.yml"),  # the closest in size
    )  # fmt: skip
    values, old = read_recipe(written.path).values, read_recipe(written.template).values
    longest = values["sequence_len"]
    expected = {
        "base_model": "phi3",
        "special_tokens": {"pad_token": "ÿ"},
        "lora_target_modules": ["o_proj", "qkv_proj"],
        "datasets": [old["datasets"][0] | {"path": "data/mine/train.jsonl"}],
        "test_datasets": [old["test_datasets"][0] | {"path": "data/mine/val.jsonl"}],
        "validation_rows": 7,
        "dataset_prepared_path": "data/mine/prepared",
        "sequence_len": longest,
        "output_dir": "outputs/mine",
    }
    assert values == old | expected
    assert longest % 64 == 0 and 256 < longest < 1024
    header = read_header(written.path)
    assert header.fields["Launch"].endswith(" recipes/mine.yml")
    assert header.fields["Hardware"] == read_header(written.template).fields["Hardware"]
    assert "# keeps the batch, resumes, keeps a log" in written.path.read_text()


@pytest.mark.parametrize(
    ("kind", "tokenizer", "target", "pad"),
    [
        ("llama", "sentencepiece", "q_proj", "<unk>"),
        ("gemma3_text", "sentencepiece", "q_proj", "<unk>"),
        ("qwen3", "chatml", "q_proj", None),  # the tokenizer's own pad token will do
        ("phi3", "chatml", "qkv_proj", None),
        ("gpt_neox", "gpt2", "query_key_value", "ÿ"),
    ],
)
def test_the_recipe_fits_the_base_and_preflight_passes(
    kind: str, tokenizer: str, target: str, pad: str | None
) -> None:
    """With an adapter on the real weights; tests/engine/test_any_base.py trains a GPT-2."""
    write_any_base(Path("my-org/base"), kind, tokenizer)
    new_recipe("mine", "my-org/base", Path("data/mine"), Path("cogex-tiny"))
    recipe = read_recipe(Path("recipes/mine.yml"))
    assert target in recipe.values["lora_target_modules"]
    assert (recipe.values.get("special_tokens") or {}).get("pad_token") == pad
    result = preflight(recipe)
    assert [row for row in result["verdicts"] if row["verdict"] == "fail"] == []
    assert any(row["name"] == "adapter's start" and row["figures"] for row in result["verdicts"])


@pytest.mark.parametrize("name", ["cogex-qwen3-4b", "cogex-llama2-13b-fsdp2"])
def test_a_recipe_for_gpus_is_followed_without_what_the_base_has_not(name: str) -> None:
    written = new_recipe("mine", "phi3", Path("data/mine"), Path(name))
    values = read_recipe(written.path).values
    assert written.template == Path(f"recipes/{name}.yml")
    assert values["lora_qkv_kernel"] is values["lora_o_kernel"] is False  # not of a Phi-3
    layer = values.get("fsdp_config", {}).get("transformer_layer_cls_to_wrap")
    assert layer in (None, "Phi3DecoderLayer")


def test_the_micro_batch_fits_the_card() -> None:
    base = Path("large")  # its logits fill a card; of its weights there are none
    shutil.copytree("phi3", base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"vocab_size": 2_000_000}))
    written = new_recipe("mine", "large", Path("data/mine"), Path("cogex-qwen3-4b"))
    values = read_recipe(written.path).values
    assert (values["micro_batch_size"], values["eval_batch_size"]) == (1, 1)


def test_rows_of_another_kind_have_their_own_layout_and_recipe() -> None:
    manifest = Path("data/mine/manifest.json")
    manifest.write_text(manifest.read_text().replace('"cogex"', '"alpaca"'))
    for split in ("train", "val"):
        path = Path(f"data/mine/{split}.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = new_recipe("mine", "phi3", Path("data/mine"))
    assert written.template == Path("recipes/alpaca-llama2-7b.yml")
    assert read_recipe(written.path).training["type"] == "prompt_strategies.alpaca"


def test_a_row_length_is_never_more_than_the_base_takes() -> None:
    written = new_recipe("mine", "short", Path("data/mine"))
    assert read_recipe(written.path).sequence_len == 200


@pytest.mark.parametrize(
    ("name", "base", "data", "template", "message"),
    [
        ("cogex-tiny", "phi3", "data/mine", None, "recipes/cogex-tiny.yml: is there already"),
        ("recipes/cogex-tiny.yml", "phi3", "data/mine", None, "is there already; choose another"),
        ("run", "phi3", "data/mine", None, "outputs/run: is there already"),
        ("a b", "phi3", "data/mine", None, "a b: is no name for a recipe"),
        ("../mine", "phi3", "data/mine", None, "is no name for a recipe"),
        ("mine", "no/such-base", "data/mine", None, "no/such-base: is not a folder here"),
        ("mine", "phi3", "data", None, "data: holds no train.jsonl; make the folder with `cogex"),
        ("mine", "phi3", "data/mine", "cogex-tinny", "did you mean recipes/cogex-tiny.yml"),
        ("mine", "phi3", "data/mine", "alpaca-llama2-7b", "trains no adapter on rows of cogex"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_nothing_is_written(
    name: str, base: str, data: str, template: str | None, message: str
) -> None:
    Path("outputs/run").mkdir(parents=True)
    before = {path: path.read_bytes() for path in Path("recipes").glob("*.yml")}
    with pytest.raises(UserError, match=message):
        new_recipe(name, base, Path(data), Path(template) if template else None)
    assert {path: path.read_bytes() for path in Path("recipes").glob("*.yml")} == before


@pytest.mark.parametrize("pad", ["[PAD]", "<|x|>", "ÿ"])
def test_what_is_written_is_read_as_it_was(pad: str) -> None:
    assert yaml.safe_load(_yaml("special_tokens", {"pad_token": pad})) == {
        "special_tokens": {"pad_token": pad}
    }
