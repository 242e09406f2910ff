"""The VMs of a survey by their ids. Names are for people: two VMs may share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

NOWHERE = "nowhere"
"""The host of a VM that is placed on none."""


@dataclass(frozen=True)
class Vm:
    """A VM as it was listed: its name, the compute that it is on, and Nova's word for its state."""

    name: str
    host: str
    status: str


Vms = Mapping[str, Vm]
"""VMs by id."""


def hosts_by_name(*listed: Vms) -> list[dict[str, str]]:
    """Return of each list where its VMs are, by names that are the same in all of them; a name that two share has the id."""
    names = {id: vm.name for vms in reversed(listed) for id, vm in vms.items()}
    shared = Counter(names.values())
    return [{_label(id, names[id], shared): vm.host for id, vm in vms.items()} for vms in listed]


def _label(id: str, name: str, shared: Counter[str]) -> str:
    return name if shared[name] == 1 else f"{name} ({id})"
