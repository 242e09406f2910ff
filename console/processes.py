"""Processes remembered across commands, by pid and start time: a re-used pid is never ended by mistake."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

MEMBER_VARIABLE = "TECS_STACK_MEMBER"
"""Set, to the stack's state folder, in the environment of every process that a stack starts."""


@dataclass(frozen=True)
class ProcessRecord:
    """One process, told apart from a later one with the same pid by the time at which it started (epoch seconds)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessRecord | None:
        """The record of the process that has this pid now; None where there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """The very process that was recorded, if it still runs."""
        try:
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.started) > 1 or found.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return found


def members(state: str) -> list[psutil.Process]:
    """The running processes that the stack with this state folder started, directly or through its children."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.environ().get(MEMBER_VARIABLE) == state and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """The children of a process and theirs; empty when it has just ended."""
    try:
        children: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def end(processes: Iterable[psutil.Process], patience: float) -> list[psutil.Process]:
    """Each process is asked to end, and killed after ``patience`` seconds; the ones still there are returned."""
    waiting = list(processes)
    for process in waiting:
        _tell(process, kill=False)
    _, waiting = psutil.wait_procs(waiting, timeout=patience)
    for process in waiting:
        _tell(process, kill=True)
    left: list[psutil.Process] = psutil.wait_procs(waiting, timeout=5)[1]
    return left


def _tell(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
