"""Real tokenizers of four kinds, built without a network.

`mistral_common`, which Axolotl depends on, carries two real vocabularies: a SentencePiece
model of Llama-2's kind (here in two classes of transformers) and a tiktoken-style one. The
third is trained on the spot, and the last has merges of our choice.

A test module that needs them says `pytest_plugins = ["tests.real_tokenizers"]`.
"""

import base64
import json
from importlib.resources import files
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

VOCABULARIES = files("mistral_common") / "data"

# Llama-3's pre-tokenizer, from its tokenizer.json
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TIKTOKEN_SIZE = 32_000  # the first ranks of the vocabulary: its merges are closed below any rank


def load_sentencepiece() -> sentencepiece.SentencePieceProcessor:
    """The model of Llama-2's kind as SentencePiece itself reads it."""
    return sentencepiece.SentencePieceProcessor(model_file=str(VOCABULARIES / "tokenizer.model.v1"))


def build_llama2(folder: Path) -> PreTrainedTokenizerFast:
    """SentencePiece BPE with byte fallback, as Llama-2's tokenizer.json has it; pad is unk."""
    model = load_sentencepiece()
    pieces = {model.id_to_piece(index): index for index in range(model.get_piece_size())}
    # control and byte pieces are never made by merging; of the rest the highest score goes first
    mergeable = sorted(range(3 + 256, len(pieces)), key=lambda index: -model.get_score(index))
    merges = _merges({model.id_to_piece(index): rank for rank, index in enumerate(mergeable)})
    backend = Tokenizer(
        models.BPE(pieces, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    _add_control_tokens(backend, ["<unk>", "<s>", "</s>"])
    backend.post_processor = _bos_first(backend, "<s>")
    return _saved(
        backend, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def build_llama2_hub(folder: Path) -> PreTrainedTokenizerFast:
    """The same in the class that Llama-2's folder on the hub names: transformers rebuilds it."""
    build_llama2(folder)
    config = folder / "tokenizer_config.json"
    named = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), **named}), "utf-8")
    return AutoTokenizer.from_pretrained(folder)


def build_tiktoken(folder: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE from tiktoken ranks, built and pre-tokenised as Llama-3's is."""
    data = json.loads((VOCABULARIES / "tekken_240718.json").read_text("utf-8"))
    letters = bytes_to_unicode()
    ranks = {
        "".join(letters[byte] for byte in base64.b64decode(entry["token_bytes"])): entry["rank"]
        for entry in data["vocab"][:TIKTOKEN_SIZE]
    }
    backend = Tokenizer(models.BPE(ranks, _merges(ranks), ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    _add_control_tokens(
        backend, ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"]
    )
    backend.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), _bos_first(backend, "<|begin_of_text|>")]
    )
    return _saved(
        backend,
        folder,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|finetune_right_pad_id|>",
    )


def build_small(folder: Path) -> PreTrainedTokenizerFast:
    """A small byte-level BPE with GPT-2's pre-tokenizer, trimmed offsets and no BOS."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    row = "### Instruction\nAdd\n### Input\n\n### Code\ndef add(a, b):\n    return a + b\n\n\n"
    backend.train_from_iterator([row * 9, ">>> add(1, 2)\n### Output\n{'answer': 3}"], trainer)
    return _saved(backend, folder, eos_token="<|endoftext|>", pad_token="<|pad|>")


def build_newlines(folder: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE that joins newlines with whatever stands on either side of them."""
    letters = bytes_to_unicode()
    joined = ["\n ", "\n  ", "\n   ", "  ", "    ", "\n\n", ":\n", "e\n", ")\n", '"\n', ")\n\n"]
    pieces = [*letters.values(), *("".join(letters[ord(char)] for char in text) for text in joined)]
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(ranks, _merges(ranks)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    _add_control_tokens(backend, ["<|endoftext|>", "<|pad|>"])
    return _saved(backend, folder, eos_token="<|endoftext|>", pad_token="<|pad|>")


BUILDERS = {
    "llama2": build_llama2,
    "llama2_hub": build_llama2_hub,
    "tiktoken": build_tiktoken,
    "small": build_small,
    "newlines": build_newlines,
}


@pytest.fixture(scope="session")
def tokenizer_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tokenizers on disk, as a base model's folder holds them."""
    folders = {name: tmp_path_factory.mktemp(name) for name in BUILDERS}
    for name, build in BUILDERS.items():
        build(folders[name])
    return folders


@pytest.fixture(scope="session", params=BUILDERS)
def tokenizer(
    request: pytest.FixtureRequest, tokenizer_folders: dict[str, Path]
) -> PreTrainedTokenizerFast:
    """Each of the tokenizers in turn, loaded the way a recipe's is."""
    return AutoTokenizer.from_pretrained(tokenizer_folders[request.param])


@pytest.fixture(scope="session")
def sentencepiece_model() -> sentencepiece.SentencePieceProcessor:
    """The reference for the ids of the Llama-2 kind."""
    return load_sentencepiece()


def _merges(ranks: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, by the third's rank, then theirs."""
    merges = []
    for piece, rank in ranks.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ranks and right in ranks:
                merges.append((rank, ranks[left], ranks[right], left, right))
    return [(left, right) for _, _, _, left, right in sorted(merges)]


def _add_control_tokens(backend: Tokenizer, tokens: list[str]) -> None:
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in tokens])


def _bos_first(backend: Tokenizer, bos: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, backend.token_to_id(bos))],
    )


def _saved(backend: Tokenizer, folder: Path, **control_tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **control_tokens
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
