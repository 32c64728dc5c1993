"""Times the tokenising of COGEX rows: ours, Axolotl's built-in `alpaca`, and TRL's SFTTrainer.

    python -m benchmarks.tokenising [--rows 52000]

Two real vocabularies of the packages at hand: SentencePiece with 32,000 pieces (Llama-2's kind) and
a tiktoken-style one of 128,000 (Llama-3's). The rows are `benchmarks.made_cogex`. Each contestant
runs in a process of its own with all cores, its default way of using them: `axolotl preprocess`
with the recipe's strategy, the same with `type: alpaca`, and the preparation that SFTTrainer does
of a prompt-completion dataset with `dataset_num_proc` at the number of cores.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.made_cogex import cogex_rows, write_array
from prompt_strategies.layout import render_completion, render_prompt
from tests import real_tokenizers
from tools.models import load_tokenizer
from tools.prepare import prepare_cogex
from tools.rows import read_rows

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT),
}  # fmt: skip
CONTESTANTS = ("ours", "Axolotl alpaca", "TRL")


def main(rows: Annotated[int, typer.Option(help="Rows in all.")] = 52_000) -> None:
    """Make rows and tokenizers, time the three with each, print the tables."""
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        make_data(rows)
        for kind in ("sentencepiece", "tiktoken"):
            make_base(kind)
            console.print(f"{kind}: {describe_lengths(kind)}")
            console.print(compare(kind))
        os.chdir(ROOT)


def make_data(rows: int) -> None:
    """Write the rows in the forms that the three read."""
    write_array(Path("data.json"), cogex_rows(rows))
    prepare_cogex(Path("data.json"), Path("data"), val_size=rows // 26)
    for split in ("train", "val"):
        prepared = read_rows(Path(f"data/{split}.jsonl"))
        with Path(f"data/{split}-alpaca.jsonl").open("w") as alpaca:
            for row in prepared:
                output = render_completion(row["code"], row["output"])
                fields = {key: row[key] for key in ("instruction", "input")} | {"output": output}
                alpaca.write(json.dumps(fields) + "\n")
        with Path(f"data/{split}-trl.jsonl").open("w") as trl:
            for row in prepared:
                pair = {
                    "prompt": render_prompt(row["instruction"], row["input"]),
                    "completion": render_completion(row["code"], row["output"]),
                }
                trl.write(json.dumps(pair) + "\n")


def make_base(kind: str) -> None:
    """Make a model folder with the tokenizer and the smallest Llama beside it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(kind)
    folder.mkdir()
    if kind == "tiktoken":
        real_tokenizers.TIKTOKEN_SIZE = 128_000
        tokenizer: Any = real_tokenizers.build_tiktoken(folder)
    else:
        tokenizer = real_tokenizers.build_llama2_hub(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=2048,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def describe_lengths(kind: str) -> str:
    """Say the lengths of the rows in tokens."""
    tokenizer = load_tokenizer(f"./{kind}")
    texts = [
        render_prompt(row["instruction"], row["input"])
        + render_completion(row["code"], row["output"])
        for row in read_rows(Path("data/train.jsonl"))[:5000]
    ]
    lengths = sorted(map(len, tokenizer(texts)["input_ids"]))
    characters = statistics.median(map(len, texts))
    return (
        f"median {statistics.median(lengths):.0f} tokens ({characters:.0f} characters), "
        f"95th percentile {lengths[len(lengths) * 95 // 100]}, maximum {lengths[-1]}"
    )


def compare(kind: str) -> Table:
    """Run each contestant; return the table."""
    results = {name: run(name, kind) for name in CONTESTANTS}
    table = Table("", "rows", "tokenising, s", "rows a second", "whole, s")
    for name, result in results.items():
        rate = result["rows"] / result["tokenising"]
        table.add_row(
            name, f"{result['rows']:,}", f"{result['tokenising']:.1f}", f"{rate:,.0f}",
            f"{result['whole']:.1f}",
        )  # fmt: skip
    ours, *others = (results[name] for name in CONTESTANTS)
    fastest = min(other["tokenising"] for other in others)
    whole = min(other["whole"] for other in others)
    table.caption = (
        f"ours beside the faster of the others: tokenising {fastest / ours['tokenising']:.2f} "
        f"times as fast, the whole {whole / ours['whole']:.2f} times"
    )
    return table


def run(contestant: str, kind: str) -> dict[str, float]:
    """Time one contestant; return its rows, seconds of tokenising, and seconds in all."""
    number = CONTESTANTS.index(contestant)
    command = [sys.executable, "-m", "benchmarks.tokenising_run"]
    if contestant == "TRL":
        command += ["trl", kind]
    else:
        recipe = Path(f"{kind}-{number}.yml")
        recipe.write_text(yaml.safe_dump(_recipe(contestant, kind, f"prepared-{kind}-{number}")))
        command += ["axolotl", str(recipe)]
    start = time.perf_counter()
    done = subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stdout[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"whole": whole}


def _recipe(contestant: str, kind: str, prepared: str) -> dict[str, Any]:
    ending, strategy = ("", "prompt_strategies.cogex")
    if contestant == "Axolotl alpaca":
        ending, strategy = ("-alpaca", "alpaca")
    values = yaml.safe_load((ROOT / "recipes" / "cogex-llama2-7b.yml").read_text())
    for key in ("deepspeed", "special_tokens", "tf32", "plugins", "auto_resume_from_checkpoints"):
        values.pop(key)
    values["datasets"][0] |= {"path": f"data/train{ending}.jsonl", "type": strategy}
    values["test_datasets"][0] |= {"path": f"data/val{ending}.jsonl", "type": strategy}
    return values | {
        "base_model": f"./{kind}", "bf16": False, "dataset_prepared_path": prepared,
        "output_dir": f"out-{prepared}", "special_tokens": {"pad_token": "<unk>"}
        if kind == "sentencepiece" else {},
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
