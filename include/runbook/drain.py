"""Move the VMs of a batch of computes by the `openstack` client, a few at a time, and name each that stays with its reason.

This file is both a module and a program that is sent to a controller as text and run there by whatever Python it has,
which is 2.7 on the real nodes. So it uses the standard library only, and syntax that both generations read. The
client's credentials are in the environment. Every call of the client costs about two seconds, so VMs are read by lists.

    list COMPUTE...                 print the VMs of these computes as JSON: what each needs, and why it cannot be moved
    room CPU_RATIO RAM_RATIO        print what is free on each compute that is up and enabled, as JSON
    empty ORDER RELEASES ACROSS     keep new VMs off the computes of the order, and move away what can be moved
    give-back ORDER                 let the scheduler use the computes again that a rollback has disabled
    bring-home ORDER HOMES          move VMs back to the computes that they came from

ORDER is JSON. RELEASES: base64 of a line for each compute, its name, a tab, and what its release probe printed. ACROSS:
names of computes whose VMs may go to any release. HOMES: base64 of lines with a compute's name and a VM's id.
"""
# Python 2.7 has no newer ways to say these things.
# ruff: noqa: RUF005, UP004, UP031

import base64
import json
import multiprocessing.dummy
import re
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # Python 2.7 knows neither of these
    from collections.abc import Callable  # noqa: F401  # novm
    from typing import Any  # noqa: F401  # novm

AT_ONCE = 4
"""Clients that read side by side: each is a process of its own that takes two seconds of a processor."""

ONE_BY_ONE = 8
"""Up to so many computes are asked for their VMs one by one; for more, all VMs of the cloud are listed at once."""

LISTED = ("--os-compute-api-version", "2.1")
"""The first version: hypervisors have no figures from 2.88 on, and a server no flavor id from 2.47 on."""

MOVED = ("--os-compute-api-version", "2.30")
"""Since 2.30 the scheduler verifies a target that is named; a running migration can be aborted since 2.24."""

OF_A_ROLLBACK = "tecs-rollback "
"""How the reason begins for which a rollback disables a compute; what begins otherwise is someone else's."""

NOT_ACTIVE = {
    "SHUTOFF": "it is shut off: nothing of it can be moved alive",
    "PAUSED": "it is paused",
    "SUSPENDED": "it is suspended",
    "ERROR": "it is in error state",
    "BUILD": "it is still being built",
    "RESCUE": "it is in rescue mode",
    "VERIFY_RESIZE": "its resize waits to be confirmed",
}
REFUSALS = (
    ("shared storage", "its disk lies on the compute itself, so it would need a block migration"),
    ("PCI", "it uses a PCI device of the compute"),
    ("No valid host", "the scheduler found no compute for it"),
)
"""What Nova says when it refuses a migration, and what that means."""

UNTOLD = "Nova took the move and gave it up: see nova's logs for the VM"


class Unreadable(Exception):
    """The cloud did not answer in a way that can be understood."""


# ---- the client ------------------------------------------------------------------------------------------------------


def call(*words):
    # type: (*str) -> tuple[int, str, str]
    """Run a client; return its exit status and what it printed. A client that is not there has status 127."""
    try:
        bare = [word.encode("utf-8") for word in words]
        process = subprocess.Popen(bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as missing:
        return 127, "", "%s: %s" % (words[0], missing.strerror)
    out, err = process.communicate()
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def answer(*words):
    # type: (*str) -> list[dict[str, object]]
    """Return the rows that the client lists; raise Unreadable rather than take a failure for an empty list."""
    command = ("openstack",) + words + ("-f", "json")
    status, out, err = call(*command)
    if status != 0:
        raise Unreadable("%s: exit status %s: %s" % (" ".join(command), status, last_line(err or out)))
    return rows_of(out, " ".join(command))


def rows_of(text, source):
    # type: (str, str) -> list[dict[str, object]]
    """Return the rows of a list in JSON."""
    try:
        rows = json.loads(text)
    except ValueError:
        raise Unreadable("%s: no complete JSON: %r" % (source, text[:80]))  # noqa: B904  Python 2.7
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable("%s: JSON that is no list of objects: %r" % (source, text[:80]))
    return rows


def last_line(text):
    # type: (str) -> str
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"


# ---- what the lists mean ---------------------------------------------------------------------------------------------


class Vm(object):
    """A VM as it is listed. `task` is what Nova is doing with it, `flavors` by what it may be found in a list of them."""

    def __init__(self, row):
        # type: (dict[str, object]) -> None
        for column in ("ID", "Name", "Status"):
            if not row.get(column):
                raise Unreadable("a list of VMs without %r; there are: %s" % (column, ", ".join(sorted(row))))
        self.id, self.name, self.status = text(row["ID"]), text(row["Name"]), text(row["Status"])
        self.host = text(row.get("Host"))
        self.task = text(row.get("Task State"))
        self.flavors = [text(row[key]) for key in ("Flavor ID", "Flavor Name", "Flavor") if text(row.get(key))]

    @property
    def on_its_way(self):
        # type: () -> bool
        """It is being migrated now."""
        return self.status == "MIGRATING" or self.task == "migrating"


class Flavor(object):
    """What a VM needs: processors, MB of memory, and what keeps it where it is, if anything."""

    def __init__(self, row):
        # type: (dict[str, object]) -> None
        self.vcpus, self.ram = whole(row, "VCPUs"), whole(row, "RAM")
        self.bound = bound_by(properties(row.get("Properties")))


class Room(object):
    """What is free on a compute: processors and MB of memory, overcommitted as Nova may do."""

    def __init__(self, vcpus, ram):
        # type: (float, float) -> None
        self.vcpus, self.ram = vcpus, ram


def text(value):
    # type: (object) -> str
    """Return a cell as text; a cell with nothing in it is empty."""
    return "" if value in (None, "None", "-") else "%s" % (value,)


def whole(row, column):
    # type: (dict[str, object], str) -> int
    """Return the number in this column."""
    try:
        return int(text(row[column]))
    except (KeyError, ValueError):
        raise Unreadable("no number in column %r of %r" % (column, row))  # noqa: B904  Python 2.7


def properties(cell):
    # type: (object) -> dict[str, str]
    """Return a flavor's extra specs: an object with new clients, `key='value', ...` with old ones."""
    if isinstance(cell, dict):
        return {text(key): text(value) for key, value in cell.items()}
    return dict(re.findall(r"([^\s,=]+)='([^']*)'", text(cell)))


def bound_by(specs):
    # type: (dict[str, str]) -> str
    """Return why VMs of a flavor cannot be moved alive; empty where nothing is known against it."""
    if specs.get("hw:cpu_policy") == "dedicated":
        return "its processors are pinned (hw:cpu_policy)"
    if specs.get("hw:mem_page_size", "small") not in ("small", "4", "4KB"):
        return "it uses huge pages (hw:mem_page_size)"
    if any(key.startswith("pci_passthrough:") for key in specs):
        return "it uses a PCI device of the compute (pci_passthrough)"
    return ""


def reason_to_stay(vm, flavors):
    # type: (Vm, dict[str, Flavor]) -> str
    """Return why the VM cannot be moved alive; empty where it can be tried."""
    if vm.on_its_way:
        return ""
    if vm.status != "ACTIVE":
        return NOT_ACTIVE.get(vm.status, "it is in status %s" % vm.status)
    if vm.task:
        return "Nova is busy with it (%s)" % vm.task
    flavor = flavor_of(vm, flavors)
    return flavor.bound if flavor else ""


def flavor_of(vm, flavors):
    # type: (Vm, dict[str, Flavor]) -> Flavor | None
    """Return the VM's flavor; None where the client does not list it, or it has been deleted since."""
    return next((flavors[key] for key in vm.flavors if key in flavors), None)


def flavors_in(rows):
    # type: (list[dict[str, object]]) -> dict[str, Flavor]
    """Return the flavors by their ids and names."""
    return {text(row[key]): Flavor(row) for row in rows for key in ("Name", "ID") if text(row.get(key))}


def rooms_in(rows, computes, ratios):
    # type: (list[dict[str, object]], list[str], tuple[float, float]) -> dict[str, Room]
    """Return the room on each of the computes. `ratios`: how far processors and memory may be overcommitted."""
    found = {}
    for row in rows:
        name = text(row.get("Hypervisor Hostname"))
        # A hypervisor may carry its host's full name, where the compute service has the short one.
        compute = next((each for each in computes if name == each or name.startswith(each + ".")), None)
        if compute:
            found[compute] = Room(
                whole(row, "vCPUs") * ratios[0] - whole(row, "vCPUs Used"),
                whole(row, "Memory MB") * ratios[1] - whole(row, "Memory MB Used"),
            )
    return found


# ---- reading the cloud -----------------------------------------------------------------------------------------------


def vms_on(computes):
    # type: (list[str]) -> list[Vm]
    """Return the VMs of these computes."""

    def on_one(compute):
        # type: (str) -> list[Vm]
        rows = answer("server", "list", "--all-projects", "--long", "--host", compute, *LISTED)
        for row in rows:
            row["Host"] = compute
        return [Vm(row) for row in rows]

    if not computes:
        return []
    if len(computes) > ONE_BY_ONE:
        return [vm for vm in all_vms() if vm.host in computes]
    pool = multiprocessing.dummy.Pool(AT_ONCE)
    try:
        return [vm for found in pool.map(on_one, computes) for vm in found]
    finally:
        pool.close()


def all_vms():
    # type: () -> list[Vm]
    """Return every VM of the cloud: without a limit of -1 the list ends where the API's page ends."""
    return [Vm(row) for row in answer("server", "list", "--all-projects", "--long", "--limit", "-1", *LISTED)]


def services():
    # type: () -> dict[str, dict[str, object]]
    """Return the nova-compute services by their hosts."""
    rows = answer("compute", "service", "list", "--service", "nova-compute", "--long", *LISTED)
    return {text(row.get("Host")): row for row in rows}


def usable():
    # type: () -> list[str]
    """Return the computes that the scheduler may use."""
    rows = services().items()
    return [name for name, row in rows if (row.get("Status"), row.get("State")) == ("enabled", "up")]


def flavors_for(vms):
    # type: (list[Vm]) -> dict[str, Flavor]
    """Return the flavors that there are; none where the client does not tell which VM has which."""
    if not any(vm.flavors for vm in vms):
        return {}
    return flavors_in(answer("flavor", "list", "--all", "--long", *LISTED))


# ---- moving ----------------------------------------------------------------------------------------------------------


class Order(object):
    """What is asked for: the computes, why they are disabled, what bounds the migrations, and where VMs may go."""

    def __init__(self, asked):
        # type: (dict[str, Any]) -> None
        self.computes = asked["computes"]  # type: list[str]
        self.reason = asked["reason"]  # type: str
        self.faulty = asked["faulty"]  # type: list[str]
        self.anywhere = asked["anywhere"]  # type: bool
        self.ratios = asked["ratios"]  # type: tuple[float, float]
        self.per_compute = asked["per_compute"]  # type: int
        self.per_batch = asked["per_batch"]  # type: int
        self.limit = asked["limit"]  # type: float
        self.pause = asked["pause"]  # type: float


class Moves(object):
    """Migrations under way: a few away from one compute and a few in all, each for a limited time.

    `target_of` says where a VM is to go: a compute's name, or None for the scheduler's choice; it raises Stays where
    there is no place for it. `stays` holds the reason of each VM that did not leave, by its id.
    """

    def __init__(self, order, target_of):
        # type: (Order, Callable[[Vm], str | None]) -> None
        self.order = order
        self.target_of = target_of
        self.waiting = []  # type: list[Vm]
        self.under_way = {}  # type: dict[str, tuple[Vm, float]]
        self.aborted = {}  # type: dict[str, str]
        self.stays = {}  # type: dict[str, str]

    def carry_out(self, vms):
        # type: (list[Vm]) -> None
        """Move the VMs; return when each has left its compute or is in `stays`."""
        # One that an earlier try has set on its way is watched, not started again.
        self.under_way = {vm.id: (vm, time.time()) for vm in vms if vm.on_its_way}
        self.waiting = [vm for vm in vms if not vm.on_its_way]
        while self.waiting or self.under_way:
            self._start_some()
            if self.under_way:
                time.sleep(self.order.pause)
                self._look()

    def _start_some(self):
        # type: () -> None
        left = []
        for vm in self.waiting:
            of_compute = sum(1 for other, _ in self.under_way.values() if other.host == vm.host)
            if len(self.under_way) >= self.order.per_batch or of_compute >= self.order.per_compute:
                left.append(vm)
            else:
                self._start(vm)
        self.waiting = left

    def _start(self, vm):
        # type: (Vm) -> None
        try:
            target = self.target_of(vm)
        except Stays as reason:
            self._stay(vm, "%s" % (reason,))
            return
        where = ("--host", target) if target else ()
        status, out, err = call("openstack", "server", "migrate", "--live-migration", *(where + MOVED + (vm.id,)))
        if status == 0:
            say("on its way: %s (%s) from %s to %s" % (vm.name, vm.id, vm.host, target or "where the scheduler says"))
            self.under_way[vm.id] = (vm, time.time())
        else:
            told = last_line(err or out)
            meant = next((meaning for words, meaning in REFUSALS if words in told), "Nova refused to move it")
            self._stay(vm, "%s: %s" % (meant, told))

    def _look(self):
        # type: () -> None
        present = {vm.id: vm for vm in vms_on(sorted({vm.host for vm, _ in self.under_way.values()}))}
        for vm, since in list(self.under_way.values()):
            if vm.id not in present:
                say("moved: %s (%s) has left %s" % (vm.name, vm.id, vm.host))
            elif present[vm.id].on_its_way:
                if self._may_go_on(vm, time.time() - since):
                    continue
                self._stay(vm, self.aborted[vm.id] + "; it is still being migrated")
            else:
                # Nova puts a VM in this task before it answers, so one that is out of it has been given up.
                self._stay(vm, self.aborted.get(vm.id) or reason_to_stay(present[vm.id], {}) or UNTOLD)
            del self.under_way[vm.id]

    def _may_go_on(self, vm, took):
        # type: (Vm, float) -> bool
        """Abort a migration at its limit; give it up when it has not ended a second time as long."""
        if took > self.order.limit and vm.id not in self.aborted:
            self.aborted[vm.id] = "it took longer than %.0f s; %s" % (self.order.limit, abort(vm))
        return took <= 2 * self.order.limit

    def _stay(self, vm, reason):
        # type: (Vm, str) -> None
        say("not moved: %s (%s) on %s: %s" % (vm.name, vm.id, vm.host, reason))
        self.stays[vm.id] = reason


class Stays(Exception):
    """There is no place for a VM to go to; the text is the reason."""


def abort(vm):
    # type: (Vm) -> str
    """Ask Nova to give a running migration up; return what came of it."""
    status, out, err = call("openstack", "server", "migration", "list", "--server", vm.id, "-f", "json", *MOVED)
    if status == 0:
        rows = rows_of(out, "server migration list")
        ids = [text(row.get("Id") or row.get("ID")) for row in rows if text(row.get("Status")) == "running"]
        command = ("openstack",) + MOVED + ("server", "migration", "abort")  # type: tuple[str, ...]
    else:
        # Clients before 2020 have no such command; that of Nova, older than any TECS, does.
        status, out, err = call("nova", "server-migration-list", vm.id)
        ids = re.findall(r"^\| (\d+) +\|", out, re.MULTILINE)
        command = ("nova", "live-migration-abort")
    if status != 0:
        return "it could not be aborted: %s" % last_line(err or out)
    if not ids:
        return "it could not be aborted: Nova lists no running migration of it"
    for migration in ids:
        status, out, err = call(*(command + (vm.id, migration)))
        if status != 0:
            return "it could not be aborted: %s" % last_line(err or out)
    return "it was aborted"


# ---- what the program can be asked -----------------------------------------------------------------------------------


def empty(order, releases, across):
    # type: (Order, dict[str, str], list[str]) -> None
    """Keep new VMs off the computes, move away what can be moved, and name the rest."""
    computes = order.computes
    keep_new_vms_off(computes, order.reason)
    vms = vms_on(computes)
    flavors = flavors_for(vms)
    stays = {vm.id: reason_to_stay(vm, flavors) for vm in vms if reason_to_stay(vm, flavors)}
    stays.update({vm.id: "the compute is faulty: its VMs are not moved" for vm in vms if vm.host in order.faulty})
    say("%d VMs on %s; %d of them can be moved" % (len(vms), ", ".join(computes), len(vms) - len(stays)))
    moves = Moves(order, targets(order, releases, across, flavors))
    moves.carry_out([vm for vm in vms if vm.id not in stays])
    stays.update(moves.stays)
    for vm in vms_on(computes):
        # This line is read again when someone is asked about the VM.
        say("stays %s on %s: %s: %s" % (vm.id, vm.host, vm.name, stays.get(vm.id) or "it came after the others"))


def keep_new_vms_off(computes, reason):
    # type: (list[str], str) -> None
    """Disable those of the computes that are enabled. One that someone else has disabled keeps that one's reason."""
    known = services()
    for compute in computes:
        if compute not in known:
            say("the cloud knows no nova-compute on %s" % compute)
        elif known[compute].get("Status") == "enabled":
            change_service("--disable", "--disable-reason", reason, compute)


def give_back(order):
    # type: (Order) -> None
    """Enable those of the computes that a rollback has disabled; what someone else has disabled stays so."""
    known = services()
    for compute in order.computes:
        row = known.get(compute, {})
        if row.get("Status") == "disabled" and text(row.get("Disabled Reason")).startswith(OF_A_ROLLBACK):
            change_service("--enable", compute)


def change_service(*words):
    # type: (*str) -> None
    """Change a nova-compute service; raise Unreadable where the client fails."""
    status, out, err = call("openstack", "compute", "service", "set", *(words + ("nova-compute",)))
    if status != 0:
        raise Unreadable("openstack compute service set %s: %s" % (" ".join(words), last_line(err or out)))


def targets(order, releases, across, flavors):
    # type: (Order, dict[str, str], list[str], dict[str, Flavor]) -> Callable[[Vm], str | None]
    """Return the function that says where a VM is to go."""
    if order.anywhere or set(across) >= set(order.computes):
        return lambda vm: None
    others = [name for name in usable() if name not in order.computes]
    rooms = rooms_in(answer("hypervisor", "list", "--long", *LISTED), others, order.ratios)

    def target_of(vm):
        # type: (Vm) -> str | None
        if vm.host in across:
            return None
        flavor = flavor_of(vm, flavors)
        vcpus, ram = (flavor.vcpus, flavor.ram) if flavor else (0, 0)
        alike = [name for name in rooms if releases.get(name) and releases[name] == releases.get(vm.host)]
        fit = [name for name in alike if rooms[name].vcpus >= vcpus and rooms[name].ram >= ram]
        if not fit:
            there = "none of %s has room for it" % ", ".join(sorted(alike)) if alike else "there is none"
            raise Stays("it may go only to another compute of its release that is up and enabled, and %s" % there)
        chosen = max(fit, key=lambda name: (rooms[name].ram, name))
        rooms[chosen].vcpus -= vcpus
        rooms[chosen].ram -= ram
        return chosen

    return target_of


def bring_home(order, homes):
    # type: (Order, dict[str, str]) -> None
    """Move each VM back to the compute that it came from; what cannot come back is named, and is no failure."""
    vms = [vm for vm in all_vms() if vm.id in homes and vm.host != homes[vm.id]]
    flavors = flavors_for(vms)
    stays = {vm.id: reason_to_stay(vm, flavors) for vm in vms if reason_to_stay(vm, flavors)}
    moves = Moves(order, lambda vm: homes[vm.id])
    moves.carry_out([vm for vm in vms if vm.id not in stays])
    stays.update(moves.stays)
    for vm in vms:
        if vm.id in stays:
            say("does not come back to %s: %s (%s): %s" % (homes[vm.id], vm.name, vm.id, stays[vm.id]))


def listing(computes):
    # type: (list[str]) -> None
    """Print the VMs of the computes. What a VM needs is null where it is not told, its reason empty where it can be moved."""
    vms = vms_on(computes)
    flavors = flavors_for(vms)
    rows = []
    for vm in vms:
        row = {"id": vm.id, "name": vm.name, "status": vm.status, "host": vm.host}  # type: dict[str, object]
        flavor = flavor_of(vm, flavors)
        row["vcpus"], row["ram"] = (flavor.vcpus, flavor.ram) if flavor else (None, None)
        row["reason"] = reason_to_stay(vm, flavors)
        rows.append(row)
    print(json.dumps(rows, sort_keys=True))


def room(ratios):
    # type: (tuple[float, float]) -> None
    """Print what is free on each compute that is up and enabled."""
    rooms = rooms_in(answer("hypervisor", "list", "--long", *LISTED), usable(), ratios)
    print(json.dumps({name: {"vcpus": each.vcpus, "ram": each.ram} for name, each in rooms.items()}, sort_keys=True))


def say(line):
    # type: (str) -> None
    """Print a line at once: someone watches."""
    # Python 2.7 would write nothing but ASCII to a pipe, and a VM may have any name.
    stream = getattr(sys.stdout, "buffer", sys.stdout)  # type: Any
    stream.write((line + "\n").encode("utf-8"))
    stream.flush()


def lines_of(word):
    # type: (str) -> list[str]
    """Return the lines that were sent as base64."""
    return base64.b64decode(word).decode("utf-8", "replace").splitlines()


def main(words):
    # type: (list[str]) -> int
    """Do what the words ask for; return 2 where the cloud cannot be understood."""
    try:
        if words[0] == "list":
            listing(words[1:])
        elif words[0] == "room":
            room((float(words[1]), float(words[2])))
        elif words[0] == "empty":
            releases = dict(line.split("\t", 1) for line in lines_of(words[2]) if "\t" in line)
            empty(Order(json.loads(words[1])), releases, words[3].split())
        elif words[0] == "give-back":
            give_back(Order(json.loads(words[1])))
        elif words[0] == "bring-home":
            pairs = [line.split() for line in lines_of(words[2])]
            bring_home(Order(json.loads(words[1])), {pair[1]: pair[0] for pair in pairs if len(pair) == 2})
        else:
            raise Unreadable("unknown command %r" % (words[0],))
    except Unreadable as error:
        sys.stderr.write("%s\n" % (error,))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
