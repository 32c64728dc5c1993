"""A run's gradients: how its batches are padded, and what ends it when they are NaN."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from axolotl.utils.collators import DataCollatorForSeq2Seq
from transformers import TrainerState

from tests.engine.tiny_bases import llama2_tokenizer
from tools.training.gradients import PATIENCE, StopAtNaN
from tools.training.plugin import CogexPlugin


def test_padding_stands_last_and_older_cudnn_is_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama2_tokenizer(tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path, padding_side="left", pad_token="<unk>")
    collator = DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=64)
    trainer = SimpleNamespace(processing_class=tokenizer, accelerator=SimpleNamespace())
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        for version, allowed in ((92_400, False), (92_600, True)):
            torch.backends.cuda.enable_cudnn_sdp(True)
            monkeypatch.setattr(torch.backends.cudnn, "version", lambda version=version: version)
            CogexPlugin().post_trainer_create(None, trainer)
            assert torch.backends.cuda.cudnn_sdp_enabled() is allowed
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    rows = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)}
            for ids in ([5, 6, 7], [8])]  # fmt: skip
    batch = collator(rows)
    assert batch["attention_mask"].sum(1).tolist() == [3, 1]
    assert batch["attention_mask"][:, 0].tolist() == [1, 1]
    assert batch["labels"][1, 1:].eq(-100).all()


def test_a_run_ends_at_nan_gradients_that_stay() -> None:
    said: list[str] = []
    stop = StopAtNaN(said.append)
    state = TrainerState(global_step=30)
    bad = [{"grad_norm": float("nan")}] * (PATIENCE - 1)
    for logs in [*bad, {"grad_norm": 1.0}, *bad, {"eval_loss": 1.0}]:
        stop.on_log(None, state, None, logs=logs)
    assert not said
    stop.on_log(None, state, None, logs={"grad_norm": float("inf")})
    assert len(said) == 1 and "step 30" in said[0]
