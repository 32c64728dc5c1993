"""The tokens offered for padding are in the vocabulary, in no text, and never EOS."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tools.pad_token import pad_candidates

PIECES = ["a", "pad", "Ġpadding", "À", "ÿ"]  # text, whatever they look like


def tokenizer(control: str, eos: str, **more: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(PIECES)}, []))
    backend.add_special_tokens(control.split())
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, **more)


@pytest.mark.parametrize(
    ("control", "eos", "more", "expected"),
    [
        # ChatML: the base's own pad token, named as another family names its EOS
        ("<|endoftext|> <|im_end|>", "<|im_end|>", {"pad_token": "<|endoftext|>"}, "<|endoftext|>"),
        # Qwen's base: pad is EOS, and no token is named plainly
        ("<|endoftext|> <|vision_pad|> <|fim_pad|>", "<|endoftext|>",
         {"pad_token": "<|endoftext|>"}, "<|vision_pad|>"),
        ("<s> </s> <unk> [PAD] <|fim_pad|>", "</s>", {"unk_token": "<unk>"}, "[PAD]"),
        ("<|a|> <|reserved_special_token_0|> <|finetune_right_pad_id|>", "<|a|>", {},
         "<|finetune_right_pad_id|>"),
        ("<|a|> <|reserved_special_token_0|>", "<|a|>", {}, "<|reserved_special_token_0|>"),
        ("<unk> <s> </s>", "</s>", {"unk_token": "<unk>", "bos_token": "<s>"}, "<unk>"),
        ("<eos> <pad>", "<pad>", {}, "ÿ"),  # the token named pad is EOS
        ("<|endoftext|>", "<|endoftext|>", {"unk_token": "<|endoftext|>"}, "ÿ"),  # GPT-2's
    ],
)  # fmt: skip
def test_the_best_token_of_a_vocabulary(
    control: str, eos: str, more: dict[str, str], expected: str
) -> None:
    made = tokenizer(control, eos, **more)
    found = pad_candidates(made, len(made))
    assert found[0] == expected
    assert not {eos, "pad", "Ġpadding", "a"} & {*found}


def test_a_token_without_an_embedding_is_not_offered() -> None:
    made = tokenizer("<eos> <pad>", "<eos>")
    assert pad_candidates(made, len(made))[0] == "<pad>"
    assert pad_candidates(made, len(made) - 1)[0] == "ÿ"
