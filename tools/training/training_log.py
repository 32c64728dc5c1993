"""Trainer callback: keeps the trainer's state in the run folder while training runs.

The trainer itself writes `trainer_state.json` with a checkpoint only, so that between two of them
no file holds losses and learning rates, and a run that dies loses the last ones.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StateWriter(TrainerCallback):
    """Writes the state, whole, to `OUTPUT_DIR/trainer_state.json` each time something is logged."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Replace the state of an earlier run at once."""
        self.on_log(args, state, control)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the state from the first rank."""
        if not state.is_world_process_zero:
            return
        path = Path(args.output_dir) / "trainer_state.json"
        fresh = path.with_name(".trainer_state.json.next")
        with suppress(OSError):  # training continues where its log cannot be written
            state.save_to_json(str(fresh))
            fresh.replace(path)
