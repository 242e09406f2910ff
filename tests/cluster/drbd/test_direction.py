"""The product's own scripts on real DRBD: B gets A's data, and A never gets B's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from include.runbook.errors import PreconditionFailed

from .conftest import Pair
from .guests import DISK_MIB, Guest

pytestmark = pytest.mark.cluster

DATA_MIB = DISK_MIB - 1
"""The last MiB of the disk holds DRBD's own metadata."""

WRITE = "dd if=/dev/urandom of=/dev/drbd0 bs=1M count=1 conv=fsync"
CHECKSUM = f"dd if=/dev/vda bs=1M count={DATA_MIB} iflag=direct | sha256sum"


def do(guest: Guest, script: str) -> str:
    """Run commands that must all succeed on a guest."""
    said = guest.run(f"set -e\n{script}")
    assert said.status == 0, f"{guest.name}: {script}\n{said.stdout}{said.stderr}"
    return said.stdout.strip()


def until(guest: Guest, question: str, answer: str) -> None:
    """Wait until DRBD on a guest gives this answer."""
    ends = time.monotonic() + 180
    while (said := do(guest, f"drbdadm {question} glance")) != answer:
        assert time.monotonic() < ends, f"{guest.name}: {question} is {said}, expected {answer}"
        time.sleep(0.2)


@pytest.fixture
def good(pair: Pair) -> Pair:
    """A is Primary with data of its own; B had been equal to DRBD, and has gone."""
    for guest in (pair.b, pair.a):
        guest.run("drbdadm down glance")
        do(guest, f"dd if=/dev/urandom of=/dev/vda bs=1M count={DISK_MIB} conv=fsync; drbdadm create-md --force glance")
    for guest in (pair.a, pair.b):
        do(guest, "drbdadm up glance")
    until(pair.a, "cstate", "Connected")
    do(pair.a, "drbdadm -- --clear-bitmap new-current-uuid glance; drbdadm primary glance")
    until(pair.b, "dstate", "UpToDate/UpToDate")
    do(pair.b, "drbdadm down glance")
    do(pair.a, WRITE)
    return pair


def metadata_outlived_it(good: Pair) -> None:
    """The reinstallation wrote to B's disk behind DRBD's back, and DRBD's metadata is still there."""
    do(good.b, "dd if=/dev/urandom of=/dev/vda bs=1M count=3 conv=fsync")


def up_without_metadata(good: Pair) -> None:
    """The reinstallation made B's disk anew, and something tried to bring B's copy up."""
    do(good.b, f"dd if=/dev/zero of=/dev/vda bs=1M count={DISK_MIB} conv=fsync")
    good.b.run("drbdadm up glance")


def up_and_disconnected(good: Pair) -> None:
    """B's old copy was brought up by itself and is not connected."""
    do(good.b, "drbdadm up glance; drbdadm disconnect glance")


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (metadata_outlived_it, ["synchronise_b"]),
        (up_without_metadata, ["synchronise_b"]),
        (up_and_disconnected, ["let_b_follow_a", "synchronise_b"]),
    ],
)
def test_a_reinstalled_b_gets_every_byte_of_a_and_then_there_is_nothing_left_to_do(
    good: Pair, found: Callable[[Pair], None], steps: list[str]
) -> None:
    found(good)
    before = do(good.a, CHECKSUM)
    told = [line for step in steps for line in good.do(step)]
    assert "worthless" in str(told) or "new metadata" in str(told)
    if steps == ["synchronise_b"]:
        assert [line for line in told if re.fullmatch(r"glance: SyncSource, [0-9.]+ % synchronised", line)], told
        assert "glance: in sync" in told
    assert (good.do("let_b_follow_a"), good.do("synchronise_b")) == ([], [])
    do(good.b, "drbdadm down glance")
    assert do(good.a, CHECKSUM) == do(good.b, CHECKSUM) == before


def b_is_newer(good: Pair) -> None:
    """B was Primary alone, after A."""
    do(good.b, "drbdadm up glance; drbdadm disconnect glance; drbdadm primary --force glance")
    do(good.b, f"{WRITE}; drbdadm secondary glance; drbdadm down glance")


def split_brain(good: Pair) -> None:
    """A and B were both Primary alone; DRBD has refused to connect them, and somebody has told A to wait again."""
    b_is_newer(good)
    do(good.b, "drbdadm up glance")
    until(good.b, "cstate", "StandAlone")
    good.a.run("drbdadm connect glance")


def a_is_secondary_and_b_newer(good: Pair) -> None:
    """What DRBD would resolve by itself, from B to A."""
    do(good.a, "drbdadm secondary glance")
    b_is_newer(good)


def a_stands_alone(good: Pair) -> None:
    """A does not want a peer."""
    do(good.a, "drbdadm disconnect glance")


def roles_are_swapped(good: Pair) -> None:
    """B is Primary, and A follows it."""
    do(good.b, "drbdadm up glance")
    until(good.b, "dstate", "UpToDate/UpToDate")
    do(good.a, "drbdadm secondary glance")
    do(good.b, "drbdadm primary glance")


@pytest.mark.parametrize(
    "found", [b_is_newer, split_brain, a_is_secondary_and_b_newer, a_stands_alone, roles_are_swapped]
)
def test_where_b_could_be_the_source_the_step_and_its_script_refuse_and_not_a_byte_of_either_changes(
    good: Pair, found: Callable[[Pair], None]
) -> None:
    found(good)

    def everything() -> list[str]:
        asked = f"{CHECKSUM}; drbdadm get-gi glance; drbdadm role glance || true"
        return [do(guest, asked) for guest in (good.a, good.b)]

    before = everything()
    with pytest.raises(PreconditionFailed, match="Find out which side has the good data"):
        good.do("let_b_follow_a")
    # The state can change between the check and the action: the script, with which both steps begin, refuses by itself.
    script = good.step("let_b_follow_a").action
    assert good.step("synchronise_b").action.startswith(script)
    alone = good.run(good.cluster.daisy, script, 60)
    assert (alone.status, "Nothing was changed here" in alone.stderr) == (3, True), alone
    assert everything() == before
