"""The trigger that watches a detached job: streams its output, warns when it is late, ends it when it must be ended."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncssh
from airflow.providers.common.compat.connection import get_async_connection
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.runbook import job
from include.runbook.cluster import Host, Notify
from include.runbook.errors import RunbookError
from include.runbook.notice import Notice
from include.runbook.perform import PASSWORD_PROMPT
from include.runbook.reach import connect, run
from include.runbook.redaction import masked
from include.runbook.shell import printable
from tecs.cancelling import REASON
from tecs.notifiers import send
from tecs.ssh import credentials

QUICKEST, SLOWEST = 0.2, 1.0
"""Seconds between two looks at a job: quick at first, so that short jobs end promptly."""

PATIENCE = 600.0
"""Seconds without a connection after which the step is handed back to Airflow's retries; the job itself goes on."""


class JobTrigger(BaseTrigger):
    """Watches one job on one host over one session, which is opened again when it is lost."""

    def __init__(
        self,
        *,
        host: dict[str, Any],
        host_key: str | None,
        folder: str,
        label: str,
        begun: float,
        sla: float,
        late: Mapping[str, str] | None = None,
        notify: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.host, self.host_key, self.folder, self.label = host, host_key, folder, label
        self.begun, self.sla, self.late, self.notify = begun, sla, late, notify

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what re-makes this trigger in another process. None of it is secret."""
        names = ("host", "host_key", "folder", "label", "begun", "sla", "late", "notify")
        return "tecs.triggers.JobTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield once, when the job is over or its host has been out of reach for too long."""
        offset, lost_since, warned, unended = 0, None, False, ""
        while True:
            try:
                async with await self._connect() as connection:
                    pause = QUICKEST
                    while True:
                        seen = job.read_look(await run(connection, self._host, job.look(self.folder, offset)), offset)
                        lost_since = None
                        offset = seen.offset
                        # A line may come in several looks: what is new is read, and shown, together with what it ends.
                        unended += seen.output
                        if seen.ended and len(seen.output) < job.CHUNK:
                            self._show(unended)
                            yield TriggerEvent({"begun": self.begun, "warned": warned})
                            return
                        if PASSWORD_PROMPT in unended.lower() and not seen.ended:
                            await self._refuse_password(connection)
                        whole = len(unended) if len(unended) > job.CHUNK else unended.rfind("\n") + 1
                        self._show(unended[:whole])
                        unended = unended[whole:]
                        warned = warned or self._warn_when_late()
                        await asyncio.sleep(pause)
                        pause = min(SLOWEST, pause * 1.5)
            except (RunbookError, OSError, asyncssh.Error) as error:
                lost_since = lost_since or time.monotonic()
                self.log.warning("%s is out of reach (%s); its job goes on, trying again", self._host.name, error)
                if time.monotonic() - lost_since > PATIENCE:
                    yield TriggerEvent({"begun": self.begun, "warned": warned, "unreachable": str(error)})
                    return
                await asyncio.sleep(2)

    async def on_kill(self) -> None:
        """End the job: the task was marked failed or cleared by a person."""
        await self._stop(REASON)
        self.log.warning("%s: the job was cancelled", self.label)

    @property
    def _host(self) -> Host:
        return Host.model_validate(self.host)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        found = credentials(await get_async_connection(self._host.connection))
        return await connect(self._host, found, self.host_key or found.host_key)

    async def _refuse_password(self, connection: asyncssh.SSHClientConnection) -> None:
        """End a job that waits for a password nobody will type."""
        self.log.error("%s asks for a password: the job is ended", self.label)
        reason = f"it asked for a {PASSWORD_PROMPT} nobody will type one"
        await run(connection, self._host, job.stop(self.folder, reason))

    async def _stop(self, reason: str) -> None:
        async with await self._connect() as connection:
            await run(connection, self._host, job.stop(self.folder, reason))

    def _warn_when_late(self) -> bool:
        late = time.time() - self.begun > self.sla
        if late:
            self.log.warning("SLA crossed: %s takes longer than %.1f s and goes on", self.label, self.sla)
            self._tell()
        return late

    def _tell(self) -> None:
        """Send the notice that the job is late from a thread: neither this job nor another must wait for a mail server."""
        if self.late is not None and self.notify:
            channels = [Notify.model_validate(channel) for channel in self.notify]
            # The context says whose log the thread's lines belong to.
            sending = contextvars.copy_context()
            arguments = (send, Notice.of(self.late), channels, self.log)
            threading.Thread(target=sending.run, args=arguments, daemon=True).start()

    def _show(self, output: str) -> None:
        for line in masked(printable(output)).splitlines():
            if line.strip():
                self.log.info(line[:400])
