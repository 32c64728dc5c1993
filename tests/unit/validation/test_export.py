"""What was selected, and not the last checkpoint, becomes a folder that others can load."""

import base64
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, constants
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from cogex import app
from tests.unit.validation.selection.test_adapter_kinds import (
    BASE,
    KEEP,
    QUANTIZED,
    RELOAD,
    make_run,
)
from tools.errors import UserError
from tools.models import load_recipe_tokenizer
from tools.recipe import Recipe
from validation import export as module
from validation.export import export
from validation.selection.perplexity import score
from validation.selection.select import select, validation_rows

HEADER = "# Needs: a\n# Launch: b\n# Hardware: one CPU core\n# Time: d\n"
KINDS: dict[str, dict[str, Any]] = {"LoRA": {}, "QLoRA": {}, **RELOAD, **KEEP}
# the base ties its head to its embeddings, or has fewer layers: no merged model is the adapter's
UNLIKE = ("repeated layers", "whole head", "whole head and embeddings", "embeddings as target")


def _selected(recipe: Recipe, **settings: Any) -> dict[str, float]:
    expected = make_run(recipe, **settings)
    recipe.values["datasets"] = recipe.values["test_datasets"]
    recipe.values.update({"num_epochs": 1, "examples_per_step": 2, "learning_rate": "1e-3"})
    recipe.path.write_text(HEADER + json.dumps(recipe.values))
    select(recipe)
    for path in recipe.output_dir.glob("*/trainer_state.json"):  # less than a trainer writes
        path.unlink()
    return expected


def _perplexity(recipe: Recipe, model: Any) -> float:
    rows, _ = validation_rows(recipe, load_recipe_tokenizer(recipe))
    return score(model.eval(), rows).perplexity


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNLIKE])
@pytest.mark.filterwarnings("ignore")
def test_merged_model_is_the_best_one(recipe: Recipe, kind: str) -> None:
    recipe.values.update(QUANTIZED if kind == "QLoRA" else {})
    expected = _selected(recipe, **KINDS[kind])
    exported = export(recipe)
    assert exported.passed and exported.folder == recipe.output_dir / "export"
    found = _perplexity(
        recipe, AutoModelForCausalLM.from_pretrained(exported.folder, dtype=torch.float32)
    )
    assert found == pytest.approx(exported.perplexity, rel=1e-6)
    assert min(expected, key=lambda name: abs(expected[name] - found)) == "checkpoint-10"
    assert found == pytest.approx(expected["checkpoint-10"], rel=module.TOLERANCE)


@pytest.mark.parametrize("kind", UNLIKE)
@pytest.mark.filterwarnings("ignore")
def test_model_that_is_not_the_adapters_is_not_left(recipe: Recipe, kind: str) -> None:
    _selected(recipe, **KINDS[kind])
    (recipe.output_dir / "export").mkdir()
    (recipe.output_dir / "export/earlier").touch()
    ran = CliRunner().invoke(app, ["export", str(recipe.path)])
    assert ran.exit_code == 1 and "not the adapter's; nothing was written" in ran.output
    assert [path.name for path in (recipe.output_dir / "export").iterdir()] == ["earlier"]
    assert not (recipe.output_dir / ".export.next").exists()


def test_export_is_whole_and_the_runs_own(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in Path(BASE).iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    (base / "README.md").write_text("the base's own card")
    (base / "LICENSE").write_text("terms")
    monkeypatch.setattr("tests.unit.validation.selection.test_adapter_kinds.BASE", base)
    _selected(recipe)
    left = recipe.output_dir / ".export.next/merged"  # as after a kill
    left.mkdir(parents=True)
    (left / "model-00009.safetensors").write_text("half")
    folder = export(recipe).folder
    names = {path.name for path in folder.iterdir()}
    assert names >= {"README.md", "LICENSE", "config.json", "model.safetensors", "tokenizer.json"}
    assert not any("adapter" in name or "00009" in name for name in names)
    assert not left.parent.exists()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_vocab() == load_recipe_tokenizer(recipe).get_vocab()
    card = ModelCard.load(folder / "README.md")
    [result] = card.data.eval_results
    assert (result.metric_type, card.data.library_name) == ("perplexity", "transformers")
    assert result.metric_value == pytest.approx(export(recipe).perplexity, abs=1e-5)
    assert "merged into it" in card.text and "the base's own card" not in card.text
    assert _loaded_as_the_card_says(card.text, folder).num_parameters() > 0


def test_killed_export_leaves_none_and_the_next_is_whole(recipe: Recipe) -> None:
    """Killed with the merged weights written, before they are scored."""
    _selected(recipe)
    code = (
        "import os, signal, sys; from pathlib import Path; import validation.export as module\n"
        "from tools.recipe import read_recipe\n"
        "module._perplexities = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.export(read_recipe(Path(sys.argv[1])))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(recipe.path)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = recipe.output_dir / ".export.next"
    assert (left / "merged/model.safetensors").is_file()
    assert not (recipe.output_dir / "export").exists()
    assert export(recipe).passed and not left.exists()


def test_adapter_alone_is_loaded_as_its_card_says(recipe: Recipe) -> None:
    expected = _selected(recipe)
    exported = export(recipe, adapter_only=True)
    assert exported.folder.name == "export-adapter" and exported.perplexity is None
    model = _loaded_as_the_card_says((exported.folder / "README.md").read_text(), exported.folder)
    assert isinstance(model, PeftModel)
    assert _perplexity(recipe, model) == pytest.approx(expected["checkpoint-10"], rel=1e-5)


def _loaded_as_the_card_says(text: str, folder: Path) -> Any:
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code.replace('"..."', repr(str(folder)), 1), scope)  # our own template
    return scope["model"]


def test_without_a_selection_it_says_what_to_do(recipe: Recipe) -> None:
    recipe.values["datasets"] = recipe.values["test_datasets"]
    recipe.path.write_text(HEADER + json.dumps(recipe.values))
    recipe.output_dir.mkdir(exist_ok=True)
    with pytest.raises(UserError, match="run `cogex select"):
        export(recipe)


class _Hub(BaseHTTPRequestHandler):
    """The hub's interface, as far as an upload needs it."""

    files: dict[str, bytes]
    told: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Authorization"] != "Bearer hf_right":
            return self._answer({"error": "Invalid user token."}, 401)
        url = f"http://{self.headers['Host']}/someone/model"
        if self.path == "/api/repos/create":
            self.told.append(json.loads(body))
            return self._answer({"url": url})
        if self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False}
                     for name in names]  # fmt: skip
            return self._answer({"files": modes})
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            return self._answer({"commitUrl": f"{url}/commit/1", "commitOid": "1"})
        return self._answer({})  # validate-yaml

    def _answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    handler = type("Hub", (_Hub,), {"files": {}, "told": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module, "HfApi", partial(HfApi, endpoint=address, token="hf_right"))
    yield handler
    server.shutdown()


def test_push_says_what_it_uploads_and_uploads_that(recipe: Recipe, hub: type[_Hub]) -> None:
    _selected(recipe)
    command = ["export", str(recipe.path), "--adapter-only", "--push", "someone/model"]
    ran = CliRunner().invoke(app, command, input="n\n")
    assert ran.exit_code == 1 and "Upload these files?" in ran.output and not hub.told
    ran = CliRunner().invoke(app, command, input="y\n")
    assert ran.exit_code == 0, ran.output
    folder = recipe.output_dir / "export-adapter"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert all(f"  {name}, " in ran.output for name in hub.files)
    assert [asked["visibility"] for asked in hub.told] == [
        "private"
    ] and "/someone/model" in ran.output


def test_refused_push_is_one_message_without_the_token(
    recipe: Recipe, hub: type[_Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    _selected(recipe)
    monkeypatch.setattr(module, "HfApi", partial(module.HfApi, token="hf_wrong"))
    folder = export(recipe, adapter_only=True).folder
    with pytest.raises(UserError, match="the hub does not take it") as caught:
        module.push(folder, "someone/model", private=True)
    assert "hf_wrong" not in str(caught.value) and "hf auth login" in str(caught.value)
