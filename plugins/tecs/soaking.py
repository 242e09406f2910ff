"""U3 in Airflow: the task that watches the new release for the time of its soak, without holding a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.sdk import BaseOperator, Context, XComArg
from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.runbook.errors import RunbookError
from include.runbook.goals import returned
from include.runbook.perform import judge
from include.runbook.reach import Credentials, sweep
from include.runbook.soak import Judgement, Result, Seen, Watch, checks, pause
from include.runbook.step import Goal, Run
from tecs.failures import Failure, failed, reported
from tecs.requests import run_named, run_of
from tecs.ssh import SshHosts, credentials

JUDGED = "judged"
"""The XCom key of what the soak has come to."""


class SoakTime(BaseOperator):
    """Watches the cluster while B serves on the new release. Fails at once where a failure holds for several looks in a row.

    What could not be read is told apart: then the release is not known to be good. Skipped once A is upgraded, too.
    """

    template_fields: Sequence[str] = ("computes",)
    records_itself = False

    def __init__(self, *, computes: XComArg | list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.computes = computes

    def execute(self, context: Context) -> None:
        """Begin to watch."""
        with reported(self.log):
            run = run_of(context)
            with SshHosts(run.cluster, self.log) as hosts:
                if judge(returned(run, run.cluster.controllers.a), hosts).met:
                    raise AirflowSkipException("already true: A is upgraded, which follows the soak")
        seconds = run.cluster.seconds(run.cluster.soak)
        self.log.info("the soak takes %.0f s, with a look every %.0f s", seconds, pause(run.cluster))
        dag_run = context["dag_run"]
        trigger = SoakTrigger(
            dag_id=dag_run.dag_id,
            run_id=dag_run.run_id,
            conf={**context["params"], **(dag_run.conf or {})},
            computes=list(self.computes),
            ends=time.time() + seconds,
        )
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Take the judgement for whoever decides what follows; raises AirflowFailException unless it is a pass."""
        context["ti"].xcom_push(key=JUDGED, value=event)
        told = "\n".join(f"  - {line}" for line in event["found"])
        if event["result"] != Result.PASS.value:
            raise failed(Failure.RELEASE_NOT_GOOD, f"the new release {SAID[Result(event['result'])]}:\n{told}")
        self.log.info("the new release has passed:\n%s", told)


SAID = {Result.FAIL: "proves bad", Result.INCONCLUSIVE: "cannot be judged"}


class SoakTrigger(BaseTrigger):
    """Looks at the cluster again and again until there is a judgement. `ends`: when the soak is over (s since 1970)."""

    def __init__(
        self, *, dag_id: str, run_id: str, conf: Mapping[str, Any], computes: Sequence[str], ends: float
    ) -> None:
        super().__init__()
        self.dag_id, self.run_id, self.conf, self.computes, self.ends = dag_id, run_id, conf, computes, ends

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what re-makes this trigger in another process. What was seen so far is not kept: looks begin anew."""
        names = ("dag_id", "run_id", "conf", "computes", "ends")
        return "tecs.soaking.SoakTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield once, with the judgement."""
        run = run_named(self.dag_id, self.run_id, self.conf)
        checked = checks(run, self.computes)
        watch = Watch()
        while True:
            watch = watch.after(await self._look(run, checked))
            for name in {**watch.failed, **watch.untold}:
                self.log.warning("%s: %s", name, watch.found[name])
            judgement = watch.judgement(over=time.time() >= self.ends)
            if judgement is not None:
                yield TriggerEvent(_value(judgement))
                return
            await asyncio.sleep(pause(run.cluster))

    async def _look(self, run: Run, checked: Sequence[Goal]) -> dict[str, Seen]:
        try:
            known = await self._credentials(run)
            answers = await sweep(run.cluster, [read for goal in checked for read in goal.reads], known.__getitem__)
        except RunbookError as error:  # the Daisy host, which holds the keys of all others
            return {goal.sentence: Seen(False, False, str(error)) for goal in checked}
        seen = {}
        for goal in checked:
            verdict = answers.judge(goal)
            told = not any(answers.unread(read) for read in goal.reads)
            seen[goal.sentence] = Seen(verdict.met, told, verdict.found)
        return seen

    async def _credentials(self, run: Run) -> dict[str, Credentials]:
        ids = {host.connection for host in run.cluster.hosts}
        return {id: credentials(await get_async_connection(id)) for id in ids}


def _value(judgement: Judgement) -> dict[str, Any]:
    return {**asdict(judgement), "result": judgement.result.value, "found": list(judgement.found)}
