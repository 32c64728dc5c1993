"""The report says what is known, what is not, and obeys nothing that rows or models hold."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_run import ROOT, RUN, make_run
from tools.errors import UserError
from tools.files import sha256
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import declared_strategy
from tools.recipe import Recipe, read_recipe
from validation.check.measures import labels
from validation.report.report import PAPER, PAPER_BASES, report

HOSTILE = "</script><script>alert(1)</script>\x00\u202e&<b onclick='x'>" + "long" * 2000


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text without style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(html)
        self.text = " ".join("".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.parts.append(" ")  # where cells and blocks begin

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report(make_run(folder))
    return folder


@pytest.fixture(scope="module")
def html(made: Path) -> str:
    return (made / RUN / "report.html").read_text()


@pytest.fixture
def recipe(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """The recipe of a copy of the run, in the working folder."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    yield read_recipe(Path("recipe.yml"))


def page(recipe: Recipe) -> Page:
    return Page(report(recipe).read_text())


def edit(name: str, change: dict[str, Any]) -> None:
    path = RUN / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def edit_generation(change: dict[str, Any]) -> None:
    """Change the first generation, which is shown."""
    path = RUN / "generations.jsonl"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(first) | change) + "\n" + rest)


# ------------------------------------------------------------------------------ what is there


def test_figures_of_the_run_are_on_the_page(html: str, made: Path) -> None:
    selection = json.loads((made / RUN / "selection.json").read_text())
    [best] = [x for x in selection["checkpoints"] if x["name"] == selection["best"]]
    text = Page(html).text
    assert f"{best['perplexity']:.4f} validation perplexity of {best['name']}" in text
    assert f"{selection['base']['perplexity']:.4f} perplexity of the base" in text
    assert "83.3% of 12 held-out answers are exactly right" in text  # 10 of 12
    assert "0 fail of 13 checks of the training log" in text
    assert "52 of 52 steps of 32 examples, 5 epochs" in text


def test_each_picture_has_a_name_and_its_numbers(html: str) -> None:
    found = re.findall(
        r"<figure>\s*<svg role=\"img\" aria-label=\"[^\"]+\".*?</figure>", html, re.S
    )
    assert len(found) == html.count("<svg") == 4
    assert all("<details><summary>The numbers" in figure for figure in found)
    assert "The numbers, 25 of 26 logs evenly spaced" in Page(found[1]).text
    assert "328 training rows: median 170 tokens" in Page(found[3]).text


def test_both_modes_stand_beside_each_other(html: str) -> None:
    row = re.search(r"<tr><th scope=\"row\">answer equals the reference.*?</tr>", html, re.S)
    assert row
    interval = "83.3% (55 to 95)"
    assert Page(row[0]).text == f"answer equals the reference {interval} {interval} 100.0%"
    assert Page(html).text.count("91.7% (65 to 99) ≥ 99%: not met") == 2  # ends by EOS


def test_the_base_stands_beside_it(recipe: Recipe, html: str) -> None:
    """Of several checks of the base the like one; never one on other rows."""
    assert "The base was not checked: cogex check recipe.yml --model base" in Page(html).text
    content = json.loads((RUN / "check.json").read_text()) | {"model": "base"}
    content["measures"]["answer_exact"]["count"] = 3
    few = {"rows": 5, "partial": "5 of 12 rows"}
    for name, change in {
        "": {}, "-5-rows": few, "-other": {"validation_sha256": "other", "partial": "", "rows": 99},
    }.items():  # fmt: skip
        (RUN / f"check-base{name}.json").write_text(json.dumps(content | change))
    text = page(recipe).text
    assert "answer equals the reference 83.3% (55 to 95) 83.3% (55 to 95) 25.0% (55 to 95)" in text
    assert "was asked in the same way. " in text
    (RUN / "check-base.json").unlink()
    assert "was asked otherwise: 5 of 12 rows." in page(recipe).text


def test_searches_are_shown_with_their_intervals(recipe: Recipe, html: str) -> None:
    assert "Which programs solve" not in html
    (RUN / "search/coin").mkdir(parents=True)
    tested = {"right": 3, "rows": 4, "interval_95": [0.3, 0.95]}
    found = {"task": {"name": "coin"}, "test": {"cotacs_k3": tested}}
    (RUN / "search/coin/programs.json").write_text(json.dumps(found))
    assert "coin CoTACS, k = 3 3 of 4, 75.0% (30 to 95)" in page(recipe).text
    found["task"]["lengths"], tested["by_row"] = [2, 2, 3, 3], "1110"  # type: ignore[index]
    (RUN / "search/coin/programs.json").write_text(json.dumps(found))
    spread = {"mean": 0.5, "deviation": 0.1}
    point = {
        "criterion": "mean",
        "candidates": 9,
        "dev_rows": 8,
        "accuracy": spread,
        "rank": spread,
    }
    points = [point, point | {"criterion": "lower"}, point | {"criterion": "together"}]
    swept = {"draws": 20, "points": points, "conclusions": ["10 to 40 candidates: +1.0 points"]}
    (RUN / "search/coin/sweep.json").write_text(json.dumps(swept))
    text = page(recipe).text
    assert "coin: right answers by the length of the test rows." in text
    assert "coin, fewer candidates or dev rows, 20 draws each: 10 to 40 candidates: +1.0" in text


def test_time_memory_and_machine_of_each_launch(recipe: Recipe, html: str) -> None:
    assert "Not recorded: the run was made with an earlier release." in Page(html).text
    launches = [
        {"started": "2026-11-28T08:00:00Z", "machine": "A, 2 cores", "step": 0},
        {"started": "2026-11-28T09:00:00Z", "machine": "B, 4 cores", "step": 11,
         "ended": "2026-11-28T09:30:00Z", "memory_gib": 2.25, "gpu_memory_gib": 17.5},
    ]  # fmt: skip
    record = {"recipe": {}, "files": {}, "facts": {}, "versions": {}, "launches": launches}
    (RUN / "run.json").write_text(json.dumps(record))
    state = json.loads((RUN / "trainer_state.json").read_text())
    state["log_history"].append({"step": 52, "train_runtime": 164.0})
    (RUN / "trainer_state.json").write_text(json.dumps(state))
    text = page(recipe).text
    assert re.search("2026-11-28T08:00:00Z 0 not known . A, 2 cores", text)
    assert "2.2 GiB, 17.5 GiB of the first GPU B, 4 cores" in text
    assert "trained 41 steps of 32 examples in 164 seconds" in text and ": 8 examples a s" in text


def test_hashes_are_those_of_the_files(html: str, made: Path) -> None:
    for name in ("recipe.yml", "data/train.jsonl", "data/data.json",
                 f"{RUN}/best/adapter_model.safetensors"):  # fmt: skip
        assert sha256(made / name) in html


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_the_checkout_is_named(recipe: Recipe) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "recipe.yml"], check=True)
    subprocess.run([*git, "commit", "-qm", "recipe"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    recipe.path.write_text(recipe.path.read_text() + "\n")
    assert f"{commit.strip()} with local changes" in page(recipe).text


def test_same_run_gives_the_same_bytes_where_it_is_asked_to(recipe: Recipe, html: str) -> None:
    (RUN / "report.html").unlink()
    assert report(recipe, Path("pages/a.html")) == Path("pages/a.html")
    assert Path("pages/a.html").read_text() == html
    assert not (RUN / "report.html").exists()


# ------------------------------------------------------------------------------ generations


def test_right_and_wrong_generations_evenly_spaced(html: str, made: Path) -> None:
    """Ten are right, the third and the fourth wrong."""
    rows = [json.loads(x) for x in (made / RUN / "generations.jsonl").read_text().splitlines()]
    shown = re.findall(r"<summary><code>([^<]+)</code>: answer", html)
    assert shown == [rows[index]["id"] for index in (0, 2, 3, 4, 6, 8, 10)]
    assert html.count('answer <span class="fail">wrong') == 2


def test_program_call_and_output_stand_beside_their_references(recipe: Recipe) -> None:
    edit_generation(
        {
            "generated": "def f():\n    return 1\n\n>>> f()\n### Output\n{'answer': 1}",
            "reference": "def f():\n    return 1\n\n>>> f(2)\n### Output\n{'answer': 2}",
        }
    )
    text = page(recipe).text
    assert "program, reference: the same def f(): return 1" in text
    assert "call, written by the model >>> f() call, reference >>> f(2)" in text
    assert "output, written by the model {'answer': 1} output, reference {'answer': 2}" in text


def test_trained_text_is_told_from_masked(recipe: Recipe, html: str) -> None:
    """The first four marked blocks are the prompt and the references of the first row."""
    marks = [attrs["class"] for tag, attrs in Page(html).tags if tag == "pre" and attrs]
    assert marks[:4] == ["masked", "trained", "trained", "trained"]
    recipe.training["roles_to_train"] = ["output"]
    marks = [attrs["class"] for tag, attrs in page(recipe).tags if tag == "pre" and attrs]
    assert marks[:4] == ["masked", "masked", "masked", "trained"]


def test_hostile_text_is_shown_as_text(recipe: Recipe, html: str) -> None:
    edit_generation(dict.fromkeys(("id", "instruction", "input", "generated"), HOSTILE))
    written = report(recipe).read_text()
    found = Page(written)
    assert found.count("script") == 0 and found.count("b") == 0
    assert not re.search("[\x00\u202e]", written)
    assert found.text.count("<script>alert(1)</script>\\x00\\u202e&<b onclick='x'>longlong") == 4
    assert written.count("<") == html.count("<")


# ------------------------------------------------------------------------------ the page itself


def test_page_loads_and_runs_nothing(html: str) -> None:
    found = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "image"} & {x for x, _ in found.tags}
    attributes = {name for _, attrs in found.tags for name in attrs}
    assert not {"src", "srcset", "onclick", "onload"} & attributes
    links = {attrs["href"] for tag, attrs in found.tags if tag == "a"}
    assert links == {"https://arxiv.org/abs/2405.16337"}
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) == {"#"}  # inside the pictures
    assert "default-src 'none'" in html


def test_every_colour_of_the_page_is_for_light_and_dark(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]
    paired = re.findall(r"light-dark\(#[0-9a-f]{6}, #[0-9a-f]{6}\)", style)
    assert len(re.findall(r"#[0-9a-f]{6}", style)) == 2 * len(paired) > 0


# ------------------------------------------------------------------------------ what is not there


def without_files() -> None:
    for path in ("selection.json", "check.json", "generations.jsonl", "trainer_state.json"):
        (RUN / path).unlink()
    for path in (*RUN.glob("*/trainer_state.json"), Path("data/manifest.json")):
        path.unlink()
    Path("data/train.jsonl").unlink()


def with_the_state_of_step_11() -> None:
    shutil.copy(RUN / "checkpoint-11" / "trainer_state.json", RUN)


def with_fewer_validation_rows() -> None:
    val = Path("data/val.jsonl")
    val.write_text(val.read_text().split("\n", 1)[1])


def with_a_check_that_names_no_model() -> None:
    content = json.loads((RUN / "check.json").read_text())
    del content["model_sha256"]
    (RUN / "check.json").write_text(json.dumps(content))


def with_the_manifest_of_a_corpus() -> None:
    written = {"format": "code", "sha256": {}, "documents": {"train": 3}}
    Path("data/manifest.json").write_text(json.dumps(written))


SAID: dict[Callable[[], None], list[str]] = {
    without_files: [
        f"There is no log of training in {RUN}",
        "No checkpoint is chosen yet: cogex select recipe.yml",
        "programs? Not measured: cogex check recipe.yml",
        "Nothing generated yet: cogex check recipe.yml",
        "there is no manifest.json beside the training rows",
        "training rows was not measured: data/train.jsonl: there is no such file",
    ],
    lambda: edit("check.json", {"emulator": None, "collapse": {}, "emulation": None}): [
        "Emulator mode was not measured: cogex check recipe.yml",
        "Mode collapse Not measured: cogex check recipe.yml",
        "Not measured as reasoner: cogex check recipe.yml",
    ],
    with_the_state_of_step_11: [
        "Training is not finished: the log stops at step 11.",
        "As reasoner, 0 of 12 programs are complete: nothing to verify.",
    ],
    with_fewer_validation_rows: [
        "The checkpoints were scored on other rows than data/val.jsonl holds now",
        "The check was made on other rows than data/val.jsonl holds now",
        "data/val.jsonl is not the file that `cogex prepare` wrote",
    ],
    with_a_check_that_names_no_model: ["check.json is of another model than best/ holds now"],
    with_the_manifest_of_a_corpus: [],
}


@pytest.mark.parametrize(("change", "sentences"), SAID.items())
def test_what_is_missing_or_stale_is_said(
    recipe: Recipe, change: Callable[[], None], sentences: list[str], html: str
) -> None:
    change()
    text = page(recipe).text
    assert [sentence for sentence in sentences if sentence not in text] == []
    assert "holds now" not in html and "is not the file" not in html  # of the run as it was
    if change is with_the_manifest_of_a_corpus:
        for words in ("split with seed", "there is no manifest.json", "the rows' source"):
            assert words not in text


def test_check_of_another_model_is_left_out(recipe: Recipe, html: str) -> None:
    """A config that differs alone makes another model: its alpha may."""
    assert "another model" not in html and "answers are exactly right" in html
    config = RUN / "best" / "adapter_config.json"
    config.write_text(config.read_text() + "\n")
    text = page(recipe).text
    assert "check.json is of another model than best/ holds now" in text
    assert "`cogex check recipe.yml`" in text
    assert "answers are exactly right" not in text and "Nothing generated yet" in text
    card = (RUN / "best" / "README.md").read_text()
    assert "check.json is of another model" in card and "answer equals the reference" not in card


def test_partial_check_is_shown_as_one_and_only_where_there_is_no_whole(
    recipe: Recipe, html: str
) -> None:
    whole, part = RUN / "check.json", RUN / "check-3-rows-reasoner.json"
    content = json.loads(whole.read_text())
    content |= {"partial": "3 of 12 rows, reasoner alone", "rows": 3, "emulator": None}
    part.write_text(json.dumps(content))
    lines = (RUN / "generations.jsonl").read_text().splitlines(keepends=True)
    (RUN / "generations-3-rows-reasoner.jsonl").write_text("".join(lines[:3]))
    (RUN / "check-1-rows.json").write_text(json.dumps(content | {"rows": 1, "partial": "1 of 12"}))
    assert page(recipe).text == Page(html).text
    (RUN / "check-base.json").write_text(json.dumps(content | {"model": "base", "partial": ""}))
    whole.unlink()
    text, card = page(recipe).text, (RUN / "best" / "README.md").read_text()
    assert "A partial check: 3 of 12 rows, reasoner alone. These are not the figures" in text
    assert "3 of 3 generations" in text
    assert "answers are exactly right" not in text and "the thresholds of cogex check" not in text
    assert "only a partial check was made, 3 of 12 rows, reasoner alone; the table" in card
    del content["partial"]  # as an earlier version wrote it
    whole.write_text(json.dumps(content))
    assert "A partial check: of an unknown number of rows." in page(recipe).text
    whole.unlink()
    for path in (part, RUN / "check-1-rows.json"):  # of what best/ held before
        path.write_text(json.dumps(content | {"model_sha256": {}}))
    assert "programs? Not measured: cogex check recipe.yml" in page(recipe).text


@pytest.mark.parametrize(
    ("kind", "row", "parts"),
    [
        ("nl_plan", {"generated": "# Step 1: Go\n### Output\n{}"}, ["plan", "output"]),
        ("alpaca", {"generated": "Yes."}, ["answer"]),
        ("code", {"generated": "    return x", "prompt": "def f(x):\n"}, ["solution"]),
    ],
)
def test_other_tasks_are_shown_by_their_own_parts_and_measures(
    recipe: Recipe, kind: str, row: dict[str, str], parts: list[str]
) -> None:
    strategy = f"prompt_strategies.{kind}"
    recipe.validation["type"] = recipe.training["type"] = strategy
    content = json.loads((RUN / "check.json").read_text())
    declared = declared_strategy(recipe, recipe.validation)
    assert declared is not None
    names, share = labels(declared.task), content["measures"]["answer_exact"]
    content |= {"task": declared.task, "emulator": None}
    content |= {"measures": dict.fromkeys(names, share), "emulation": None}
    (RUN / "check.json").write_text(json.dumps(content))
    edit_generation(row | {"reference": row["generated"], "holds": {"answer_exact": True}})
    found = page(recipe)
    for label in names.values():
        assert f"{label} 83.3% (55 to 95) 100.0%" in found.text
    for part in parts:
        assert f"{part}, reference: the same" in found.text
    for words in ("reasoner", "emulator", "Verified emulation", "call and emulate"):
        assert words not in found.text
    assert row.get("prompt", "Instruction") in "".join(found.parts)
    card = (RUN / "best" / "README.md").read_text()
    assert "reasoner" not in card and f"| {names['answer_exact']} | 83.3% | 100.0% |" in card


def test_no_run_folder_is_an_error(recipe: Recipe) -> None:
    shutil.rmtree(RUN)
    with pytest.raises(UserError, match=r"outputs/made: there is no such run folder; train"):
        report(recipe)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("check.json", "{", "check.json: is not JSON; run `cogex check recipe.yml` again"),
        ("check.json", "[" * 9999, "check.json: is not JSON"),
        ("check.json", '{"model": "\\ud800"}', "check.json: is not JSON"),
        ("check.json", "[]", "check.json: it: Input should be a valid dictionary"),
        ("check.json", '{"rows": "many"}', "check.json: rows: Input should be a valid integer"),
        ("selection.json", "{}", "selection.json: criterion: Field required; run `cogex select"),
        ("generations.jsonl", "{}\n", "generations.jsonl, line 1: id: Field required"),
    ],
)
def test_file_that_no_command_wrote_is_an_error(
    recipe: Recipe, name: str, text: str, message: str
) -> None:
    (RUN / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        report(recipe)


# ------------------------------------------------------------------------------ the paper


def stated(key: str) -> list[str]:
    """The values that docs/fidelity.md gives for a key with 3.1 as their source."""
    text = (ROOT / "docs" / "fidelity.md").read_text()
    return re.findall(rf"^\| [^|]+ \| `([^`]+)` \| 3\.1 \| `{key}`", text, re.M)


def test_papers_values_are_those_of_the_document() -> None:
    for key, value in PAPER.items():
        shown = f"[{', '.join(value)}]" if isinstance(value, list) else str(value)
        assert [x.replace("3e-4", "0.0003") for x in stated(key)] == [shown], key
    assert set(stated("base_model")) <= set(PAPER_BASES)


def test_departures_from_the_paper_are_named(html: str) -> None:
    row = (
        r"<tr><th scope=\"row\">([^<]+)</th><td data-label=\"paper\">([^<]+)</td>"
        r"<td data-label=\"this run\">([^<]+)</td>\s*<td>(?:<span[^>]*>([^<]+))?"
    )
    rows = {what: found for what, *found in re.findall(row, html)}
    assert rows["lora_r"] == ["16", "16", "the same"]
    assert rows["learning_rate"] == ["0.0003", "0.002", "departs"]
    assert rows["validation_rows"] == ["2,000", "12", "departs"]
    assert rows["base_model"][2] == "departs"
    assert rows["the best checkpoint has"][2] == "the same"
    assert rows["lora_alpha"] == ["not stated", "32", ""]


def test_data_that_was_prepared_again_is_told_and_the_card_names_what_was_trained_on(
    recipe: Recipe,
) -> None:
    train = recipe.training["path"]
    then = sha256(Path(train))
    record = {"recipe": {}, "files": {train: then}, "facts": {}, "versions": {}}
    (RUN / "run.json").write_text(json.dumps(record))
    said = f"{train} is not the file that the run was trained with"
    assert said not in page(recipe).text
    prepare_cogex(Path("data/data.json"), Path("data"), val_size=14)
    now = sha256(Path(train))
    card = (RUN / "best/README.md").read_text() if said in page(recipe).text else ""
    assert then != now and then in card and now not in card and said in card
    assert then in page(recipe).text and now not in page(recipe).text
