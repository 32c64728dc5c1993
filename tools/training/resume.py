"""Continues a run that was cut off, or refuses to. The decision comes before anything is loaded.

Axolotl resumes from the checkpoint with the highest number, whatever is in it and whatever the
recipe says. Here a half-written checkpoint is set aside (renamed, never deleted), and a run
continues only with the data, recipe and base that it was started with (`run_record`).

A checkpoint is checked without opening a pickle: safetensors by header and size, PyTorch's files,
which are zip archives, by the checksum of each member. The trainer then loads the run's own
pickles: optimizer, schedule and random state with PyTorch's `weights_only`, DeepSpeed's shards
without it. So resume only a run folder that you trust.
"""

import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from safetensors import safe_open

from tools.files import NotWritten, writing
from tools.machine import describe_machine, peak_memory
from tools.run_folder import checkpoint_folders, checkpoint_step
from tools.training import run_record

STATE = "trainer_state.json"
SECONDS_TO_SPEAK = 60  # the launcher ends all ranks when one ends: the one that speaks goes first
ANEW = "to train again from the start, move that folder away or set another `output_dir`"


@dataclass(frozen=True)
class Launch:
    """One process of a launch: the recipe's values with the command line's, and its place."""

    values: dict[str, Any]
    ranks: int = 1
    rank: int = 0  # this process; 0 alone writes
    local_rank: int = 0  # this process among those of its machine

    @property
    def run(self) -> Path:
        """The run folder."""
        return Path(self.values["output_dir"])

    def say(self, message: str) -> None:
        """Print a message about the run folder, once."""
        if self.rank == 0:
            print(f"{self.run}: {message}", file=sys.stderr, flush=True)

    def stop(self, message: str) -> NoReturn:
        """End all ranks with exit code 2 and one message on each machine."""
        if self.local_rank != 0:
            time.sleep(SECONDS_TO_SPEAK)
        print(message, file=sys.stderr, flush=True)
        raise SystemExit(2)


def this_launch(values: dict[str, Any]) -> Launch:
    """The launch that this process is part of, by what the launcher has set for it."""
    ranks, rank, local_rank = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
    )
    return Launch(values, ranks, rank, local_rank)


def begin_or_resume(launch: Launch) -> Path | None:
    """Return the checkpoint to continue from; None for a new run.

    Half-written checkpoints are renamed, and a run that starts is recorded. Exits with 2 and a
    message where the run may not continue, and with 0 where it is finished. Each rank comes to the
    same answer by itself, before or after rank 0 has written.
    """
    try:
        return _begin_or_resume(launch)
    except NotWritten as error:
        launch.stop(str(error))
    except OSError as error:
        launch.stop(f"{error.filename or launch.run}: {error.strerror}; nothing was trained")


def _begin_or_resume(launch: Launch) -> Path | None:
    checkpoints = [*checkpoint_folders(launch.run).values()][::-1]  # the last one first
    before = run_record.read(launch.run)
    now = run_record.describe(launch.values, launch.ranks)
    if problem := _objection(launch, bool(checkpoints), before, now):
        launch.stop(f"{launch.run}: {problem}")
    if checkpoints and before and before.finished:
        launch.say(f"this run is finished, nothing is left to do; {ANEW}")
        raise SystemExit(0)
    whole = _last_whole(launch, checkpoints)
    if whole:
        launch.say(f"continues from {whole.name}")
    if launch.rank == 0:
        record = (before if whole else None) or now
        step = (checkpoint_step(whole) if whole else None) or 0
        begun = run_record.Launched(started=_now(), machine=describe_machine(), step=step)
        _write(launch, record, [*record.launches, begun])
    return whole


def stop_unless_ranks_agree(launch: Launch, checkpoint: Path | None) -> None:
    """Compare where each rank continues; machines that see different run folders would differ.

    They would train to the end, each from its own step. Exits with 2 and a message.
    """
    if launch.ranks == 1:
        return
    from axolotl.utils.distributed import init_distributed_state
    from torch.distributed import all_gather_object

    init_distributed_state()  # Axolotl's next step would
    places: list[str] = [""] * launch.ranks
    all_gather_object(places, checkpoint.name if checkpoint else "the start")
    for rank, place in enumerate(places):
        if place != places[0]:
            launch.stop(
                f"{launch.run}: rank 0 would continue from {places[0]}, rank {rank} from {place}: "
                "all machines must see one `output_dir`; put it on storage that they share"
            )


def finish(launch: Launch) -> None:
    """Record that the run is finished: its model is saved."""
    record = run_record.read(launch.run)
    if record and launch.rank == 0:
        *before, last = record.launches
        ended = last.model_copy(update={"ended": _now(), **peak_memory()})
        try:
            _write(launch, record, [*before, ended], finished=True)
        except NotWritten as error:
            launch.say(f"the model is saved, but not that the run is finished: {error}")


def _write(
    launch: Launch,
    record: run_record.Record,
    launches: list[run_record.Launched],
    **changes: Any,
) -> None:
    run_record.write(launch.run, record.model_copy(update={"launches": launches, **changes}))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _objection(
    launch: Launch,
    has_checkpoints: bool,
    before: run_record.Record | None,
    now: run_record.Record,
) -> str | None:
    """Say why a launch may not continue from what its folder holds, and what to do."""
    if launch.values.get("resume_from_checkpoint"):
        return (
            "a run continues from its own last whole checkpoint: leave `resume_from_checkpoint` "
            "out; to go further back, move the later ones away"
        )
    if not has_checkpoints:
        return None
    if not launch.values.get("auto_resume_from_checkpoints"):
        return (
            "holds checkpoints, which a new run would overwrite: set "
            f"`auto_resume_from_checkpoints: true` to continue from them; {ANEW}"
        )
    if before is None:
        return (
            f"holds checkpoints but no usable {run_record.NAME}, so what they were trained on is "
            f"not known; {ANEW}"
        )
    if changed := run_record.differences(before, now):
        what = "; ".join(changed)
        return f"the run was started differently: {what}. To continue it, undo that; {ANEW}"
    if versions := run_record.other_versions(before, now):
        launch.say(f"other versions than at its start, results may differ: {', '.join(versions)}")
    return None


def _last_whole(launch: Launch, checkpoints: list[Path]) -> Path | None:
    """The last checkpoint that is whole; those after it are set aside."""
    for checkpoint in checkpoints:
        missing = what_is_missing(checkpoint, launch)
        if missing is None:
            return checkpoint
        if launch.rank == 0:
            _set_aside(launch, checkpoint, missing)
    return None


def _set_aside(launch: Launch, checkpoint: Path, missing: str) -> None:
    """Rename a checkpoint so that neither Axolotl nor transformers takes it for one."""
    place = checkpoint.with_name(f"incomplete-{checkpoint.name}")
    while place.exists():
        place = place.with_name(f"{place.name}-again")
    with writing(place):
        checkpoint.rename(place)
    launch.say(f"{checkpoint.name} is half-written ({missing}); it is kept as {place.name}")


# is a checkpoint whole? By what transformers writes (Trainer._save_checkpoint)


class _NotWhole(Exception):
    """What a checkpoint lacks."""


def what_is_missing(checkpoint: Path, launch: Launch) -> str | None:
    """Say why training cannot continue from a checkpoint; None if it is whole."""
    try:
        _check_step(checkpoint)
        for name in _needed(checkpoint, launch):
            if not (checkpoint / name).is_file():
                raise _NotWhole(f"{name} is missing")
        for path in sorted(checkpoint.rglob("*")):
            _check_readable(path)
    except _NotWhole as problem:
        return str(problem)
    return None


def _check_step(checkpoint: Path) -> None:
    """Rank 0 writes the trainer's state last of all."""
    path, step = checkpoint / STATE, checkpoint_step(checkpoint)
    if not path.is_file():
        raise _NotWhole(f"{STATE} is missing")
    _check_readable(path)
    state = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(state, dict) or state.get("global_step") != step:
        raise _NotWhole(f"{STATE} is not of step {step}")


def _needed(checkpoint: Path, launch: Launch) -> Iterator[str]:
    """The files without which a launch cannot continue from a checkpoint."""
    if launch.values.get("adapter"):
        yield from ("adapter_config.json", "adapter_model.safetensors")
    else:  # the whole model is trained
        yield from ("config.json", "model.safetensors")
    yield "scheduler.pt"
    if launch.ranks == 1:
        yield "rng_state.pth"
    else:
        yield from (f"rng_state_{rank}.pth" for rank in range(launch.ranks))
    if launch.values.get("deepspeed"):
        yield from _needed_by_deepspeed(checkpoint, launch.ranks)
    elif launch.values.get("fsdp_config"):
        yield from ("pytorch_model_fsdp.bin", "optimizer.bin")  # with FULL_STATE_DICT
    else:
        yield "optimizer.pt"


def _needed_by_deepspeed(checkpoint: Path, ranks: int) -> Iterator[str]:
    """`latest`, which DeepSpeed writes last, names the folder with a shard of each rank.

    ZeRO-3 shards the weights too, and writes no file with all of them.
    """
    latest = checkpoint / "latest"
    if not latest.is_file():
        raise _NotWhole("latest is missing")
    folder = latest.read_text(encoding="utf-8").strip()
    sharded = len(list((checkpoint / folder).glob("*zero_pp_rank_*_model_states.pt")))
    if sharded == 0:
        yield f"{folder}/mp_rank_00_model_states.pt"
    elif sharded != ranks:
        raise _NotWhole(f"{folder} holds {sharded} model shards of {ranks}")
    shards = len(list((checkpoint / folder).glob("*zero_pp_rank_*_optim_states.pt")))
    if shards != ranks:
        raise _NotWhole(f"{folder} holds {shards} optimizer shards of {ranks}")


def _check_readable(path: Path) -> None:
    """Read a file to its end, as far as its kind allows without unpickling it."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):  # compares its header with its size
                return
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
            return
        elif path.suffix not in {".pt", ".pth", ".bin"}:
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception:  # zipfile and safetensors raise many errors on a damaged file
        damaged = path.name
    if damaged:
        raise _NotWhole(f"{path.name} is cut short or damaged")
