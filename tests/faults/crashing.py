"""A plugin of the Airflow under test: it kills the process of each task once, at the moment that its site's order names.

`TECS_CRASHES` is a folder with one folder for each site, whose `order.json` says `moment` (start, middle, end) and `whose`
(task: the task's own process; worker: the executor's above it, too). What is killed is noted there just before.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import paramiko
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.sdk.execution_time import task_runner

from include.runbook.step import kind


class Crashes:
    """The death that is ordered for one task, where its site has an order."""

    def __init__(self, instance: Any) -> None:
        self.task = instance.task
        server = instance._ti_context_from_server
        resumed = bool(server and server.next_method)
        self.mark = f"{instance.dag_id}.{instance.task_id}.{instance.map_index}.{'resumed' if resumed else 'begun'}"
        self.folder, self.order = _order(instance.run_id)

    def at(self, moment: str) -> None:
        """The process dies here if this is the moment and it has not died so before."""
        if self.folder is None or self.order.get("moment") != moment:
            return
        try:
            os.close(os.open(self.folder / self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if self.order["whose"] == "worker":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def sent(self, script: str) -> None:
        """A command is on its way: the middle of a task is its action where it has one, else its first command."""
        name = getattr(self.task, "step", None)
        if name is None or not kind(name).changes or re.search(rf"# \S+ {name} on ", script):
            self.at("middle")


def _order(run_id: str) -> tuple[Path | None, dict[str, str]]:
    for file in Path(os.environ["TECS_CRASHES"]).glob("*/order.json"):
        if run_id.startswith(f"{file.parent.name}-"):
            return file.parent, json.loads(file.read_text())
    return None, {}


class CrashListener:
    """Kills from inside the process in which a task runs."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Arm this process, which runs this one task."""
        crashes = Crashes(task_instance)
        crashes.at("start")
        execute, send = task_runner._execute_task, paramiko.Channel.exec_command

        @functools.wraps(execute)
        def executed(*args: Any, **kwargs: Any) -> Any:
            try:
                result = execute(*args, **kwargs)
            except (AirflowSkipException, TaskDeferred):
                crashes.at("end")
                raise
            crashes.at("end")
            return result

        def exec_command(channel: paramiko.Channel, command: str | bytes) -> None:
            send(channel, command)
            crashes.sent(command if isinstance(command, str) else command.decode())

        task_runner._execute_task = executed
        paramiko.Channel.exec_command = exec_command  # type: ignore[method-assign]


class CrashPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "crashing"
    listeners = [CrashListener()]  # noqa: RUF012
