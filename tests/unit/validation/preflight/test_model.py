"""Preflight's model section: parameters, LoRA targets, vocabulary, and how an adapter starts."""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from transformers import AutoConfig

from tools.errors import UserError
from tools.recipe import Recipe, read_recipe
from validation.preflight import model
from validation.preflight.architecture import (
    ARCHITECTURES,
    attention_targets,
    build_base,
    load_config,
)
from validation.preflight.model import check_model
from validation.verdict import VerdictRow

RECIPES = Path(__file__).parents[4] / "recipes"
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
}
LLAMA_7B = "meta-llama/Llama-2-7b-hf"


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of the test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def recipe(base_model: object = LLAMA_7B, name: str = "mine", **values: Any) -> Recipe:
    return Recipe(Path(f"{name}.yml"), {"base_model": str(base_model), **LORA, **values})


def found(check: str, given: Recipe) -> VerdictRow:
    (row,) = [row for row in check_model(given) if row.name == check]
    return row


@pytest.mark.parametrize(
    ("base_model", "total", "trained"),
    [
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616, 16_777_216),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320, 26_214_400),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248, 13_631_488),
        ("codellama/CodeLlama-7b-hf", 6_738_546_688, 16_777_216),
        ("codellama/CodeLlama-13b-hf", 13_016_028_160, 26_214_400),
        ("Qwen/Qwen3-4B-Base", 4_022_468_096, 11_796_480),
        ("HuggingFaceTB/SmolLM3-3B-Base", 3_075_098_624, 7_667_712),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, 1_843_200),
    ],
)
def test_parameters_of_the_published_models(base_model: str, total: int, trained: int) -> None:
    rows = {row.name: row for row in check_model(recipe(base_model))}
    row = rows["parameters"]
    assert (row.verdict, row.figures["total"]) == ("ok", total)
    assert row.figures["trained"] == trained
    assert row.figures["percent"] == pytest.approx(100 * trained / total)
    assert rows["adapter's start"].verdict == "note"  # no weights
    if base_model == LLAMA_7B:
        row = rows["adapter"]
        assert row.verdict == "ok"
        assert row.found == "r=16 on q_proj, k_proj, v_proj, o_proj: 128 modules, 4 in each layer"
        modules = row.figures["modules"]
        assert (modules[0], len(set(modules))) == ("model.layers.0.self_attn.q_proj", 128)


def test_every_hub_model_of_the_recipes_is_known() -> None:
    named = {read_recipe(path).base_model for path in RECIPES.glob("*.yml")}
    folders = {name for name in named if name.split("/")[0] in {"models", "outputs", "data"}}
    assert named - folders == set(yaml.safe_load(ARCHITECTURES.read_text()))


def test_without_an_adapter_everything_is_trained(tiny_base: Path) -> None:
    whole = Recipe(Path("whole.yml"), {"base_model": str(tiny_base)})
    assert [row.name for row in check_model(whole)] == ["parameters"]
    figures = found("parameters", whole).figures
    assert figures["total"] == figures["trained"] > 0
    assert figures["percent"] == 100


def test_another_model_under_a_published_name_fails(empty_hub_cache: Path, tiny_base: Path) -> None:
    cache(empty_hub_cache, LLAMA_7B, tiny_base)
    row = found("parameters", recipe())
    assert row.verdict == "fail"
    assert "6,738,415,616 are published" in row.found


def cache(hub: Path, name: str, source: Path) -> None:
    """Put a config into the hub cache, as a download leaves it."""
    folder = hub / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text((source / "config.json").read_text())
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")


@pytest.mark.parametrize(
    ("values", "missing", "extra"),
    [
        ({"lora_target_modules": ["q_proj", "v_proj"]}, {"k_proj": 2, "o_proj": 2}, {}),
        ({"lora_target_linear": True}, {}, {"gate_proj": 2, "up_proj": 2, "down_proj": 2}),
        ({"peft_layers_to_transform": [0]}, dict.fromkeys(LORA["lora_target_modules"], 1), {}),
        ({"lora_exclude_modules": ["o_proj"]}, {"o_proj": 2}, {}),
        ({"lora_modules_to_save": ["lm_head"]}, {}, {"lm_head": 1}),
    ],
)
def test_a_paper_recipe_with_other_modules_fails_and_names_them(
    tiny_base: Path, values: dict[str, Any], missing: dict[str, int], extra: dict[str, int]
) -> None:
    row = found("adapter", recipe(tiny_base, name="cogex-llama2-7b", **values))
    assert row.verdict == "fail"
    for kinds, names in ((missing, "missing"), (extra, "extra")):
        assert len(row.figures[names]) == sum(kinds.values())
        for kind, count in kinds.items():
            assert f"{kind} x {count}" in row.found
    assert "[q_proj, k_proj, v_proj, o_proj]" in row.todo


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"lora_target_modules": ["self_attn.q_proj", "mlp.up_proj"]}, []),
        ({"lora_target_modules": r".*\.q_proj"}, []),
        ({"lora_target_modules": "all-linear", "lora_exclude_modules": ["o_proj"]}, []),
        ({"peft_layers_to_transform": [1], "lora_modules_to_save": ["lm_head"]}, []),
        ({"lora_target_modules": ["q_proj", "self_attn.w_proj"]}, ["self_attn.w_proj"]),
    ],
)
def test_another_recipe_may_choose_its_modules(
    tiny_base: Path, values: dict[str, Any], missing: list[str]
) -> None:
    row = found("adapter", recipe(tiny_base, **values))
    assert (row.verdict, row.figures["missing"]) == ("fail" if missing else "ok", missing)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora_target_modules": ["c_attn"]}, r"mine\.yml: PEFT refuses .*c_attn.*not found"),
        ({"lora_r": "many"}, r"mine\.yml: PEFT refuses the `lora_` keys; correct them"),
        ({"adapter": "prefix"}, r"mine\.yml: `adapter: prefix` is not known here; use lora"),
    ],
)
def test_an_adapter_that_cannot_be_made(
    tiny_base: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_model(recipe(tiny_base, **values))


def base_of(kind: str, folder: Path) -> Path:
    """A folder with a small config of an architecture."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 96, "vocab_size": 99, "pad_token_id": 0, "num_key_value_heads": 2}
    if kind == "gemma3":  # with a vision tower, whose attention has projections of the same names
        text = sizes | more | {"head_dim": 16}
        AutoConfig.for_model(kind, text_config=text, vision_config=sizes).save_pretrained(folder)
    else:
        AutoConfig.for_model(kind, **sizes | more).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "targets", "modules"),
    [
        ("qwen3", ["q_proj", "k_proj", "v_proj", "o_proj"], 8),
        ("phi3", ["o_proj", "qkv_proj"], 4),
        ("gpt_neox", ["query_key_value", "dense"], 4),
        ("gpt2", ["c_attn", "attn.c_proj"], 4),  # its MLP has a c_proj too
        ("mpt", ["Wqkv", "out_proj"], 4),
        ("gemma3", r"model.language_model\..*\.(q_proj|k_proj|v_proj|o_proj)", 8),
    ],
)
def test_the_attentions_modules_are_found_by_whatever_names(
    kind: str, targets: list[str] | str, modules: int, tmp_path: Path
) -> None:
    base = base_of(kind, tmp_path)
    assert attention_targets(build_base(str(base))) == targets
    row = found("adapter", recipe(base, name="cogex-x", lora_target_modules=targets))
    assert (row.verdict, len(row.figures["modules"])) == ("ok", modules)


def test_what_is_not_the_bases_attention_is_told_by_its_own_names(tmp_path: Path) -> None:
    base = base_of("gpt2", tmp_path)
    row = found("adapter", recipe(base, name="cogex-x", lora_target_modules=["c_attn", "c_proj"]))
    assert row.verdict == "fail" and "extra: c_proj x 2" in row.found
    assert "to [c_attn, attn.c_proj], as in the paper" in row.todo


def test_a_new_adapter_starts_at_zero_and_can_change_the_logits(tiny_base: Path) -> None:
    row = found("adapter's start", recipe(tiny_base))
    assert row.verdict == "ok"
    assert row.figures["lora_b_zero"]
    assert row.figures["start_difference"] == 0
    assert row.figures["changed_difference"] > 0.01


@pytest.mark.parametrize(
    ("values", "found_words", "zero"),
    [
        ({"peft_init_lora_weights": "pissa"}, "a new adapter already changes the base", False),
        ({"lora_alpha": 0}, "leaves the logits as they were", True),
    ],
)
def test_an_adapter_that_starts_elsewhere_or_has_no_effect_fails(
    tiny_base: Path, values: dict[str, Any], found_words: str, zero: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(model, "SMALL_START", 0)  # PiSSA moves the logits by rounding
    row = found("adapter's start", recipe(tiny_base, **values))
    assert (row.verdict, row.figures["lora_b_zero"]) == ("fail", zero)
    assert found_words in row.found


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "eva"])
def test_an_adapter_that_starts_from_the_bases_weights_is_sound(
    tiny_base: Path, start: str
) -> None:
    row = found("adapter's start", recipe(tiny_base, peft_init_lora_weights=start))
    assert row.verdict == "ok" and row.found.startswith(f"{start} starts from the base's weights")
    assert ("`seed`" in row.found) is (start == "pissa_niter_4")


def test_a_model_too_large_to_load_is_a_note(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "MAX_CPU_PARAMETERS", 1000)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    row = found("adapter's start", recipe(tiny_base))
    assert row.verdict == "note"
    assert row.found == "not checked: more than 1,000 parameters, and no GPU here"


def test_a_config_never_comes_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert load_config(LLAMA_7B).hidden_size == 4096
    for name in ("owner/unknown", "data/my/base"):
        with pytest.raises(
            UserError, match=f"{name}: is not a folder here, not in the.*make the folder"
        ):
            load_config(name)


def test_a_folder_and_the_hub_cache_go_before_the_published_figures(
    empty_hub_cache: Path, tiny_base: Path
) -> None:
    assert load_config(str(tiny_base)).hidden_size == 32
    cache(empty_hub_cache, LLAMA_7B, tiny_base)
    assert load_config(LLAMA_7B).hidden_size == 32


@pytest.mark.parametrize("content", ["{", '{"model_type": "no-such-type"}'])
def test_a_broken_config_is_one_message(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"its config\.json cannot be used; is it whole\?"):
        load_config(str(tmp_path))
