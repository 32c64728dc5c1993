"""What every strategy here shares: its declaration, rows to token ids and labels, the counts.

A strategy is a module that Axolotl can name in a recipe (`type: prompt_strategies.cogex`): a
subclass of `CompletionStrategy`, and a function `load`. The class is also the one declaration of
its dataset; preparing, preflight, run record, check, ask and model card read it, by
`find_strategy`. Nothing that takes seconds to import is imported before a row is encoded.

What carries loss (EOS always does, BOS never, and white space before that text: see `tokenise`):

- `completion`: all that the model writes; the default, also as `roles_to_train: [code, output]`
- `output`: what follows the last header; `roles_to_train: [output]`
- `full`: the whole text; `train_on_inputs: true` at the top of the recipe

Both keys are Axolotl's own, because its schema silently drops any other key of a dataset. Both are
part of the name under which Axolotl caches a prepared dataset.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from axolotl.utils.logging import get_logger

from prompt_strategies import tokenise
from prompt_strategies.date_texts import from_file

if TYPE_CHECKING:  # these take seconds to import
    import pyarrow  # type: ignore[import-untyped]
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    from prompt_strategies.fast_encoding import FastEncoder

LOG = get_logger("axolotl." + __name__)  # Axolotl prints its own loggers from INFO on

Task = Literal["program", "plan", "answer", "code"]
TrainOn = Literal["completion", "output", "full"]
BATCH = 1_000  # rows encoded at once: few enough to hold, enough to use every core
FAST_FROM = 1_000  # rows; building a fast encoder takes as long as it saves on these
COMPARED = 200  # rows, evenly spaced, that a fast encoder must encode as the tokenizer does


@dataclass(frozen=True)
class PublishedField:
    """A field of the file that `cogex prepare` reads, and the column of a row that it becomes."""

    column: str
    names: tuple[str, ...]  # the first that a row has is read
    kinds: tuple[type, ...] = (str,)  # empty for any JSON value
    required: bool = True
    changed: str = "CRLF to LF"  # what may become of its value, for the table of fields


INSTRUCTION = PublishedField("instruction", ("instruction",))
INPUT = PublishedField(
    "input",
    ("input",),
    (),
    required=False,
    changed="null, [], {}, false, white space to no input; other values to Python literals",
)


@dataclass(frozen=True)
class Rendered:
    """A row as text: what is given, what the model writes, and where in that the output starts."""

    prompt: str
    completion: str  # without EOS
    output_start: int  # in characters of `completion`


class CompletionStrategy:
    """The declaration of a dataset; an instance turns its rows into token ids and labels."""

    # the dataset
    columns: ClassVar[tuple[str, ...]]  # the fields of a prepared row, all strings; `id` is one
    given: ClassVar[tuple[str, ...]] = ("instruction", "input")  # those of `columns` that ask
    dataset: ClassVar[str]  # `format` in manifest.json, and the folder data/NAME
    prepared_by: ClassVar[str]  # the command that writes the rows
    published: ClassVar[str] = ""  # the file that `cogex prepare NAME` reads, if it is one
    published_fields: ClassVar[tuple[PublishedField, ...]] = ()  # beside `id` and `family`
    hub_dataset: ClassVar[str | None] = None  # its id on the Hugging Face hub
    licence: ClassVar[str] = "see its page"  # its terms, as the model card points to them
    # the text of a row
    layout_version: ClassVar[int] = 1  # raise it when the text that `render` makes changes
    task: ClassVar[Task]  # what the model writes: what check, codebench and codescore can judge
    trained_to: ClassVar[str]  # for the model card: "trained by Axolotl to ..."

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerFast",
        *,
        train_on: TrainOn,
        sequence_len: int,
        excess: str = "drop",
        name: str = "dataset",
    ) -> None:
        """Hold the settings: lengths are in tokens, `excess` is what Axolotl does above them."""
        self.tokenizer = tokenizer
        self.train_on = train_on
        self.sequence_len = sequence_len
        self.excess = excess
        self.name = name
        self.fast: FastEncoder | None = None

    @classmethod
    def from_recipe(
        cls,
        tokenizer: "PreTrainedTokenizerFast",
        cfg: dict[str, Any],
        ds_cfg: dict[str, Any] | None = None,
    ) -> Self:
        """Return the strategy of one dataset entry of a recipe.

        Raises ValueError if what the recipe says about loss contradicts itself or is unknown.
        """
        from axolotl.prompt_tokenizers import DatasetWrappingStrategy

        DatasetWrappingStrategy.register(CompletionStrategy)  # what Axolotl asks `isinstance` of
        dataset = ds_cfg or {}
        return cls(
            tokenizer,
            train_on=_train_on(cfg, dataset),
            sequence_len=cfg["sequence_len"],
            excess=cfg.get("excess_length_strategy") or "drop",
            name=str(dataset.get("path") or "dataset"),
        )

    @staticmethod
    def render(row: Mapping[str, str]) -> Rendered:
        """Return the text of one row."""
        raise NotImplementedError

    @classmethod
    def render_question(cls, instruction: str, input: str = "") -> str:
        """Return the prompt for a new question."""
        row = dict.fromkeys(cls.columns, "")
        return cls.render(row | {"instruction": instruction, "input": input}).prompt

    @staticmethod
    def parse(text: str) -> dict[str, str]:
        """Return the parts of a generated completion by name; an absent part is ""."""
        return {"answer": text.strip()}

    @classmethod
    def prepared_version(cls) -> int:
        """Return the `layout_version` in manifest.json of the rows that this strategy reads."""
        return cls.layout_version

    def wrap_dataset(
        self,
        dataset: "Dataset",
        process_count: int | None = None,
        keep_in_memory: bool | None = False,
        **kwargs: Any,
    ) -> "Dataset":
        """Return the dataset with `input_ids`, `attention_mask`, `labels`; log one line of counts.

        `process_count` is ignored: the tokenizers' threads use every core, and each process would
        first need a copy of the tokenizer, which takes a second for 32,000 pieces. Raises
        ValueError for an unusable column, with its name.
        """
        missing = [column for column in self.columns if column not in dataset.column_names]
        if missing:
            raise ValueError(f"{self.name}: no column {', '.join(missing)}: run `cogex prepare`")
        for column in self.columns:
            _check_texts(self.name, column, dataset)
        if not len(dataset):
            raise ValueError(f"{self.name}: no rows")
        tokenise.check_tokenizer(self.tokenizer)
        with _tokenizer_threads():
            sample = self._read(dataset.select(_sample(len(dataset)))[:])
            self.fast = self._fast_encoder(len(dataset), sample)
            tokenized = dataset.map(
                lambda batch: self.encode(self._read(batch)),
                batched=True,
                batch_size=BATCH,
                remove_columns=dataset.column_names,
                keep_in_memory=bool(keep_in_memory),
                load_from_cache_file=False,
                new_fingerprint=self._fingerprint(dataset),
                desc="Tokenizing rows",
            )
        self._log_counts(tokenized)
        return tokenized

    def _read(self, batch: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the columns of rows as the engine has read them from a prepared file."""
        return {column: list(map(from_file, batch[column])) for column in self.columns}

    def _fast_encoder(self, rows: int, sample: dict[str, list[str]]) -> "FastEncoder | None":
        """Return gigatoken's copy of the tokenizer if it saves time and gives the same ids."""
        from prompt_strategies.fast_encoding import FastEncoder

        if rows < FAST_FROM:
            return None
        texts, prompt_ends, trained_from = self._texts(sample)
        fast = FastEncoder.of(self.tokenizer, texts, prompt_ends, sample["id"], trained_from)
        if fast is None:
            LOG.info(
                f"{self.name}: tokenising is slower: gigatoken is not installed (the extra "
                "`fast`), or does not fit this tokenizer"
            )
        return fast

    def _fingerprint(self, dataset: "Dataset") -> str:
        """Return the name under which results of these rows, settings and code are cached.

        By default datasets would pickle the tokenizer, which takes a second, and ignore our code.
        """
        from datasets.fingerprint import Hasher

        code = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
        tokenizer = [self.tokenizer.backend_tokenizer.to_str(), self.tokenizer.special_tokens_map]
        settings = [type(self).__qualname__, type(self).__module__, self.train_on]
        return Hasher.hash([dataset._fingerprint, code, tokenizer, settings])

    def encode_prepared(self, rows: Sequence[dict[str, str]]) -> Iterator[tokenise.EncodedRow]:
        """Yield what training makes of prepared rows, in their order. Errors as `wrap_dataset`."""

        def columns(some: Sequence[dict[str, str]]) -> dict[str, list[str]]:
            return {key: [row[key] for row in some] for key in self.columns}

        with _tokenizer_threads():
            sample = columns([rows[index] for index in _sample(len(rows))])
            self.fast = self._fast_encoder(len(rows), sample)
            for start in range(0, len(rows), BATCH):
                yield from self._encode(columns(rows[start : start + BATCH]))

    def encode(self, batch: dict[str, list[str]]) -> "pyarrow.Table":
        """Return ids, mask and labels of a batch of rows, given as columns.

        They are a table in the types that datasets would choose: otherwise datasets looks at each
        token to choose them, which takes three times as long.
        """
        return _table(self._encode(batch))

    def _encode(self, batch: dict[str, list[str]]) -> list[tokenise.EncodedRow]:
        texts, ends, starts = self._texts(batch)
        fast = self.fast.encode_texts(texts, ends, starts) if self.fast else [None] * len(texts)
        left = [index for index, row in enumerate(fast) if row is None]
        plain = iter(
            tokenise.encode_texts(
                self.tokenizer,
                [texts[index] for index in left],
                [ends[index] for index in left],
                [batch["id"][index] for index in left],
                [starts[index] for index in left],
            )
        )
        return [row or next(plain) for row in fast]

    def _texts(self, batch: dict[str, list[str]]) -> tuple[list[str], list[int], list[int]]:
        """Return the text of each row, and the offsets where its prompt ends and loss starts."""
        rows = zip(*(batch[column] for column in self.columns), strict=True)
        rendered = [self.render(dict(zip(self.columns, row, strict=True))) for row in rows]
        texts = [text.prompt + text.completion for text in rendered]
        prompt_ends = [len(text.prompt) for text in rendered]
        return texts, prompt_ends, [self.trained_from(text) for text in rendered]

    def trained_from(self, text: Rendered) -> int:
        """Return the offset, in characters of prompt + completion, where loss starts.

        `tokenise` moves it to before the white space that precedes it.
        """
        match self.train_on:
            case "full":
                return 0
            case "output":
                return len(text.prompt) + text.output_start
            case "completion":
                return len(text.prompt)

    def _log_counts(self, tokenized: "Dataset") -> None:
        counts = count_lengths(tokenized, self.sequence_len)
        log = LOG.warning if counts["over_long"] else LOG.info
        log(
            f"{self.name}: {counts['rows']} rows, {counts['over_long']} longer than "
            f"{self.sequence_len} tokens (excess_length_strategy: {self.excess}), "
            f"{counts['fully_masked']} without a trained token within that length; "
            f"longest {counts['longest']}, trained on: {self.train_on}"
        )


def count_lengths(tokenized: "Dataset", sequence_len: int) -> dict[str, int]:
    """Return `rows`, `over_long`, `fully_masked` and `longest`; lengths are in tokens.

    A row is fully masked if its first `sequence_len` tokens hold none that carries loss.
    """
    import numpy as np
    import pyarrow.compute  # type: ignore[import-untyped]

    column = tokenized.with_format("arrow")["input_ids"][:]
    lengths = pyarrow.compute.list_value_length(column).to_numpy()
    over_long = np.flatnonzero(lengths > sequence_len)
    fully_masked = sum(
        set(labels[:sequence_len]) == {tokenise.IGNORE_INDEX}
        for labels in tokenized.select(over_long)["labels"]
    )  # the rows that fit have their EOS
    return {
        "rows": len(lengths),
        "over_long": len(over_long),
        "fully_masked": fully_masked,
        "longest": int(lengths.max()),
    }


def find_strategy(kind: object) -> type[CompletionStrategy] | None:
    """Return the strategy class of a dataset's `type`; None for one of Axolotl's own or unknown.

    It is the last one that the module of that name defines. As for Axolotl, the module may lie in
    the working folder. Raises what importing the module raises.
    """
    if not isinstance(kind, str) or "." not in kind:  # Axolotl's own have no package
        return None
    with modules_of_working_folder():
        try:
            module = importlib.import_module(kind)
        except ModuleNotFoundError as error:
            if error.name and f"{kind}.".startswith(f"{error.name}."):
                return None
            raise
    return _defined_in(module)


def own_strategies() -> list[type[CompletionStrategy]]:
    """Return the strategy classes of this package, by the names of their modules."""
    package = Path(__file__).parent
    names = sorted(module.name for module in pkgutil.iter_modules([str(package)]))
    modules = [importlib.import_module(f"{package.name}.{name}") for name in names]
    return [strategy for module in modules if (strategy := _defined_in(module))]


def _defined_in(module: Any) -> type[CompletionStrategy] | None:
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, CompletionStrategy)
        and value.__module__ == module.__name__
        and value is not CompletionStrategy
    ]
    return own[-1] if own else None


@contextmanager
def modules_of_working_folder() -> Iterator[None]:
    """Find the modules of the working folder, as `accelerate launch -m` does."""
    path = sys.path.copy()
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = path


@contextmanager
def _tokenizer_threads() -> Iterator[None]:
    """Let the tokenizer use every core; Axolotl forbids it because it starts processes."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _sample(rows: int) -> range:
    return range(0, rows, max(1, rows // COMPARED))


def _table(rows: list[tokenise.EncodedRow]) -> "pyarrow.Table":
    import numpy as np
    import pyarrow

    starts = np.cumsum([0, *(len(row.ids) for row in rows)])
    ids = np.concatenate([np.asarray(row.ids, np.int32) for row in rows])
    labels = ids.astype(np.int64)
    for start, row in zip(starts, rows, strict=False):
        labels[start : start + row.masked] = tokenise.IGNORE_INDEX
    columns = {"input_ids": ids, "attention_mask": np.ones(len(ids), np.int8), "labels": labels}
    offsets = pyarrow.array(starts, pyarrow.int32())
    return pyarrow.table(
        {name: pyarrow.ListArray.from_arrays(offsets, values) for name, values in columns.items()}
    )


def _train_on(cfg: dict[str, Any], dataset: dict[str, Any]) -> TrainOn:
    """Read what carries loss from `train_on_inputs` and `roles_to_train`."""
    if dataset.get("train_on") is not None:
        raise ValueError("`train_on` is no key of Axolotl's datasets: use `roles_to_train`")
    roles = dataset.get("roles_to_train")
    if cfg.get("train_on_inputs"):
        if roles:
            raise ValueError(
                f"`train_on_inputs: true` trains the whole text, `roles_to_train: {list(roles)}` "
                "a part of it: keep one of the two"
            )
        return "full"
    if not roles or sorted(roles) == ["code", "output"]:
        return "completion"
    if list(roles) == ["output"]:
        return "output"
    raise ValueError(
        f"`roles_to_train: {list(roles)}` is not known here: use [code, output] or [output], "
        "or `train_on_inputs: true` for the whole text"
    )


def _check_texts(name: str, column: str, dataset: "Dataset") -> None:
    """Raise ValueError if the engine's reader took a column for something else than texts."""
    feature = dataset.features[column]
    kind = getattr(feature, "dtype", type(feature).__name__)
    if kind in ("string", "large_string"):
        if not dataset.data.column(column).null_count:
            return
        kind = "texts and nulls"
    why = ", for all its texts look like dates" if kind.startswith("timestamp") else ""
    raise ValueError(
        f"{name}: the engine reads the column {column!r} as {kind}, not as text{why}; prepare the "
        "file again with `cogex prepare`, which writes every value so that it stays text"
    )
