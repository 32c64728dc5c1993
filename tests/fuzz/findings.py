"""What came of the mutations, counted by kind."""

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.errors import UserError


class Findings:
    """Counts what was answered, refused and failed; the first of each failure is shown."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed = False

    @contextmanager
    def attempt(self, kind: str, what: Any, times: int = 1) -> Iterator[None]:
        """Count a mutation; a UserError is an answer, another exception a failure."""
        try:
            yield
            self.counts[f"{kind}: answered"] += times
        except UserError:
            self.counts[f"{kind}: refused"] += times
        except Exception as error:
            self.failed = True
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            key = f"{kind}: FAILED, {type(error).__name__} at {place}"
            if key not in self.counts:
                traceback.print_exc()
                print(key, ascii(what)[:2000], file=sys.stderr)
            self.counts[key] += times
