"""DRBD's answers as 8.4.11 printed them (drbd-utils 9.22), and what is concluded from them."""

from __future__ import annotations

import pytest

from include.runbook import drbd
from include.runbook.drbd import Replica, parse_state
from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output

A_IDS = "347CE9B40DA34A1F:774A52E4227424A7:0B446BD8DB2CA5FC:0B436BD8DB2CA5FC:1:1:1:0:0:0:0"
ANCESTOR = "774A52E4227424A6:0000000000000000:0B446BD8DB2CA5FC:0B436BD8DB2CA5FC:1:1:0:1:0:0:0"
DIVERGED = "5610F24DDEDEB532:774A52E4227424A6:0B446BD8DB2CA5FC:0B436BD8DB2CA5FC:1:1:0:0:0:0:0"
INVALIDATED = "5610F24DDEDEB532:774A52E4227424A6:0B446BD8DB2CA5FC:0B436BD8DB2CA5FC:0:0:0:0:0:0:0"
NEW = "0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0"
NOT_UP = "0: Failure: (127) Device minor not allocated additional info from kernel: unknown minor"


def told(role: str, link: str, disk: str, ids: str = A_IDS) -> str:
    return f"resource glance\nrole 0 {role}\ncstate 0 {link}\ndstate 0 {disk}\nget-gi 0 {ids}\n"


def replica(text: str, host: str = "a") -> Replica:
    return parse_state(Output(0, text), source=f"{host}: drbdadm").replica("glance")


A = replica(told("Primary/Unknown", "WFConnection", "UpToDate/DUnknown"))


def b(role: str, link: str, disk: str, ids: str = ANCESTOR) -> Replica:
    return replica(told(role, link, disk, ids), "b")


def not_up(ids: str) -> Replica:
    return replica(
        f"resource glance\nrole 10 {NOT_UP}\ncstate 10 {NOT_UP}\ndstate 1 No valid meta data found\n{ids}\n", "b"
    )


def test_a_host_without_drbd_has_its_resource_files_only() -> None:
    found = parse_state(Output(0, "file /etc/drbd.d/WebData.res\n"), source="a: drbdadm")
    assert (found.files, found.resources) == (("/etc/drbd.d/WebData.res",), ())


def test_several_resources_and_volumes_are_told_apart() -> None:
    second = "resource db\nrole 0 Secondary/Primary Secondary/Primary\ncstate 0 Connected SyncTarget\n"
    second += f"dstate 0 UpToDate/UpToDate Inconsistent/UpToDate\nget-gi 0 {ANCESTOR} {NEW}\n"
    found = parse_state(Output(0, told("Primary/Unknown", "StandAlone", "UpToDate/DUnknown") + second), source="a: x")
    db = found.replica("db")
    assert found.resources == ("glance", "db")
    assert (db.role, db.links) == ("Secondary/Primary", ("Connected", "SyncTarget"))
    assert [identity.worthless for identity in db.identities] == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        told("Primary", "Connected", "UpToDate"),
        told("Primary/Secondary Secondary/Primary", "Connected", "UpToDate/UpToDate"),
        told("Primary/Secondary", "Connected", "UpToDate/UpToDate", "347CE9B4:0:1"),
        told("Primary/Secondary", "Connected", ""),
        "resource glance\nrole 0 Primary/Secondary\n",
        "resource glance\nrole 0 Primary/Secondary\nfile 0 x\nfile 0 y\nget-gi 1\n",
        "resource glance\nrole 20 modprobe: FATAL\ncstate 20 x\ndstate 20 x\nget-gi 1\n",
        f"resource glance\nrole 10 {NOT_UP}\ncstate 10 x\ndstate 1 x\nget-gi 20 open(/dev/vda) failed: No such file\n",
        "glance role:Primary\n",
    ],
)
def test_an_answer_that_is_not_known_is_never_guessed_from(text: str) -> None:
    with pytest.raises(FactUnreadable):
        parse_state(Output(0, text), source="a: drbdadm")


def test_a_failed_command_is_not_an_empty_configuration() -> None:
    with pytest.raises(FactUnreadable, match="syntax error"):
        parse_state(Output(2, "", "/etc/drbd.d/WebData.res:3: syntax error"), source="a: drbdadm")


@pytest.mark.parametrize(
    ("role", "link", "disk", "good"),
    [
        ("Primary/Secondary", "Connected", "UpToDate/UpToDate", True),
        ("Primary/Secondary", "SyncSource", "UpToDate/Inconsistent", True),
        ("Primary/Unknown", "WFConnection", "UpToDate/Outdated", True),
        ("Primary/Unknown", "StandAlone", "UpToDate/DUnknown", False),
        ("Secondary/Unknown", "WFConnection", "UpToDate/DUnknown", False),
        ("Secondary/Primary", "Connected", "UpToDate/UpToDate", False),
        ("Primary/Primary", "SyncTarget", "Inconsistent/UpToDate", False),
        ("Primary/Secondary", "SyncTarget", "Inconsistent/UpToDate", False),
        ("Primary/Secondary", "Connected", "Diskless/UpToDate", False),
    ],
)
def test_a_source_is_primary_whole_and_not_alone(role: str, link: str, disk: str, good: bool) -> None:
    assert (drbd.keeps_from_being_source(replica(told(role, link, disk))) is None) == good


def test_a_resource_that_is_not_configured_is_no_source() -> None:
    assert "not configured" in str(drbd.keeps_from_being_source(not_up(f"get-gi 0 {ANCESTOR}")))


@pytest.mark.parametrize(
    ("copy", "lost"),
    [
        (not_up("get-gi 1"), None),
        (not_up("get-gi 255 No valid meta data found"), None),
        (not_up(f"get-gi 0 {ANCESTOR}"), None),
        (not_up(f"get-gi 0 {INVALIDATED}"), None),
        (not_up(f"get-gi 0 {DIVERGED}"), "holds generation 5610F24DDEDEB53x, which a never had"),
        (b("Secondary/Unknown", "StandAlone", "UpToDate/DUnknown"), None),
        (b("Secondary/Unknown", "StandAlone", "UpToDate/DUnknown", DIVERGED), "newer, or the two have diverged"),
        (b("Primary/Unknown", "StandAlone", "UpToDate/DUnknown"), "in use is not overwritten"),
        (b("Secondary/Primary", "SyncTarget", "Inconsistent/UpToDate", NEW), None),
    ],
)
def test_a_copy_is_overwritten_only_where_the_source_had_all_of_it(copy: Replica, lost: str | None) -> None:
    found = drbd.keeps_from_being_overwritten(copy, A)
    assert found is None if lost is None else lost in str(found)


def test_both_sides_must_say_that_they_are_in_sync() -> None:
    whole = "UpToDate/UpToDate"
    source = replica(told("Primary/Secondary", "Connected", whole))
    assert drbd.keeps_from_being_in_sync(b("Secondary/Primary", "Connected", whole), source) is None
    assert drbd.keeps_from_being_in_sync(b("Secondary/Primary", "SyncTarget", "Inconsistent/UpToDate"), source)
    assert drbd.keeps_from_being_in_sync(b("Secondary/Primary", "Connected", whole), A)
    assert drbd.keeps_from_being_in_sync(b("Primary/Secondary", "Connected", whole), source)
    assert drbd.keeps_from_being_in_sync(not_up("get-gi 1"), source)


def test_a_copy_follows_while_both_sides_say_in_which_direction() -> None:
    source = replica(told("Primary/Secondary", "SyncSource", "UpToDate/Inconsistent"))
    assert drbd.keeps_from_following(b("Secondary/Primary", "SyncTarget", "Inconsistent/UpToDate", NEW), source) is None
    assert drbd.keeps_from_following(b("Secondary/Unknown", "WFConnection", "Inconsistent/DUnknown", NEW), A)
    assert drbd.keeps_from_following(b("Secondary/Primary", "SyncSource", "UpToDate/Inconsistent"), source)
    assert drbd.keeps_from_following(not_up("get-gi 1"), source)
