"""The main job by the real engine: what was learnt, and that the checks tell the truth."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from prompt_strategies.layout import render_completion, render_prompt
from tests.engine.recipe_runs import DemoRun
from tools.models import add_adapter

TRAINING_ROWS = 480


def share(check: dict[str, Any], name: str) -> float:
    return check["measures"][name]["count"] / check["rows"]


@pytest.fixture
def inside(demo: DemoRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's folder as working folder, as recipes need it."""
    monkeypatch.chdir(demo.folder)
    return demo.folder


def test_fine_tuned_model_meets_every_threshold(demo: DemoRun) -> None:
    check = demo.result["checks"]["fine-tuned"]
    assert demo.result["passed"] and check["rows"] >= 120
    for name in ("program_parses", "has_answer", "keys_agree"):
        assert share(check, name) >= 0.98, name
    assert share(check, "ends_by_eos") >= 0.99
    assert share(check, "answer_exact") >= 0.92
    families = check["answer_exact_by_family"]
    assert len(families) >= 12
    assert min(item["count"] / item["rows"] for item in families.values()) >= 0.60


@pytest.mark.parametrize("control", ["base, no adapter", "same LoRA, random base"])
def test_controls_fail_where_the_fine_tuned_model_succeeds(demo: DemoRun, control: str) -> None:
    check = demo.result["checks"][control]
    assert not check["passed"]
    assert share(check, "answer_exact") <= 0.20


def test_the_run_is_healthy_and_as_long_as_its_recipe_says(demo: DemoRun) -> None:
    run = demo.folder / "outputs/cogex-tiny"
    curves = json.loads((run / "curves.json").read_text())
    assert curves["passed"]
    assert len(curves["verdicts"]) >= 13
    steps = math.ceil(TRAINING_ROWS / 32)
    checkpoints = demo.result["selection"]["checkpoints"]
    assert [item["epoch"] for item in checkpoints] == [1, 2, 3, 4, 5]
    assert [item["step"] for item in checkpoints] == [steps * epoch for epoch in range(1, 6)]
    assert all(item["status"] == "ok" for item in checkpoints)
    layers, width, rank = 4, 128, 16  # LoRA on four projections
    assert demo.result["trained_parameters"] == layers * 4 * rank * (width + width)


def test_selected_perplexity_equals_a_plain_loop(demo: DemoRun, inside: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained("models/tiny-base")
    base = AutoModelForCausalLM.from_pretrained("models/tiny-base", dtype=torch.float32)
    model = add_adapter(base, Path("outputs/cogex-tiny/best"))
    total, tokens = 0.0, 0
    for line in Path("data/tiny/val.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompt = tokenizer(render_prompt(row["instruction"], row["input"]).rstrip())["input_ids"]
        completion = "\n" + render_completion(row["code"], row["output"])
        ids = prompt + tokenizer(completion, add_special_tokens=False)["input_ids"]
        ids.append(tokenizer.eos_token_id)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        log_probabilities = logits.log_softmax(-1)
        for position in range(len(prompt), len(ids)):
            total -= log_probabilities[position - 1, ids[position]].item()
        tokens += len(ids) - len(prompt)
    selection = demo.result["selection"]
    [best] = [x for x in selection["checkpoints"] if x["name"] == selection["best"]]
    assert best["tokens"] == tokens
    assert best["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-6)


def test_best_is_the_checkpoint_with_the_lowest_perplexity(demo: DemoRun) -> None:
    selection, run = demo.result["selection"], demo.folder / "outputs/cogex-tiny"
    lowest = min(selection["checkpoints"], key=lambda item: item["perplexity"])
    assert selection["best"] == lowest["name"]
    copied, source = (
        load_file(run / name / "adapter_model.safetensors") for name in ("best", lowest["name"])
    )
    assert copied.keys() == source.keys()
    assert all(torch.equal(copied[key], source[key]) for key in source)
    for path in ("report.html", "best/README.md"):
        assert selection["best"] in (run / path).read_text()


def test_engine_trained_on_exactly_our_ids_and_labels(demo: DemoRun, inside: Path) -> None:
    """What Axolotl cached is the prompt masked, and completion and EOS trained, for all rows."""
    from datasets import load_from_disk

    tokenizer = AutoTokenizer.from_pretrained("models/tiny-base")
    expected: set[tuple[str, ...]] = set()
    for line in Path("data/tiny/train.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompt = render_prompt(row["instruction"], row["input"]).rstrip()
        expected.add((prompt, "\n" + render_completion(row["code"], row["output"]) + "</s>"))
    found = set()
    caches = [Path(folder) for folder, _, names in os.walk("data/tiny/prepared")
              if "dataset_info.json" in names]  # fmt: skip
    for cache in caches:
        for item in load_from_disk(str(cache)):
            first = next(i for i, label in enumerate(item["labels"]) if label != -100)
            assert item["labels"][first:] == item["input_ids"][first:]
            assert item["input_ids"][0] == tokenizer.bos_token_id
            parts = [item["input_ids"][1:first], item["input_ids"][first:]]
            found.add(tuple(tokenizer.decode(part) for part in parts))
    assert expected <= found


def test_demo_says_what_it_did(demo: DemoRun) -> None:
    assert f"{TRAINING_ROWS} training and 144 validation rows" in demo.printed
    assert "65,536 trained parameters" in demo.printed
    asked = demo.printed.split("12. ask it something nobody trained on")[1]
    assert "def " in asked and ">>> " in asked and "'answer'" in asked
