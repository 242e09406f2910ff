"""Which settings of a compute's nova.conf outlive its reinstallation, and what became of each one (A4.7).

The files are read on the hosts, by `conf_edit.py`. What comes from there is masked already: no password reaches this side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Rule = Literal["restore", "fresh", "set"]
"""What holds after a reinstallation: the value of before, the installer's value, or one computed from the inventory."""

Table = Mapping[str, Rule]
"""SECTION/KEY -> rule; `*` stands for any letters. A row that names its key wins over one with `*`; of those, the first."""

COMPUTED = ("compute_manager", "vncserver_proxyclient_address", "server_proxyclient_address")
"""The keys for which there is a value to `set`; the last is what later releases call the one before it."""

OVS: Table = {
    "DEFAULT/compute_manager": "set",
    "DEFAULT/vncserver_proxyclient_address": "set",
    # Where consoles are reached: virtual IPs or their names, which an installation by hand leaves as they are in tecs.conf.
    "DEFAULT/novncproxy_base_url": "restore",
    "vnc/novncproxy_base_url": "restore",
    # Multipath. [libvirt] is where nova reads it; sites have it in [DEFAULT] too. Each stays in its own section.
    "DEFAULT/iscsi_use_multipath": "restore",
    "DEFAULT/volume_use_multipath": "restore",
    "libvirt/iscsi_use_multipath": "restore",
    "libvirt/volume_use_multipath": "restore",
    # Huge pages and CPU pinning.
    "DEFAULT/reserved_huge_pages": "restore",
    "libvirt/reserved_huge_pages": "restore",
    "DEFAULT/vcpu_pin_set": "restore",
    "DEFAULT/vcpupin_policy": "restore",
    "compute/cpu_*_set": "restore",
    # Devices that are handed to VMs.
    "DEFAULT/pci_passthrough_whitelist": "restore",
    "DEFAULT/pci_alias": "restore",
    "pci/passthrough_whitelist": "restore",
    "pci/device_spec": "restore",
    "pci/alias": "restore",
    # Disks of VMs in Ceph.
    "libvirt/images_type": "restore",
    "libvirt/images_rbd_*": "restore",
    "libvirt/rbd_*": "restore",
    # What the installer makes for the release that it installs.
    "*/*password*": "fresh",
    "*/*secret*": "fresh",
    "*/*token*": "fresh",
    "*/transport_url": "fresh",
    "*/connection": "fresh",
    "*/sql_connection": "fresh",
}

DVS: Table = {
    **OVS,
    "DEFAULT/dvs_high_cpu_set": "restore",
    "DEFAULT/vsg_card_cpu_set": "restore",
    "DEFAULT/default_ephemeral_format": "restore",
}


def completed(rows: Table, built_in: Table) -> Table:
    """Return the inventory's rows, then those built-in ones that they do not replace."""
    return {**rows, **{pattern: rule for pattern, rule in built_in.items() if pattern not in rows}}


def flaw_in(rows: Table) -> str | None:
    """Return what is wrong with rows of an inventory: only a key of its own that can be computed can be set."""
    for pattern, rule in rows.items():
        section, _, key = pattern.partition("/")
        if rule == "set" and ("*" in section or key not in COMPUTED):
            return f"{pattern}: set: no value is known for it; expected one section and one of: {', '.join(COMPUTED)}"
    return None


def program_rules(table: Table, computed: Mapping[str, str]) -> str:
    """Return the table as `conf_edit carry` and `compare` read it: the first row that fits a key is the one that counts."""
    rows = []
    for pattern, rule in sorted(table.items(), key=lambda row: "*" in row[0]):
        section, _, key = pattern.partition("/")
        row: dict[str, object] = {"section": section, "key": key, "rule": rule}
        rows.append(row | ({"values": [computed[key]]} if rule == "set" else {}))
    return json.dumps(rows)


@dataclass(frozen=True)
class Setting:
    """One key that is not the same in all three files: its values before, as installed, and now, secrets masked.

    `changed`: the values of now are not those of before, which masked ones may not show. `rule` is `unlisted` for a key
    that is in no row.
    """

    section: str
    key: str
    rule: Rule | Literal["unlisted"]
    before: tuple[str, ...]
    fresh: tuple[str, ...]
    after: tuple[str, ...]
    changed: bool

    @property
    def unexplained(self) -> bool:
        """True when the key differs from before, and no row says that it is to be the installer's or a computed one.

        That a `restore` differs happens where the key had no value before: the installer's then stays.
        """
        return self.changed and self.rule not in ("fresh", "set")

    @property
    def told(self) -> str:
        """The difference as an operator reads it."""
        return f"{self.section}/{self.key} was {_listed(self.before)}, is {_listed(self.after)}"


def read_settings(text: str) -> tuple[Setting, ...]:
    """Read what `conf_edit compare` printed; raise ValueError for anything else."""
    try:
        return tuple(setting_of(json.loads(line)) for line in text.splitlines())
    except (TypeError, KeyError, RecursionError) as unexpected:
        raise ValueError(f"no line of a comparison: {unexpected}") from unexpected


def differences_told(settings: Sequence[Setting]) -> str:
    """Return what became of the settings as one line; a difference that nobody asked for is a warning."""
    unexplained = [setting.told for setting in settings if setting.unexplained]
    if unexplained:
        count = f"{len(unexplained)} setting{'s differ' if len(unexplained) > 1 else ' differs'}"
        return f"WARNING: {count} from before, and carry_over does not say why: {'; '.join(unexplained)}"
    return "every setting is as before, or as carry_over says"


def setting_of(row: Mapping[str, Any]) -> Setting:
    """Return the setting that one line of `conf_edit compare` tells of; raises KeyError or TypeError for no such line."""
    before, fresh, after = (tuple(row[file]) for file in ("before", "fresh", "after"))
    if not all(isinstance(text, str) for text in (row["section"], row["key"], row["rule"], *before, *fresh, *after)):
        raise TypeError("a text is something else")
    return Setting(row["section"], row["key"], row["rule"], before, fresh, after, row["changed"])


def _listed(values: Sequence[str]) -> str:
    return f"[{', '.join(values)}]" if values else "absent"
