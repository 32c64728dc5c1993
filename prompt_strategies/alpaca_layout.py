"""How an Alpaca row becomes text: the two templates of Stanford Alpaca.

The source is PROMPT_DICT in train.py of github.com/tatsu-lab/stanford_alpaca. There
`### Response:` ends the prompt and the response follows directly. Here a newline separates
them, as in Axolotl's own `type: alpaca`: tokenizers join the `:` with a quote or a bracket that
follows it.
EOS is not part of the text: `tokenise` appends it by id. Nothing here imports a tokenizer.
"""

LAYOUT_VERSION = 1  # raise it when a rendered text changes: prepared data names it

_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides "
    "further context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


def render_prompt(instruction: str, input: str = "") -> str:
    """Return the text before the response; without input there is no Input section."""
    template = _WITH_INPUT if input else _WITHOUT_INPUT
    return template.format(instruction=instruction, input=input)


def render_completion(output: str) -> str:
    """Return the response, without EOS and without white space before it."""
    return output.lstrip()
