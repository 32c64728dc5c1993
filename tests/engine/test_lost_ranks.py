"""A run that loses a rank, goes on with a second machine, loses that, and ends as if undisturbed.

Both machines are processes of this one: two launchers, which meet by c10d over the loopback device.
"""

import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.launched import Loss, free_port, launch_and_lose
from tests.engine.rank_runs import adapter, logged, make_folder, train

NAME = "zero2"
SECONDS_TO_END = 90  # the launcher waits 30 s for a rank that does not end when it is told to


@dataclass(frozen=True)
class Story:
    """What was lost; a try without a shared folder; what the ranks of the last launch printed."""

    folder: Path
    rank: Loss
    apart: list[str]
    machine: Loss
    last: list[str]


@pytest.fixture(scope="module")
def story(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = make_folder(tmp_path_factory.mktemp("lost"))
    elsewhere = folder.with_name("elsewhere")
    shutil.copytree(folder, elsewhere, symlinks=True)
    rank = launch_and_lose(NAME, folder, [one_machine()], "rank 6")
    apart = train(NAME, [folder, elsewhere])
    machine = launch_and_lose(NAME, folder, two_machines(), "machine 10")
    return Story(folder, rank, apart, machine, train(NAME, [folder, folder]))


def one_machine() -> list[str]:
    """The options of the launch line of 2gpu.yml."""
    port = str(free_port())
    return ["--config_file", "recipes/accelerate/2gpu.yml", "--main_process_port", port]


def two_machines() -> list[list[str]]:
    """The options of the launch line of 2node.yml, for two machines with one rank each."""
    options = [
        *("--config_file", "recipes/accelerate/2node.yml", "--rdzv_backend", "c10d"),
        *("--num_processes", "2"),
        *("--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())),
        *("--machine_rank", "1"),  # c10d does not use it; with 0 the port must not be in use here
    ]
    return [options, [*options]]


def test_a_lost_rank_ends_the_other_and_the_launch(story: Story) -> None:
    assert story.rank.codes == [1]
    assert story.rank.left == []
    assert story.rank.seconds < SECONDS_TO_END
    assert story.rank.kept == ["checkpoint-4"]


def test_the_launcher_says_which_rank_was_lost_and_how(story: Story) -> None:
    report = story.rank.printed[0].partition("Root Cause")[2]
    assert re.search(r"rank +: 1 \(local_rank: 1\)", report), report
    assert "Signal 9 (SIGKILL) received by PID" in report


def test_machines_that_see_different_run_folders_are_stopped(story: Story) -> None:
    assert (
        "outputs/zero2: rank 0 would continue from checkpoint-4, rank 1 from the start: "
        "all machines must see one `output_dir`"
    ) in story.apart[0]


def test_a_launch_goes_on_after_a_lost_rank(story: Story) -> None:
    printed = "".join(story.machine.printed)
    assert "outputs/zero2: continues from checkpoint-4" in printed, printed[-3000:]


def test_a_lost_machine_ends_the_launch_on_the_other(story: Story) -> None:
    assert story.machine.codes == [1, -signal.SIGKILL]
    assert story.machine.left == []
    assert story.machine.seconds < SECONDS_TO_END
    assert story.machine.kept == ["checkpoint-4", "checkpoint-8"]


def test_the_survivor_says_that_its_connection_was_closed(story: Story) -> None:
    # its rank says the first; its launcher the second, where the lost machine held the store
    says = r"Connection (closed by|reset by) peer|The connection to the C10d store has failed"
    assert re.search(says, story.machine.printed[0])


def test_the_run_goes_on_after_a_lost_machine_and_ends_as_if_undisturbed(
    spread: Path, story: Story
) -> None:
    assert "outputs/zero2: continues from checkpoint-8" in story.last[0], story.last[0][-3000:]
    assert logged(story.folder, NAME, "loss") == logged(spread, NAME, "loss")
    assert adapter(story.folder, NAME).read_bytes() == adapter(spread, NAME).read_bytes()
