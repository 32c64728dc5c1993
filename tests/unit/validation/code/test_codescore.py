"""codescore: test rows of a recipe or pairs made elsewhere; intervals, agreement, what is kept."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

import cogex
from tests.unit.conftest import WriteAdapter
from tests.unit.judge_server import Server
from tests.unit.tiny_encoder import write_encoder
from tools.errors import UserError
from tools.files import write_jsonl
from tools.recipe import Recipe, read_recipe
from validation.code import codescore as module
from validation.code.codejudge import Verdict
from validation.code.codescore import Metrics, agreement, bootstrap, codescore, codescore_pairs

ROOT = Path(__file__).parents[4]
REFERENCE = "def add(a, b):\n    return a + b"
PAIRS = [
    {"candidate": REFERENCE, "reference": REFERENCE, "instruction": "Add."},
    {
        "candidate": "def add(a, b):\n    return a - b",
        "reference": REFERENCE,
        "instruction": "Add.",
    },
    {"candidate": "", "reference": REFERENCE, "instruction": "Add."},
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def metrics(
    encoder: Path, url: str, names: str = "codebertscore,codejudge", budget: int = 10**6
) -> Metrics:
    return module.make_metrics(
        names,
        encoder=str(encoder),
        layer=2,
        base_url=url,
        judge_model="judge",
        budget=budget,
        concurrency=4,
        console=Console(quiet=True),
    )


def pairs_file(folder: Path, pairs: list[dict[str, Any]] = PAIRS) -> Path:
    write_jsonl(folder / "made.jsonl", pairs)
    return folder / "made.jsonl"


# pairs made elsewhere


def test_pairs_are_scored_by_both(tmp_path: Path, encoder: Path, server: Server) -> None:
    result = codescore_pairs(pairs_file(tmp_path), metrics(encoder, server.url("honest")), None)
    scored = result["models"]["made"]
    assert scored["codejudge"]["score"] == pytest.approx(1 / 3)
    lines = [json.loads(line) for line in (tmp_path / "codescore-made/made.jsonl").open()]
    f1 = [line["codebertscore"]["f1"] for line in lines]
    assert f1[0] == pytest.approx(1, abs=1e-6) and 0 < f1[1] < 1 and f1[2] == 0
    assert scored["codebertscore"]["f1"] == pytest.approx(sum(f1) / 3)
    assert [line["codejudge"]["status"] for line in lines] == ["correct", "incorrect", "incorrect"]
    assert scored["agreement"]["auc"] == 1.0
    assert json.loads((tmp_path / "codescore-made/codescore.json").read_text()) == result


def test_the_seeds_scale_stands_beside_the_papers(
    tmp_path: Path, encoder: Path, server: Server
) -> None:
    chosen = metrics(encoder, server.url("honest"), "codebertscore")
    bert = codescore_pairs(pairs_file(tmp_path), chosen, None)["models"]["made"]["codebertscore"]
    assert bert["f1_rescaled"] == pytest.approx(2 * bert["f1"] - 1)


def test_an_answer_that_no_file_takes_is_written_all_the_same(
    tmp_path: Path, server: Server
) -> None:
    chosen = metrics(Path(), server.url("surrogate"), "codejudge")
    result = codescore_pairs(pairs_file(tmp_path), chosen, None)
    assert result["models"]["made"]["codejudge"]["unparseable"] == 2
    asked = server.requests("surrogate")
    assert codescore_pairs(pairs_file(tmp_path), chosen, None) == result
    assert server.requests("surrogate") == asked  # it was kept


def test_only_the_first_pairs_are_scored(tmp_path: Path, encoder: Path, server: Server) -> None:
    chosen = metrics(encoder, server.url("honest"), "codebertscore")
    result = codescore_pairs(pairs_file(tmp_path), chosen, 2)
    assert result["models"]["made"]["pairs"] == result["pairs"]["rows"] == 2
    assert "codejudge" not in result["models"]["made"]


def test_scores_that_are_kept_are_not_made_again(
    tmp_path: Path, encoder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, chosen = pairs_file(tmp_path), metrics(encoder, server.url("honest"))
    first = codescore_pairs(file, chosen, None)
    asked = server.requests("honest")
    monkeypatch.setattr(module, "score_pairs", None)  # calling it would fail
    assert codescore_pairs(file, chosen, None) == first
    assert server.requests("honest") == asked


def test_scores_of_another_encoder_are_made_anew(
    tmp_path: Path, encoder: Path, server: Server
) -> None:
    file = pairs_file(tmp_path)
    chosen = metrics(encoder, server.url("honest"), "codebertscore")
    first = codescore_pairs(file, chosen, None)["models"]["made"]["codebertscore"]["f1"]
    other = module.make_metrics(
        "codebertscore", encoder=str(encoder), layer=1, base_url="", judge_model="", budget=0,
        concurrency=1, console=Console(quiet=True),
    )  # fmt: skip
    assert codescore_pairs(file, other, None)["models"]["made"]["codebertscore"]["f1"] != first


def test_a_damaged_file_of_scores_counts_as_empty(
    tmp_path: Path, encoder: Path, server: Server
) -> None:
    file = pairs_file(tmp_path)
    chosen = metrics(encoder, server.url("honest"), "codebertscore")
    first = codescore_pairs(file, chosen, None)
    kept = tmp_path / "codescore-made/codebertscore.json"
    kept.write_text(kept.read_text().replace('"f1": 0', '"f1": 9'))
    assert codescore_pairs(file, chosen, None) == first


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ({"candidate": "a", "reference": "b"}, "pair 2: missing: instruction; a pair has the"),
        ({"candidate": 1, "reference": "b", "instruction": "c"}, "pair 2: wrong type: candidate"),
        ({"candidate": "\ud800", "reference": "b", "instruction": "c"}, "not UTF-8: candidate"),
        (["candidate"], "pair 2: not an object"),
    ],
)
def test_a_pair_that_cannot_be_read_is_named(tmp_path: Path, pair: Any, says: str) -> None:
    file = tmp_path / "made.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in (PAIRS[0], pair)))
    with pytest.raises(UserError, match=says):
        codescore_pairs(file, Metrics(), None)


# figures


def test_the_interval_is_that_of_the_binomial() -> None:
    low, high = bootstrap([1.0] * 60 + [0.0] * 140)
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert (low, high) == pytest.approx((0.3 - spread, 0.3 + spread), abs=0.006)


def test_the_interval_is_the_same_each_time() -> None:
    assert bootstrap([0.1, 0.5, 0.9]) == bootstrap([0.1, 0.5, 0.9])
    assert bootstrap([0.25]) == [0.25, 0.25]


def test_agreement_is_the_share_of_rows_in_order() -> None:
    f1 = [0.9, 0.5, 0.5, 0.1, 0.99]
    judged = [Verdict("correct"), Verdict("correct"), Verdict("incorrect"), Verdict("incorrect"),
              Verdict("refused")]  # fmt: skip
    found = agreement(f1, judged)
    assert found["auc"] == (1 + 1 + 0.5 + 1) / 4
    assert (found["rows"], found["mean_f1_correct"], found["mean_f1_incorrect"]) == (4, 0.7, 0.3)


def test_agreement_is_unknown_where_all_are_of_one_kind() -> None:
    assert agreement([0.5, 0.4], [Verdict("correct"), Verdict("refused")])["auc"] is None


# a recipe


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    path = ROOT / "recipes/arxivdl-llama3.1-8b-qlora-200.yml"
    values = yaml.safe_load(path.read_text()) | changes
    return Recipe(path, values)


def test_the_test_rows_lie_beside_the_training_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain, augmented = Path("data/arxivdl/200"), Path("data/arxivdl-augmented/200")
    for folder in (plain, augmented):
        write_jsonl(folder / "test.jsonl", [{}])
    recipe = recipe_of(tmp_path)
    assert module.test_path(recipe, False) == plain / "test.jsonl"
    assert module.test_path(recipe, True) == augmented / "test.jsonl"
    recipe.training["path"] = "data/arxivdl-augmented/200/train.jsonl"
    assert module.test_path(recipe, True) == augmented / "test.jsonl"


def test_without_test_rows_the_command_to_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"prepare arxivdl --augmented --out data/arxivdl-aug"):
        module.test_path(recipe_of(tmp_path), True)


def test_a_recipe_of_other_rows_is_refused() -> None:
    recipe = read_recipe(ROOT / "recipes/cogex-tiny.yml")
    with pytest.raises(UserError, match=r"type: prompt_strategies\.cogex.*--pairs"):
        module.test_path(recipe, False)


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
        tmp_path,
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


def test_the_base_writes_from_the_strategys_prompts(
    based: Recipe, encoder: Path, server: Server
) -> None:
    chosen = metrics(encoder, server.url("honest"))
    result = codescore(based, chosen, model="base", subset_size=3)
    assert list(result["models"]) == ["base"]
    assert result["models"]["base"]["pairs"] == result["test"]["rows"] == 3
    lines = [json.loads(line) for line in (based.output_dir / "codescore/base.jsonl").open()]
    assert [line["id"] for line in lines] == ["row-0", "row-1", "row-2"]
    assert lines[2]["candidate"] == "" and lines[2]["codejudge"]["status"] == "incorrect"


def test_candidates_are_kept(
    based: Recipe, encoder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = metrics(encoder, server.url("honest"), "codebertscore")
    first = codescore(based, chosen, model="base", subset_size=2)
    monkeypatch.setattr(module, "generate", None)
    assert codescore(based, chosen, model="base", subset_size=2) == first
    with pytest.raises(TypeError):  # other rows are generated
        codescore(based, chosen, model="base", subset_size=1)


@pytest.fixture
def trained(based: Recipe, write_checkpoint: WriteAdapter) -> Recipe:
    """The recipe with two checkpoints that can be used, and one that cannot."""
    for step in (2, 10, 30):
        write_checkpoint(based.output_dir, step)
    (based.output_dir / "checkpoint-30/adapter_model.safetensors").write_bytes(b"no weights")
    return based


def test_all_models_are_judged_under_one_estimate(trained: Recipe, server: Server) -> None:
    """A budget for one of three models is refused before anything is asked."""
    names, before = ["base", "checkpoint-2", "checkpoint-10"], server.requests("honest")
    small = metrics(Path(), server.url("honest"), "codejudge", budget=10_000)
    with pytest.raises(UserError, match="judging 6 pairs takes up to"):
        codescore(trained, small, model="all", subset_size=2)
    assert server.requests("honest") == before
    result = codescore(trained, metrics(Path(), server.url("honest"), "codejudge"),
                       model="all", subset_size=2)  # fmt: skip
    assert list(result["models"]) == names
    for name in names:
        lines = [json.loads(line) for line in
                 (trained.output_dir / f"codescore/{name}.jsonl").open()]  # fmt: skip
        kept = json.loads((trained.output_dir / f"codescore/candidates/{name}.json").read_text())
        assert [line["candidate"] for line in lines] == kept["candidates"]
        assert result["models"][name]["codejudge"]["pairs"] == 2
    assert [item["name"] for item in result["left_out"]] == ["checkpoint-30"]


def test_candidates_of_another_quantization_are_made_anew(
    based: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    codescore(based, Metrics(), model="base", subset_size=1)
    monkeypatch.setattr(module, "generate", None)
    monkeypatch.setattr(module, "quantization", lambda recipe: {"load_in_8bit": True})
    monkeypatch.setattr(module, "load_base", lambda *_: None)
    with pytest.raises(TypeError):
        codescore(based, Metrics(), model="base", subset_size=1)


def test_without_a_run_there_is_no_checkpoint(based: Recipe) -> None:
    with pytest.raises(UserError, match="there is no such run folder"):
        codescore(based, Metrics(), model="checkpoint-3", subset_size=2)


# the command


def command(*arguments: str) -> Any:
    return CliRunner().invoke(cogex.app, ["codescore", *arguments])


def test_the_command_scores_pairs(tmp_path: Path, encoder: Path, server: Server) -> None:
    done = command(
        "--pairs", str(pairs_file(tmp_path)), "--metrics", "codebertscore,codejudge",
        "--encoder", str(encoder), "--encoder-layer", "2", "--base-url", server.url("honest"),
        "--judge-model", "judge",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 of 3 pairs to be judged by judge, at most" in done.output
    result = json.loads((tmp_path / "codescore-made" / "codescore.json").read_text())
    assert result["models"]["made"]["codejudge"]["correct"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a recipe, or pairs"),
        (["recipes/cogex-tiny.yml", "--pairs", "x"], "name a recipe, or pairs"),
        (["--pairs", "x", "--metrics", "bleu"], "name codebertscore or codejudge"),
        (["--pairs", "x", "--metrics", ""], "name codebertscore or codejudge"),
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
