"""codescore: test rows of a recipe or pairs made elsewhere; intervals, agreement, what is kept."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

import cogex
from tests.openai_server import Reply, Server, completion, judge
from tests.unit.conftest import WriteAdapter
from tests.unit.tiny_encoder import write_encoder
from tools.endpoint import Endpoint
from tools.errors import UserError
from tools.files import write_jsonl
from tools.recipe import Recipe, read_recipe
from validation.code import codescore as module
from validation.code.codejudge import Judge, Judgement
from validation.code.codescore import (
    METRICS,
    Metrics,
    agreement,
    bootstrap,
    codescore,
    codescore_pairs,
)

ROOT = Path(__file__).parents[4]
REFERENCE = "def add(a, b):\n    return a + b"
PAIRS = [
    {"candidate": text, "reference": REFERENCE, "instruction": "Add."}
    for text in (REFERENCE, "def add(a, b):\n    return a - b", "")
]
MakeMetrics = Callable[..., Metrics]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(judge) as running:
        yield running


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def metrics(encoder: Path, server: Server) -> MakeMetrics:
    def make(
        names: str = "codebertscore,codejudge",
        kind: str = "honest",
        layer: int = 2,
        budget: int = 10**6,
    ) -> Metrics:
        return module.make_metrics(
            names,
            encoder=str(encoder),
            layer=layer,
            base_url=server.url(kind),
            judge_model="judge",
            budget=budget,
            concurrency=4,
            console=Console(quiet=True),
        )

    return make


def command(*arguments: str) -> Any:
    return CliRunner().invoke(cogex.app, ["codescore", *arguments])


def pairs_file(folder: Path) -> Path:
    write_jsonl(folder / "made.jsonl", PAIRS)
    return folder / "made.jsonl"


# pairs made elsewhere


def test_the_command_scores_pairs_by_both(tmp_path: Path, encoder: Path, server: Server) -> None:
    done = command(
        "--pairs", str(pairs_file(tmp_path)), "--metrics", "codebertscore,codejudge",
        "--encoder", str(encoder), "--encoder-layer", "2", "--base-url", server.url("honest"),
        "--judge-model", "judge",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 of 3 pairs to be judged by judge, at most" in done.output
    result = json.loads((tmp_path / "codescore-made/codescore.json").read_text())
    scored = result["models"]["made"]
    assert scored["codejudge"]["score"] == pytest.approx(1 / 3)
    lines = [json.loads(line) for line in (tmp_path / "codescore-made/made.jsonl").open()]
    f1 = [line["codebertscore"]["f1"] for line in lines]
    assert f1[0] == pytest.approx(1, abs=1e-6) and 0 < f1[1] < 1 and f1[2] == 0
    assert scored["codebertscore"]["f1"] == pytest.approx(sum(f1) / 3)
    assert scored["codebertscore"]["f1_rescaled"] == pytest.approx(2 * sum(f1) / 3 - 1)
    assert [line["codejudge"]["status"] for line in lines] == ["correct", "incorrect", "incorrect"]
    assert scored["agreement"]["auc"] == 1.0


def test_what_is_kept_is_not_made_again_and_another_layer_is(
    tmp_path: Path, metrics: MakeMetrics, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pairs_file(tmp_path)
    first = codescore_pairs(file, metrics(), None)
    asked = server.requests("honest")
    assert codescore_pairs(file, metrics(), None) == first
    assert server.requests("honest") == asked
    other = codescore_pairs(file, metrics("codebertscore", layer=1), 2)
    assert other["models"]["made"]["pairs"] == other["pairs"]["rows"] == 2
    assert "codejudge" not in other["models"]["made"]
    assert other["references"] == {"codebertscore": METRICS["codebertscore"]}
    assert other["models"]["made"]["codebertscore"] != first["models"]["made"]["codebertscore"]
    monkeypatch.setattr(module, "score_pairs", lambda _, pairs: {0: []}[len(pairs)])
    assert codescore_pairs(file, metrics(), None) == first


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ({"candidate": "a", "reference": "b"}, "pair 2: missing: instruction; a pair has the"),
        ({"candidate": 1, "reference": "b", "instruction": "c"}, "pair 2: wrong type: candidate"),
        ({"candidate": "\ud800", "reference": "b", "instruction": "c"}, "not UTF-8: candidate"),
    ],
)
def test_a_pair_that_cannot_be_read_is_named(tmp_path: Path, pair: Any, says: str) -> None:
    file = tmp_path / "made.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in (PAIRS[0], pair)))
    with pytest.raises(UserError, match=says):
        codescore_pairs(file, Metrics(), None)


# figures


def test_the_interval_is_that_of_the_binomial() -> None:
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    found = bootstrap([1.0] * 60 + [0.0] * 140)
    assert found == pytest.approx([0.3 - spread, 0.3 + spread], abs=0.006)
    assert found == bootstrap([1.0] * 60 + [0.0] * 140)
    assert bootstrap([0.25]) == [0.25, 0.25]


def test_agreement_is_the_share_of_rows_in_order() -> None:
    kinds = ("correct", "correct", "incorrect", "incorrect", "refused")
    found = agreement([0.9, 0.5, 0.5, 0.1, 0.99], [Judgement(kind) for kind in kinds])
    assert found["auc"] == (1 + 1 + 0.5 + 1) / 4
    assert (found["rows"], found["mean_f1_correct"], found["mean_f1_incorrect"]) == (4, 0.7, 0.3)
    assert agreement([0.5, 0.4], [Judgement("correct"), Judgement("refused")])["auc"] is None


def test_a_score_with_nothing_judged_is_no_zero(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "made.jsonl", PAIRS[:2])
    with Server(lambda _, body: Reply(completion(body, "<think>Is it?"))) as server:
        done = command(
            "--pairs", str(tmp_path / "made.jsonl"), "--metrics", "codejudge",
            "--base-url", server.url(), "--judge-model", "judge",
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "0 of 2" in done.output and "0.000" not in done.output
    assert "made: 2 not judged: unparseable: reasoning alone: no answer follows it" in done.output
    result = json.loads((tmp_path / "codescore-made/codescore.json").read_text())
    judged = result["models"]["made"]["codejudge"]
    assert (judged["score"], judged["interval"], judged["judged"]) == (None, None, 0)


# a recipe


def recipe_of(**changes: Any) -> Recipe:
    path = ROOT / "recipes/arxivdl-llama3.1-8b-qlora-200.yml"
    return Recipe(path, yaml.safe_load(path.read_text()) | changes)


def test_the_test_rows_lie_beside_the_training_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain, augmented = Path("data/arxivdl/200"), Path("data/arxivdl-augmented/200")
    recipe = recipe_of()
    with pytest.raises(UserError, match=r"prepare arxivdl --augmented --out data/arxivdl-aug"):
        module.test_path(recipe, True)
    for folder in (plain, augmented):
        write_jsonl(folder / "test.jsonl", [{}])
    assert module.test_path(recipe, False) == plain / "test.jsonl"
    assert module.test_path(recipe, True) == augmented / "test.jsonl"
    recipe.training["path"] = "data/arxivdl-augmented/200/train.jsonl"
    assert module.test_path(recipe, True) == augmented / "test.jsonl"
    with pytest.raises(UserError, match=r"type: prompt_strategies\.cogex.*--pairs"):
        module.test_path(read_recipe(ROOT / "recipes/cogex-tiny.yml"), False)


@pytest.fixture
def based(tmp_path: Path, tiny_base: Path) -> Recipe:
    """A recipe of ArXivDLInstruct on the tiny random base, with three test rows."""
    rows = [
        {"id": f"row-{index}", "instruction": f"Add {index}.", "input": "", "output": REFERENCE}
        for index in range(3)
    ]
    rows[2]["instruction"] = "word " * 500  # fills the context
    write_jsonl(tmp_path / "data/200/test.jsonl", rows)
    data = {"path": str(tmp_path / "data/200/train.jsonl"), "type": "prompt_strategies.arxivdl"}
    return recipe_of(
        base_model=str(tiny_base),
        adapter="lora",
        lora_r=4,  # as `write_checkpoint` has it, and the next two
        lora_alpha=8,
        lora_target_modules=["q_proj", "v_proj"],
        load_in_4bit=False,
        sequence_len=200,
        datasets=[data],
        output_dir=str(tmp_path / "run"),
    )


def test_the_base_writes_from_the_strategys_prompts_and_what_it_wrote_is_kept(
    based: Recipe, metrics: MakeMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = codescore(based, metrics(), model="base", subset_size=3)
    assert list(result["models"]) == ["base"]
    assert result["models"]["base"]["pairs"] == result["test"]["rows"] == 3
    lines = [json.loads(line) for line in (based.output_dir / "codescore/base.jsonl").open()]
    assert [line["id"] for line in lines] == ["row-0", "row-1", "row-2"]
    assert lines[0]["candidate"]
    assert lines[2]["candidate"] == "" and lines[2]["codejudge"]["status"] == "incorrect"
    monkeypatch.setattr(module, "generate", None)  # calling it would fail
    assert codescore(based, metrics(), model="base", subset_size=3) == result
    with pytest.raises(TypeError):
        codescore(based, Metrics(), model="base", subset_size=1)
    monkeypatch.setattr(module, "quantization", lambda recipe: {"load_in_8bit": True})
    monkeypatch.setattr(module, "load_base", lambda *_: None)
    with pytest.raises(TypeError):
        codescore(based, Metrics(), model="base", subset_size=3)


def test_all_models_are_judged_under_one_estimate(
    based: Recipe, write_checkpoint: WriteAdapter, metrics: MakeMetrics, server: Server
) -> None:
    """A budget for one of three models is refused before anything is asked."""
    with pytest.raises(UserError, match="there is no such run folder"):
        codescore(based, Metrics(), model="checkpoint-3", subset_size=2)
    for step in (2, 10, 30):
        write_checkpoint(based.output_dir, step)
    (based.output_dir / "checkpoint-30/adapter_model.safetensors").write_bytes(b"no weights")
    before = server.requests("honest")
    with pytest.raises(UserError, match="judging 6 pairs takes up to"):
        codescore(based, metrics("codejudge", budget=10_000), model="all", subset_size=2)
    away = Judge(Endpoint("http://127.0.0.1:9/v1", "judge"), 10**6)
    with pytest.raises(UserError, match="no server answers"):
        codescore(based, Metrics(judge=away), model="all", subset_size=2)
    assert not (based.output_dir / "codescore").exists()  # before anything is generated
    assert server.requests("honest") == before
    result = codescore(based, metrics("codejudge"), model="all", subset_size=2)
    assert list(result["models"]) == ["base", "checkpoint-2", "checkpoint-10"]
    written = set()
    for name, model in result["models"].items():
        assert model["codejudge"]["pairs"] == 2
        lines = (based.output_dir / f"codescore/{name}.jsonl").read_text().splitlines()
        written.add(tuple(json.loads(line)["candidate"] for line in lines))
    assert len(written) == 3  # each has written its own
    assert [item["name"] for item in result["left_out"]] == ["checkpoint-30"]


def test_best_and_any_adapter_write_in_place_of_a_checkpoint(
    based: Recipe, write_checkpoint: WriteAdapter, metrics: MakeMetrics, tmp_path: Path
) -> None:
    for step in (2, 10):
        write_checkpoint(based.output_dir, step)
    with pytest.raises(UserError, match=r"run/best: is no folder here, and the hub does not"):
        codescore(based, metrics("codebertscore"), model="best", subset_size=2)
    shutil.copytree(based.output_dir / "checkpoint-10", based.output_dir / "best")
    shutil.copytree(based.output_dir / "checkpoint-2", tmp_path / "elsewhere")

    def scored(**asked: Any) -> dict[str, Any]:
        result = codescore(based, metrics("codebertscore"), subset_size=2, **asked)
        return dict(result["models"])

    of_run = scored(model="all")
    assert scored(model="best") == {"best": of_run["checkpoint-10"]}
    assert scored(model="all", adapter=str(tmp_path / "elsewhere")) == {
        "elsewhere": of_run["checkpoint-2"]
    }
    (tmp_path / "elsewhere/adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"elsewhere: holds no adapter_config.json"):
        scored(model="all", adapter=str(tmp_path / "elsewhere"))


def test_more_rows_than_there_are_is_an_error(based: Recipe, metrics: MakeMetrics) -> None:
    with pytest.raises(UserError, match=r"--subset-size 4: .*test.jsonl has 3 rows"):
        codescore(based, metrics("codebertscore"), model="base", subset_size=4)
    result = codescore(based, metrics("codebertscore"), model="base")
    assert result["test"]["rows"] == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a recipe, or pairs"),
        (["--pairs", "x", "--metrics", "bleu"], "name codebertscore or codejudge"),
        (["--pairs", "x", "--metrics", "codejudge"], "put your key in OPENAI_API_KEY"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = command(*arguments)
    assert isinstance(done.exception, UserError) and says in str(done.exception)
