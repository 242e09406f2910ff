"""Editing by key: what changes, what stays as it was, and what the program on a host says and does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runbook import conf_edit, remote_python

PROGRAM = Path(conf_edit.__file__)


def _works(interpreter: str | None) -> bool:
    return interpreter is not None and subprocess.run([interpreter, "-c", ""], check=False).returncode == 0


PYTHONS = [name for name in (sys.executable, shutil.which("python2.7")) if _works(name)]


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[s]\nk=v\n", [b"v"]),
        (b"[s]\nk = v w \n", [b"v w"]),
        (b"[s]\r\nk = v\r\n", [b"v"]),
        (b"[s]\nk: v = w\n", [b"v = w"]),
        (b"[s]\nk=a=b:c\n", [b"a=b:c"]),
        (b"[s]\nk =\n", [b""]),
        (b"[s]\nk=v", [b"v"]),
        (b"[s]\n  k = v\n", [b"v"]),
        (b"[s]\nk=1\nother=2\nk=3\n", [b"1", b"3"]),
        (b"[s]\nk=1\n[t]\nk=2\n[s]\nk=3\n", [b"1", b"3"]),
        (b"[s]\nk = [1,\n   2,\n\t3]\n", [b"[1,\n2,\n3]"]),
        (b"[s]\nk =\n  first\n  second\n", [b"\nfirst\nsecond"]),
        (b"[s]\nk = 1\n\n  x = 2\n", [b"1"]),
        (b"[s]\n#k=1\n;k=2\n", []),
        (b"[s]\nK=1\n", []),
        (b"k=1\n[t]\nk=2\n", []),
        (b"", []),
    ],
)
def test_the_values_of_a_key_are_read_as_nova_reads_them(data: bytes, expected: list[bytes]) -> None:
    assert conf_edit.get(data, b"s", b"k") == expected


# ---- changing --------------------------------------------------------------------------------------------------------

CHANGES = {
    "the form without blanks is kept": (b"[s]\nk=1\n", [b"2"], b"[s]\nk=2\n"),
    "the form with blanks is kept": (b"[s]\nk  =  1\n", [b"2"], b"[s]\nk  =  2\n"),
    "the indentation is kept": (b"[s]\n  k = 1\n", [b"2"], b"[s]\n  k = 2\n"),
    "a line ending of CRLF is kept": (b"[s]\r\nk=1\r\nx=1\r\n", [b"2"], b"[s]\r\nk=2\r\nx=1\r\n"),
    "a single CRLF among LF is kept": (b"[s]\nk=1\r\nx=1\n", [b"2"], b"[s]\nk=2\r\nx=1\n"),
    "a missing final newline stays missing": (b"[s]\nk=1", [b"2"], b"[s]\nk=2"),
    "an empty value gets its blank back": (b"[s]\nk =\n", [b"2"], b"[s]\nk = 2\n"),
    "a value can be emptied": (b"[s]\nk = 1\n", [b""], b"[s]\nk =\n"),
    "a comment that names the key is left alone": (b"[s]\n#k=0\nk=1\n", [b"2"], b"[s]\n#k=0\nk=2\n"),
    "the same key of another section is left alone": (b"[t]\nk=1\n[s]\nk=1\n", [b"2"], b"[t]\nk=1\n[s]\nk=2\n"),
    "a key that begins alike is left alone": (b"[s]\nk2=1\nk=1\n", [b"2"], b"[s]\nk2=1\nk=2\n"),
    "bytes of another encoding survive": (
        b"[s]\n# \xb0\xe6\xb1\xbe\nk=1\nx=\xb0\xe6\n",
        [b"2"],
        b"[s]\n# \xb0\xe6\xb1\xbe\nk=2\nx=\xb0\xe6\n",
    ),
    "a lone carriage return survives": (b"[s]\nx=a\rb\nk=1\n", [b"2"], b"[s]\nx=a\rb\nk=2\n"),
    "a missing key follows the last key of its section": (
        b"[s]\na=1\n# about b\n\n[t]\nk=1\n",
        [b"2"],
        b"[s]\na=1\nk=2\n# about b\n\n[t]\nk=1\n",
    ),
    "a missing key follows the header of a section of comments": (
        b"[s]\n\n#k=0\n[t]\na = 1\n",
        [b"2"],
        b"[s]\nk = 2\n\n#k=0\n[t]\na = 1\n",
    ),
    "a missing key goes to the last part of a split section": (
        b"[s]\na=1\n[t]\n[s]\nb=1\n",
        [b"2"],
        b"[s]\na=1\n[t]\n[s]\nb=1\nk=2\n",
    ),
    "a missing key follows a continued value": (b"[s]\na=1\n  2\n", [b"3"], b"[s]\na=1\n  2\nk=3\n"),
    "a missing key does not swallow an indented comment": (
        b"[s]\n  # about a\n# a=1\n",
        [b"2"],
        b"[s]\n  # about a\nk = 2\n# a=1\n",
    ),
    "an added line has the form of most lines": (b"[s]\na = 1\nb=1\nc=1\n", [b"2"], b"[s]\na = 1\nb=1\nc=1\nk=2\n"),
    "an added line has the ending of most lines": (b"[s]\r\na=1\r\n", [b"2"], b"[s]\r\na=1\r\nk=2\r\n"),
    "a line added after an unfinished one finishes it": (b"[s]\na=1", [b"2"], b"[s]\na=1\nk=2\n"),
    "a missing section is appended": (b"[t]\na=1\n", [b"2"], b"[t]\na=1\n\n[s]\nk=2\n"),
    "a missing section is appended to an unfinished line": (b"[t]\na=1", [b"2"], b"[t]\na=1\n\n[s]\nk=2\n"),
    "an empty file gets section and key": (b"", [b"2"], b"[s]\nk = 2\n"),
    "further values follow the last": (b"[s]\nk=1\nx=1\n", [b"1", b"2"], b"[s]\nk=1\nk=2\nx=1\n"),
    "superfluous values go": (b"[s]\nk=1\nx=1\nk=2\nk=3\n", [b"9"], b"[s]\nk=9\nx=1\n"),
    "no values remove the key": (b"[s]\nk=1\nx=1\nk=2\n", [], b"[s]\nx=1\n"),
    "no values for a missing section change nothing": (b"[t]\n", [], b"[t]\n"),
    "a continued value goes as a whole": (b"[s]\nk = [1,\n  2]\nx=1\n", [], b"[s]\nx=1\n"),
    "a continued value is replaced as a whole": (b"[s]\nk = [1,\n  2]\nx=1\n", [b"3"], b"[s]\nk = 3\nx=1\n"),
    "a continued value that is right keeps its own form": (
        b"[s]\nk = [1,\n\t2]\n",
        [b"[1,\n2]"],
        b"[s]\nk = [1,\n\t2]\n",
    ),
    "a value of several lines is written indented": (b"[s]\nk=1", [b"[1,\n2]"], b"[s]\nk=[1,\n    2]"),
}


@pytest.mark.parametrize(("before", "values", "after"), CHANGES.values(), ids=CHANGES.keys())
def test_an_edit_changes_its_own_lines_only(before: bytes, values: list[bytes], after: bytes) -> None:
    assert conf_edit.set_values(before, b"s", b"k", values) == after


@pytest.mark.parametrize(("before", "values", "after"), CHANGES.values(), ids=CHANGES.keys())
def test_an_edited_file_has_the_values_and_is_not_changed_again(
    before: bytes, values: list[bytes], after: bytes
) -> None:
    assert conf_edit.get(after, b"s", b"k") == values
    assert conf_edit.set_values(after, b"s", b"k", values) == after


def test_one_value_takes_the_place_of_several() -> None:
    assert conf_edit.set_value(b"[s]\nk=1\nk=2\n", b"s", b"k", b"3") == b"[s]\nk=3\n"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (b"s", b"k", b" v"),
        (b"s", b"k", b"v\n"),
        (b"s", b"k", b"v\n\nw"),
        (b"s", b"k", b"v\n w"),
        (b"s", b"k", b"v\rw"),
        (b"s", b"", b"v"),
        (b"s", b"#k", b"v"),
        (b"s", b"k=1\nx", b"v"),
        (b"s", b" k", b"v"),
        (b"s]\n[t", b"k", b"v"),
        (b"", b"k", b"v"),
    ],
)
def test_what_would_be_read_back_otherwise_is_refused(section: bytes, key: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot be|white space"):
        conf_edit.set_values(b"[s]\nk=1\n", section, key, [value])


_WORDS = st.binary(max_size=6).filter(lambda word: word == word.strip() and b"\n" not in word and b"\r" not in word)
_LINES = st.one_of(
    st.sampled_from([b"", b"[s]", b"[t]", b"# k = 1", b"  # k", b";", b"  more", b"\tk=1", b"words only", b"[s"]),
    st.builds(
        lambda key, sign, value: key + sign + value,
        st.sampled_from([b"k", b"kk", b"K", b"  k"]),
        st.sampled_from([b"=", b" = ", b":", b" ="]),
        _WORDS,
    ),
    st.binary(max_size=12).filter(lambda line: b"\n" not in line),
)
_FILES = st.builds(
    lambda lines, last: b"".join(line + ending for line, ending in lines) + last,
    st.lists(st.tuples(_LINES, st.sampled_from([b"\n", b"\r\n"])), max_size=12),
    _LINES,
)
_VALUES = st.lists(st.one_of(_WORDS, st.just(b"[1,\n2]"), st.just(b"\nindented")), max_size=3)


@settings(max_examples=300, deadline=None, database=None)
@given(_FILES, _VALUES)
def test_whatever_the_file_an_edit_is_exact_and_leaves_the_rest_alone(data: bytes, values: list[bytes]) -> None:
    edited = conf_edit.set_values(data, b"s", b"k", values)
    assert conf_edit.get(edited, b"s", b"k") == values
    assert conf_edit.set_values(edited, b"s", b"k", values) == edited
    for section, key in ((b"s", b"kk"), (b"s", b"K"), (b"t", b"k"), (b"t", b"kk")):
        assert conf_edit.get(edited, section, key) == conf_edit.get(data, section, key)
    if b"[s]" in data.replace(b"\r", b"").split(b"\n"):
        assert conf_edit.first_difference(data, edited, [(b"s", b"k")]) is None


# ---- comparing -------------------------------------------------------------------------------------------------------


def test_two_files_are_the_same_but_for_the_keys_that_may_differ() -> None:
    one, other = b"[s]\nk=1\nk=2\nx=1\n", b"[s]\nx=1\nk = 3"
    assert conf_edit.first_difference(one, other, [(b"s", b"k")]) is None


@pytest.mark.parametrize(
    ("other", "where"),
    [
        (b"[s]\nk=1\npassword=other\n", b"password"),
        (b"[s]\nk=1\npassword = secret\n", b"password"),
        (b"[s]\nk=1\n", b"password"),
        (b"[t]\nk=1\npassword=secret\n", b"[s]"),
    ],
)
def test_a_difference_is_told_without_the_value(other: bytes, where: bytes) -> None:
    assert conf_edit.first_difference(b"[s]\nk=1\npassword=secret\n", other, [(b"s", b"k")]) == where


# ---- the program -----------------------------------------------------------------------------------------------------

NOVA = b"[DEFAULT]\n# \xb0\xe6\na=1\nm = x\nm = y\n\n[libvirt]\nh=node:0,size:1048576,count:4\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "nova.conf"
    path.write_bytes(NOVA)
    return path


def _run(python: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([python, str(PROGRAM), *args], capture_output=True, check=False)


def _edits(*edits: tuple[str, str, list[str]]) -> str:
    return json.dumps([{"section": section, "key": key, "values": values} for section, key, values in edits])


def _backups(conf: Path) -> list[Path]:
    return sorted(conf.parent.glob("*.before-*"))


@pytest.mark.parametrize("python", PYTHONS)
def test_get_prints_one_value_a_line(python: str, conf: Path) -> None:
    assert _run(python, "get", str(conf), "DEFAULT", "m").stdout == b"x\ny\n"


@pytest.mark.parametrize("python", PYTHONS)
def test_check_tells_each_differing_key_and_changes_nothing(python: str, conf: Path) -> None:
    done = _run(python, "check", str(conf), _edits(("DEFAULT", "a", ["1"]), ("DEFAULT", "m", ["\u7248"])))
    assert done.returncode == conf_edit.NOT_TRUE
    assert done.stdout == "DEFAULT/m: found [x, y] expected [\u7248]\n".encode()
    assert conf.read_bytes() == NOVA


@pytest.mark.parametrize("python", PYTHONS)
def test_apply_makes_the_edits_true_and_keeps_a_backup(python: str, conf: Path) -> None:
    edits = _edits(("DEFAULT", "a", ["2"]), ("DEFAULT", "m", []), ("new", "k", ["v"]))
    assert _run(python, "check", str(conf), edits).returncode == conf_edit.NOT_TRUE
    done = _run(python, "apply", str(conf), edits)
    assert done.returncode == conf_edit.TRUE
    assert done.stdout.splitlines()[1:] == [
        b"DEFAULT/a: found [1] set to [2]",
        b"DEFAULT/m: found [x, y] set to []",
        b"new/k: found [] set to [v]",
    ]
    assert conf.read_bytes() == NOVA.replace(b"a=1\nm = x\nm = y\n", b"a=2\n") + b"\n[new]\nk=v\n"
    assert [backup.read_bytes() for backup in _backups(conf)] == [NOVA]
    assert _run(python, "check", str(conf), edits).returncode == conf_edit.TRUE


@pytest.mark.parametrize("python", PYTHONS)
def test_apply_touches_nothing_where_all_is_true_already(python: str, conf: Path) -> None:
    before = conf.stat()
    done = _run(python, "apply", str(conf), _edits(("DEFAULT", "a", ["1"]), ("DEFAULT", "none", [])))
    assert (done.returncode, done.stdout) == (conf_edit.TRUE, b"nothing to change in " + str(conf).encode() + b"\n")
    assert (conf.stat().st_ino, conf.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert _backups(conf) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_owner_and_mode_stay_on_the_file_and_on_its_backup(python: str, conf: Path) -> None:
    conf.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(conf, 1234, 4321)
    before = conf.stat()
    _run(python, "apply", str(conf), _edits(("DEFAULT", "a", ["2"])))
    for path in (conf, *_backups(conf)):
        kept = path.stat()
        assert (kept.st_mode, kept.st_uid, kept.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_two_edits_within_a_second_keep_two_backups(conf: Path) -> None:
    for value in ("2", "3", "4"):
        _run(sys.executable, "apply", str(conf), _edits(("DEFAULT", "a", [value])))
    assert {conf_edit.get(path.read_bytes(), b"DEFAULT", b"a")[0] for path in _backups(conf)} == {b"1", b"2", b"3"}


@pytest.mark.parametrize("python", PYTHONS)
def test_a_symbolic_link_is_followed_and_stays(python: str, conf: Path) -> None:
    link = conf.parent / "elsewhere" / "link.conf"
    link.parent.mkdir()
    link.symlink_to("../nova.conf")
    _run(python, "apply", str(link), _edits(("DEFAULT", "a", ["2"])))
    assert link.is_symlink()
    assert conf_edit.get(conf.read_bytes(), b"DEFAULT", b"a") == [b"2"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    "args",
    [
        ["check", "absent.conf", "[]"],
        ["apply", "nova.conf", "no JSON"],
        ["apply", "nova.conf", '{"a": 1}'],
        ["apply", "nova.conf", '[{"section": "s", "key": "k", "value": "v"}]'],
        ["apply", "nova.conf", '[{"section": "s", "key": "k", "values": "v"}]'],
        ["apply", "nova.conf", '[{"section": "s", "key": "a=b", "values": ["v"]}]'],
        [
            "apply",
            "nova.conf",
            '[{"section": "s", "key": "k", "values": ["1"]}, {"section": "s", "key": "k", "values": []}]',
        ],
        ["carry", "nova.conf", "nova.conf", "--keys", '{"DEFAULT": "a"}'],
        ["same", "nova.conf", "absent.conf"],
        [],
    ],
)
def test_what_cannot_be_done_ends_with_2_and_changes_nothing(python: str, args: list[str], conf: Path) -> None:
    done = subprocess.run([python, str(PROGRAM), *args], cwd=conf.parent, capture_output=True, check=False)
    assert done.returncode == conf_edit.ERROR
    assert b"conf_edit" in done.stderr
    assert b"Traceback" not in done.stderr
    assert [path.name for path in conf.parent.iterdir()] == ["nova.conf"]
    assert conf.read_bytes() == NOVA


def test_a_file_that_cannot_be_put_in_place_leaves_no_rest_behind(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert conf_edit.main(["apply", str(conf), _edits(("DEFAULT", "a", ["2"]))]) == conf_edit.ERROR
    assert [path.name for path in conf.parent.iterdir()] == ["nova.conf"]
    assert conf.read_bytes() == NOVA


@pytest.mark.parametrize("python", PYTHONS)
def test_same_passes_over_the_keys_that_may_differ(python: str, conf: Path) -> None:
    other = conf.with_name("other.conf")
    other.write_bytes(NOVA.replace(b"a=1", b"a=2").replace(b"m = y\n", b""))
    assert _run(python, "same", str(conf), str(other), "--except", "DEFAULT/a", "DEFAULT/m").returncode == 0
    done = _run(python, "same", str(conf), str(other), "--except", "DEFAULT/m")
    assert done.returncode == conf_edit.NOT_TRUE
    assert done.stdout.endswith(b"differ, first at: a\n")


@pytest.mark.parametrize("python", PYTHONS)
def test_carry_brings_over_what_the_old_file_has_and_leaves_the_rest(python: str, conf: Path) -> None:
    new = conf.with_name("new.conf")
    new.write_bytes(b"[DEFAULT]\na = 0\nother = 5\n")
    carry = [str(conf), str(new), "--keys", '{"DEFAULT": ["a", "m", "other"], "libvirt": ["h"]}']
    assert _run(python, "carry", *carry, "--check").returncode == conf_edit.NOT_TRUE
    assert _run(python, "carry", *carry).returncode == conf_edit.TRUE
    assert new.read_bytes() == (
        b"[DEFAULT]\na = 1\nother = 5\nm = x\nm = y\n\n[libvirt]\nh = node:0,size:1048576,count:4\n"
    )
    assert _run(python, "carry", *carry, "--check").returncode == conf_edit.TRUE


# ---- sending it to a host --------------------------------------------------------------------------------------------


def _shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["/bin/sh", "-s"], input=script.encode(), capture_output=True, check=False, env={**os.environ, **environment}
    )


def test_the_program_runs_as_text_in_a_script_and_the_script_goes_on(conf: Path) -> None:
    odd = conf.with_name("it's $HOME `odd`.conf")
    conf.rename(odd)
    check = remote_python.conf_edit("check", str(odd), _edits(("DEFAULT", "a", ["$(reboot) 'x' \\"])))
    done = _shell(f"{check}\necho status $?\nif {check}\nthen echo yes\nelse echo no\nfi\n")
    told = b"DEFAULT/a: found [1] expected [$(reboot) 'x' \\]\n"
    assert done.stdout == told + b"status 1\n" + told + b"no\n"


def test_a_host_without_python_is_told_as_such(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _shell(remote_python.conf_edit("get", str(conf), "DEFAULT", "a"), PATH=str(tmp_path / "empty"))
    assert (done.returncode, done.stderr) == (2, b"no Python on this host\n")


@pytest.mark.parametrize("name", ["python", "python2", "python3"])
def test_whichever_python_the_host_has_is_used(name: str, conf: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / name).symlink_to(sys.executable)
    done = _shell(remote_python.conf_edit("get", str(conf), "DEFAULT", "a"), PATH=str(programs))
    assert done.stdout == b"1\n"


def test_a_program_that_would_end_its_own_sending_is_refused(tmp_path: Path) -> None:
    module = tmp_path / "program.py"
    module.write_text('print("""\nEND_OF_PROGRAM\n""")\n')
    with pytest.raises(ValueError, match="END_OF_PROGRAM"):
        remote_python.program(module)


def test_the_program_is_fit_for_the_python_of_the_real_nodes() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("vermin"), "-t=2.7-", "-t=3.11-", "--violations", str(PROGRAM)],
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout.decode()
    # Formatters turn the one prefix for raw bytes that Python 2.7 reads into the one that it does not.
    assert b'rb"' not in PROGRAM.read_bytes().replace(b'"rb"', b"")
