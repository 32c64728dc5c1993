"""Two machines: two launchers that meet by c10d, one of them lost, and the run gone on with.

Both are processes of this machine and speak over its loopback device.
"""

import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.launched import Ended, Loss, Machine, free_port, launch, launch_and_lose
from tests.engine.rank_runs import adapter, logged, make_folder

SECONDS_TO_END = 90


@dataclass(frozen=True)
class Story:
    """A run that lost its second machine; a try without a shared folder; the same again."""

    folder: Path
    loss: Loss
    apart: Ended
    second: Ended


def machines(first: Path, second: Path) -> list[Machine]:
    """The launch line of 2node.yml for two machines with one rank each."""
    options = [
        *("--config_file", "recipes/accelerate/2node.yml", "--rdzv_backend", "c10d"),
        *("--num_processes", "2"),
        *("--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())),
        *("--machine_rank", "1"),  # c10d does not use it; with 0 the port must not be in use here
    ]
    return [Machine(first, options), Machine(second, options)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = make_folder(tmp_path_factory.mktemp("two-nodes"))
    elsewhere = folder.with_name("elsewhere")
    shutil.copytree(folder, elsewhere, symlinks=True)
    loss = launch_and_lose(
        "zero2.yml", folder / "outputs/zero2", machines(folder, folder), "machine"
    )
    apart = launch("zero2.yml", machines(folder, elsewhere))
    return Story(folder, loss, apart, launch("zero2.yml", machines(folder, folder)))


def test_a_lost_machine_ends_the_launch_on_the_other(story: Story) -> None:
    survivor, lost = story.loss.ended.codes
    assert (survivor, lost) == (1, -signal.SIGKILL)
    assert story.loss.ended.left == []
    assert story.loss.seconds < SECONDS_TO_END


def test_the_survivor_says_that_its_connection_was_closed(story: Story) -> None:
    # its rank says the first; its launcher the second, where the lost machine held the store
    says = r"Connection (closed by|reset by) peer|The connection to the C10d store has failed"
    assert re.search(says, story.loss.ended.printed[0])


def test_machines_that_see_different_run_folders_are_stopped(story: Story) -> None:
    assert story.apart.codes == [1, 1]
    assert re.search(
        r"outputs/zero2: rank 0 would go on from (checkpoint-4|the start), "
        r"rank 1 from (checkpoint-4|the start): all machines must see one `output_dir`",
        story.apart.printed[0],
    )


def test_the_same_launches_go_on_after_a_lost_machine(story: Story) -> None:
    assert story.loss.kept == ["checkpoint-4"]
    assert story.second.codes == [0, 0], "".join(text[-3000:] for text in story.second.printed)
    assert "outputs/zero2: goes on from checkpoint-4" in "".join(story.second.printed)


def test_two_machines_end_where_one_does(spread: Path, story: Story) -> None:
    assert logged(story.folder, "zero2", "loss") == logged(spread, "zero2", "loss")
    assert adapter(story.folder, "zero2").read_bytes() == adapter(spread, "zero2").read_bytes()
