"""Streams the rows of ArXivDLInstruct: from the hub, or from Parquet files or JSON lines here."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.errors import UserError
from tools.files import sha256

DATASET = "AlgorithmicResearchGroup/ArXivDLInstruct"
# main since 4 September 2024, as https://huggingface.co/datasets/<DATASET>/commits/main lists it
REVISION = "d5aa11b3287de96e9ff949487638c10ce313754f"
# of the 13 columns: the others are names, summaries and figures about the file
COLUMNS = ("prompt", "function", "repo", "file", "full_code")
BATCH = 256  # rows of a Parquet file in memory at once


@dataclass(frozen=True)
class RowStream:
    """Where the rows come from: `files` here, or the dataset `name` on the hub.

    A stored copy of the hub's repository in a local folder is also read by its name.
    """

    name: str
    files: tuple[Path, ...] = ()
    revision: str = REVISION

    def rows(self) -> Iterator[Any]:
        """Yield each row as a dict of the `COLUMNS` that are needed, in the source's order.

        Raises UserError if the source cannot be read.
        """
        import datasets

        try:
            if not self.files:
                yield from _hub_rows(self.name.removesuffix(f"@{self.revision}"), self.revision)
            for path in self.files:
                yield from (_parquet_rows if path.suffix == ".parquet" else _json_rows)(path)
        except (
            OSError, ValueError, NotImplementedError, datasets.exceptions.DatasetsError
        ) as error:  # fmt: skip
            what = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self.name}: cannot be read: {what}. Correct or download it again, or give the "
                "folder of the dataset's Parquet files with --input."
            ) from None

    def sha256(self) -> str:
        """The hash of the file, or of the hashes of the files; the hub's revision names itself."""
        if not self.files:
            return self.revision
        if len(self.files) == 1:
            return sha256(self.files[0])
        return hashlib.sha256("".join(map(sha256, self.files)).encode()).hexdigest()

    def lies_in(self, folder: Path) -> bool:
        """Whether a file would lie among those that are written into a folder."""
        return any(path.resolve().is_relative_to(folder.resolve()) for path in self.files)


def open_stream(path: Path | None, revision: str = REVISION) -> RowStream:
    """Return the source of a file or a folder of Parquet files; None is the hub's dataset.

    Raises UserError if there is no such file.
    """
    if path is None:
        return RowStream(f"{DATASET}@{revision}", revision=revision)
    if path.is_dir():
        files = tuple(sorted(path.rglob("*.parquet")))
        if not files:
            raise UserError(f"{path}: holds no *.parquet; give the folder of the dataset's files")
        return RowStream(str(path), files)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give Parquet or JSON lines, or a folder")
    return RowStream(str(path), (path,))


def _hub_rows(repository: str, revision: str) -> Iterator[dict[str, Any]]:
    import datasets

    stream = datasets.load_dataset(repository, split="train", streaming=True, revision=revision)
    columns = [column for column in COLUMNS if column in (stream.column_names or COLUMNS)]
    yield from stream.select_columns(columns)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet  # type: ignore[import-untyped]

    # one row group at a time: asked for all at once, those that were read stay in memory
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        columns = [column for column in COLUMNS if column in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
                yield from batch.to_pylist()


def _json_rows(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    yield json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"line {number} is not valid JSON: {error}") from None
