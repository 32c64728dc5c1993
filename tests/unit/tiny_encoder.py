"""A tiny random RoBERTa with a byte-level tokenizer, in a folder as on the hub."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CORPUS = [
    "def add(left, right):\n    return left + right\n",
    "for index in range(10):\n    total += values[index]\n",
    "Write a function that returns the sum of its arguments.",
]
LAYERS = 3


def write_encoder(folder: Path) -> Path:
    """Write config, random weights and tokenizer; return the folder."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False, trim_offsets=True
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=512,
    ).save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    named = json.loads(config.read_text("utf-8")) | {"tokenizer_class": "RobertaTokenizer"}
    config.write_text(json.dumps(named), "utf-8")
    torch.manual_seed(11)
    RobertaModel(
        RobertaConfig(
            vocab_size=backend.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=514,
            type_vocab_size=1,
            initializer_range=0.4,  # or all tokens would be much alike
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
    ).save_pretrained(folder)
    return folder
