"""One question to a trained model, and what is said where there is none."""

from pathlib import Path

import pytest
from rich.console import Console

from prompt_strategies.layout import Completion
from tools import ask as module
from tools.ask import ask, print_completion
from tools.errors import UserError
from tools.generate import Generation

GENERATED = "def add(a):\n    return {'answer': a}\n\n>>> add(1)\n### Output\n{'answer': 1}"


def test_adapter_folder_answers_on_its_base(
    tiny_tokenizer, tmp_path: Path, write_adapter, tiny_base: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter-v1.0")  # a name with a dot
    tiny_tokenizer.save_pretrained(folder)
    answer = ask(folder, "Add.", "1 and 2", max_length=60)
    assert answer == ask(folder, "Add.", "1 and 2", max_length=60)
    assert answer != ask(tiny_base, "Add.", "1 and 2", max_length=60)


def test_generation_is_split_into_its_parts(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(model, tokenizer, prompts, **options) -> list[Generation]:
        assert prompts == ["### Instruction\nAdd.\n### Input\n1\n### Code\n"]
        return [Generation(GENERATED, 9, True)]

    monkeypatch.setattr(module, "generate", generate)
    program = "def add(a):\n    return {'answer': a}"
    assert ask(tiny_base, "Add.", "1") == Completion(program, ">>> add(1)", "{'answer': 1}")


def test_prompt_that_is_too_long(tiny_base: Path) -> None:
    with pytest.raises(UserError, match="fills the 512 tokens that the model takes; shorten it"):
        ask(tiny_base, "word " * 600)


def test_parts_are_shown_apart() -> None:
    console = Console(record=True, width=60)
    print_completion(Completion("def f(): [bold]", ">>> f()", ""), console)
    text = console.export_text()
    for part in ("program", "def f(): [bold]", "call", ">>> f()", "output", "(nothing)"):
        assert part in text
