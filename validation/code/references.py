"""Names the reference evaluator of each benchmark and score, and where this project differs."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reference:
    """A published evaluator whose rules are the default here, and each difference that stays."""

    evaluator: str
    differences: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """What a result holds."""
        return {"evaluator": self.evaluator, "differences": list(self.differences)}


_RUN = (
    "A program and its tests run in two sandboxes: the tests get copies of values, do not see what "
    "a function does to its arguments, and an object of the program equals only itself.",
    "The tests have the imports and helpers of the prompt, not those of the completion.",
    "A program has the standard library, 1 GiB of memory, and no process, thread or network.",
    "What the reference's guard takes away, such as `os.remove`, works inside the sandbox.",
    "Time in which the machine gives a program no CPU does not count, and what runs out of time "
    "runs once more, alone.",
    "Tests that never call the program fail.",
)
REFERENCES = {
    "humaneval": Reference("openai/human-eval", _RUN),
    "mbpp": Reference(
        "bigcode-project/bigcode-evaluation-harness, task mbpp",
        (
            *_RUN,
            "The prompt has the form of HumanEval's: imports, helpers and signature of the "
            "published solution, and a docstring with the sentence and the first assertion. The "
            "reference's prompt is the docstring alone.",
            "The published `test_setup_code` runs before the assertions; two tasks have one.",
        ),
    ),
    "cruxeval-o": Reference(
        "facebookresearch/cruxeval, evaluate_generations.py, mode output",
        (
            "A literal is compared without running anything; any other expression runs in the "
            "sandbox, and what is more than one expression is wrong.",
            "pass@k is given only where every task has k samples.",
        ),
    ),
    "codebertscore": Reference(
        "neulab/code-bert-score 0.4.1, `score` with its defaults, `lang='python'` and `sources`",
        (
            "An empty candidate or reference scores 0, where the package may stop.",
            "Where a character of the instruction has two tokens, the package counts the rest of "
            "the instruction as code; here the code begins at its own offset.",
            "The windows of a text over 512 tokens do not depend on the other texts of its batch.",
        ),
    ),
    "codejudge": Reference(
        "VichyTong/CodeJudge, the binary verdict in two steps with a reference solution",
        (
            "Instruction, reference and code stand between random marks, and the judge is told "
            "that they are data.",
            "The judge does not see comments and docstrings.",
            "The verdict is one JSON object with a second random mark, not the last `Yes` or `No`.",
            "Code that addresses the judge is `suspect`, and never passes.",
            "An answer without a verdict is counted by its kind and never passes; the reference "
            "leaves it out.",
            "An empty candidate is `incorrect` without a question.",
            "The temperature is 0, and an answer has at most 1,024 tokens; the reference samples "
            "Llama's judges at 0.4 and allows 2,000.",
        ),
    ),
}
