"""Measures the memory and time of `cogex prepare arxivdl` over made rows.

    python -m benchmarks.arxivdl_memory --rows 70000
    python -m benchmarks.arxivdl_memory --rows 700000

The rows have the columns of ArXivDLInstruct and about its size (3 kB a row). They are made as they
are read, so none lies on disk; with `--parquet FILE` they are first written to a file, in row
groups of 1,000, by another process, and only its reading counts. Printed: rows, seconds, and the
peak resident memory of the process before reading and after writing, in MiB.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.prepare.arxivdl import SIZES, prepare_arxivdl
from tools.prepare.arxivdl_source import RowStream, open_stream

WORDS = "batch data dim epoch feature grad head input layer loss mask model norm rate step".split()


def made_rows(count: int, seed: int = 42) -> Iterator[dict[str, Any]]:
    """Yield rows with all 13 published columns; five functions come from one repository.

    Two thirds of the functions are within 1,000 characters, and one in fifty is a copy.
    """
    rng = random.Random(seed)
    for index in range(count):
        repo = f"owner/repository-{index // 5}"
        number = index if index % 50 else index // 2
        name = f"{rng.choice(WORDS)}_{rng.choice(WORDS)}_{number}"
        function = made_function(random.Random(number), name if index % 50 else f"copied_{number}")
        before, after = "import torch\n" * rng.randint(1, 40), "\nVALUE = 1\n" * rng.randint(1, 90)
        full_code = f"{before}\n{function}{after}"
        yield {
            "prompt": f"Write a function {name} that combines "
            + " and ".join(rng.choice(WORDS) for _ in range(rng.randint(10, 60))),
            "description": f"Combines values in {name}.",
            "function": function,
            "function_name": name,
            "function_summary": "A function that adds up what it is given.",
            "repo": repo,
            "file": f"src/module_{index % 5}.py",
            "full_code": full_code,
            "file_length": len(full_code),
            "avg_line_length": 20.0,
            "max_line_length": 80,
            "extension_type": "py",
            "file_number": index,
        }


def made_function(rng: random.Random, name: str) -> str:
    """Return a Python function of 2 to 60 lines that runs."""
    lines = [f"def {name}({rng.choice(WORDS)}):", "    total = 0"]
    for step in range(rng.randint(1, 58)):
        lines.append(f"    total += {step} * {rng.randint(2, 999)}  # {rng.choice(WORDS)}")
    return "\n".join([*lines, "    return total"]) + "\n"


class MadeSource(RowStream):
    """A source that makes its rows."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield `name` rows."""
        return made_rows(int(self.name))

    def sha256(self) -> str:
        """There is no file."""
        return "made"


def write_parquet(path: Path, count: int) -> None:
    """Write made rows as the hub has them, a row group at a time."""
    import itertools

    import pyarrow
    from pyarrow import parquet

    rows = made_rows(count)
    schema = pyarrow.Table.from_pylist(list(made_rows(1))).schema
    with parquet.ParquetWriter(path, schema) as file:
        while group := list(itertools.islice(rows, 1000)):
            file.write_table(pyarrow.Table.from_pylist(group, schema))


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prepare every size from made rows and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=70_000)
    parser.add_argument("--parquet", type=Path)
    parser.add_argument("--augmented", action="store_true")
    arguments = parser.parse_args()
    source: RowStream = MadeSource(str(arguments.rows))
    if arguments.parquet:
        job = (arguments.parquet, arguments.rows)
        writer = multiprocessing.get_context("spawn").Process(target=write_parquet, args=job)
        writer.start()
        writer.join()
        source = open_stream(arguments.parquet)
        import pyarrow.parquet  # noqa: F401 - its own memory is no matter of rows
    before, start, busy = peak(), time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        sizes = list(SIZES)
        summary = prepare_arxivdl(source, Path(folder), sizes=sizes, augmented=arguments.augmented)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"{summary.read:,} rows, {summary.kept:,} usable, {summary.rejected:,} rejected")
    print(f"{seconds:.0f} s, {busy:.0f} s of CPU")
    print(f"peak memory {before:.0f} MiB before, {peak():.0f} MiB after")


if __name__ == "__main__":
    main()
