"""The task that watches the new release: it hands its looks to a trigger, and the trigger's judgement to whoever decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from include.runbook.cluster import Cluster
from include.runbook.errors import HostUnreachable, RunbookError
from include.runbook.reach import Sweep
from include.runbook.shell import Output
from include.runbook.step import Read

Answer = Callable[[Read], Output | RunbookError]


@pytest.fixture
def watched(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the trigger on hosts that answer so; return its event. Time passes with each look."""
    import tecs.soaking

    def watch(answer: Answer, *, looks: int) -> dict[str, Any]:
        seen = 0

        async def sweep(of: Cluster, reads: Iterable[Read], credentials_of: object) -> Sweep:
            nonlocal seen
            seen += 1
            return Sweep({read: answer(read) for read in dict.fromkeys(reads)})

        async def known(self: object, run: object) -> dict[str, object]:
            return {}

        monkeypatch.setattr(tecs.soaking, "sweep", sweep)
        monkeypatch.setattr(tecs.soaking, "pause", lambda cluster: 0.0)
        monkeypatch.setattr(tecs.soaking.SoakTrigger, "_credentials", known)
        monkeypatch.setattr(tecs.soaking, "time", SimpleNamespace(time=lambda: float(seen)))
        trigger = tecs.soaking.SoakTrigger(
            dag_id="upgrade_cluster", run_id="night-1", conf={"cluster": "example"}, computes=[], ends=float(looks)
        )
        path, arguments = trigger.serialize()
        assert path == "tecs.soaking.SoakTrigger"
        again = tecs.soaking.SoakTrigger(**arguments)
        event = asyncio.run(anext(again.run())).payload
        return {**event, "looks": seen}

    return watch


def test_hosts_that_cannot_be_read_leave_it_open_and_are_watched_to_the_end(watched: Any) -> None:
    event = watched(lambda read: HostUnreachable(read.host.name, "no route"), looks=5)
    assert (event["result"], event["looks"]) == ("inconclusive", 5)
    assert any("no route" in line for line in event["found"])


def test_what_hosts_say_is_wrong_ends_the_soak_before_its_time(watched: Any) -> None:
    event = watched(lambda read: Output(1, "", "Internal Server Error (HTTP 500)"), looks=500)
    assert (event["result"], event["looks"]) == ("fail", 3)
    assert any(line.startswith("the cloud's API answers: ") and "HTTP 500" in line for line in event["found"])


@pytest.mark.parametrize(("result", "passes"), [("pass", True), ("fail", False), ("inconclusive", False)])
def test_the_task_fails_unless_the_release_has_passed_and_leaves_the_judgement_in_any_case(
    result: str, passes: bool
) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from tecs.soaking import JUDGED, SoakTime

    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    event = {"result": result, "found": ["this was seen"]}
    task = SoakTime(task_id="U3_soak", computes=[])
    if passes:
        task.resume({"ti": ti}, event)
    else:
        with pytest.raises(AirflowFailException, match="this was seen"):
            task.resume({"ti": ti}, event)
    assert pushed == {JUDGED: event}
