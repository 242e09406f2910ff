"""Editing by key: what changes, what stays as it was, and what the program on a host says and does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
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
        ["carry", "nova.conf", "nova.conf", "--rules", '{"DEFAULT": "a"}'],
        ["carry", "nova.conf", "nova.conf", "--rules", '[{"section": "DEFAULT", "key": "a", "rule": "keep"}]'],
        ["carry", "nova.conf", "nova.conf", "--rules", '[{"section": "DEFAULT", "key": "a", "rule": "set"}]'],
        ["carry", "nova.conf", "absent.conf", "--rules", "[]"],
        ["compare", "nova.conf", "absent.conf", "nova.conf", "--rules", "[]"],
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


# ---- carrying over -----------------------------------------------------------------------------------------------------


def _rules(*rows: str, **computed: str) -> str:
    """Rows such as `DEFAULT/a restore`; what is set has its value in `computed`."""
    rules = []
    for row in rows:
        name, rule = row.split()
        section, key = name.split("/")
        values = {"values": [computed[key]]} if rule == "set" else {}
        rules.append({"section": section, "key": key, "rule": rule, **values})
    return json.dumps(rules)


@pytest.mark.parametrize("python", PYTHONS)
def test_carry_restores_what_the_old_file_has_sets_what_is_computed_and_leaves_the_rest(
    python: str, conf: Path
) -> None:
    new = conf.with_name("new.conf")
    new.write_bytes(b"[DEFAULT]\na = 0\nother = 5\nfixed = 1\n")
    rules = _rules("DEFAULT/fixed set", "DEFAULT/m restore", "DEFAULT/other restore", "libvirt/* restore", fixed="2")
    carry = [str(conf), str(new), "--rules", rules]
    assert _run(python, "carry", *carry, "--check").returncode == conf_edit.NOT_TRUE
    assert _run(python, "carry", *carry).returncode == conf_edit.TRUE
    carried = b"[DEFAULT]\na = 0\nother = 5\nfixed = 2\nm = x\nm = y\n\n[libvirt]\nh = node:0,size:1048576,count:4\n"
    assert new.read_bytes() == carried
    assert _run(python, "carry", *carry, "--check").returncode == conf_edit.TRUE
    assert b"nothing to change" in _run(python, "carry", *carry).stdout
    assert new.read_bytes() == carried
    assert len(_backups(new)) == 1


@pytest.mark.parametrize("python", PYTHONS)
def test_without_an_old_file_only_what_is_computed_is_set(python: str, conf: Path) -> None:
    rules = _rules("DEFAULT/a set", "DEFAULT/m restore", a="2")
    assert _run(python, "carry", "absent.conf", str(conf), "--rules", rules).returncode == conf_edit.TRUE
    assert conf.read_bytes() == NOVA.replace(b"a=1", b"a=2")


@pytest.mark.parametrize(
    ("rules", "restored"),
    [
        (["s/k restore"], b"[s]\nk = 1\n[t]\nk=0\n"),
        (["*/k restore"], b"[s]\nk = 1\n[t]\nk=2\n"),
        (["t/* restore"], b"[s]\n[t]\nk=2\n"),
        (["s/k fresh", "*/* restore"], b"[s]\n[t]\nk=2\n"),
        (["*/* fresh", "s/k restore"], b"[s]\n[t]\nk=0\n"),
        (["s/K restore", "s/kk* restore", "s/*k? restore"], b"[s]\n[t]\nk=0\n"),
        (["*s*/*k* restore"], b"[s]\nk = 1\n[t]\nk=0\n"),
    ],
)
def test_the_first_rule_that_fits_counts_and_values_stay_in_their_section(
    tmp_path: Path, rules: list[str], restored: bytes
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"stray = 9\n[s]\nk = 1\n[t]\nk = 2\n")
    new.write_bytes(b"[s]\n[t]\nk=0\n")
    assert conf_edit.main(["carry", str(old), str(new), "--rules", _rules(*rules)]) == conf_edit.TRUE
    assert new.read_bytes().replace(b"k=1", b"k = 1") == restored


@settings(max_examples=150, deadline=None, database=None)
@given(_FILES, _FILES)
def test_whatever_the_values_what_was_carried_is_true_afterwards_and_is_not_carried_again(
    old: bytes, new: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder) / "old", Path(folder) / "new"
        before.write_bytes(old)
        now.write_bytes(new)
        carry = [
            "carry",
            str(before),
            str(now),
            "--rules",
            _rules("s/kk fresh", "*/k* restore", "DEFAULT/x set", x="1"),
        ]
        done = conf_edit.main(carry)
        carried = now.read_bytes()
        if done == conf_edit.ERROR:  # a value that would not be read back
            assert carried == new
            return
        assert conf_edit.main([*carry, "--check"]) == conf_edit.TRUE
        assert conf_edit.get(carried, b"s", b"k") == (conf_edit.get(old, b"s", b"k") or conf_edit.get(new, b"s", b"k"))
        assert conf_edit.get(carried, b"s", b"kk") == conf_edit.get(new, b"s", b"kk")
        conf_edit.main(carry)
        assert now.read_bytes() == carried


# ---- the three-way view ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", PYTHONS)
def test_compare_prints_each_key_that_is_not_the_same_in_all_three_files(python: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("before", "fresh", "after")]
    texts = ("[b]\nx=1\nx=2\n[a]\nsame=1\nlost=\xe4\n", "[a]\nsame=1\n[b]\nx=0\n", "[b]\nx=1\nx=2\n[a]\nsame = 1\n")
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="latin-1")
    done = _run(python, "compare", *map(str, files), "--rules", _rules("b/* restore"))
    assert done.returncode == conf_edit.TRUE
    lost = {"section": "a", "key": "lost", "rule": "unlisted", "before": ["\ufffd"], "fresh": [], "after": []}
    kept = {"section": "b", "key": "x", "rule": "restore", "before": ["1", "2"], "fresh": ["0"], "after": ["1", "2"]}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        lost | {"changed": True},
        kept | {"changed": False},
    ]


SECRETS = {
    "rabbit_password": "s3cret",
    "admin_passwd": "s3cret",
    "metadata_proxy_shared_secret": "s3cret",
    "admin_token": "s3cret",
    "CONFIG_NOVA_KS_PW": "s3cret",
    "fixed_key": "s3cret",
    "sql_connection": "mysql://nova:s3cret@10.0.0.1/nova",
    "odd": "mysql://nova:s3c@s3cret@10.0.0.1/nova",
    "transport_url": "rabbit://a:s3cret@h1:5672,b:s3cret@h2:5672//",
    "options": '{"user": "a", "password": "s3cret"}',
    "dsn": "host=db user=nova password=s3cret",
}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("key", SECRETS)
def test_no_secret_is_printed_where_a_difference_is_told(python: str, key: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(f"[DEFAULT]\n{key} = {SECRETS[key]}\n")
    new.write_text(f"[DEFAULT]\n{key} = {SECRETS[key].replace('s3cret', 's3cret-too')}\n")
    shown = _run(python, "compare", str(old), str(new), str(new), "--rules", "[]")
    (row,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert row["changed"] is True
    assert "***" in row["before"][0]
    check = _run(python, "carry", str(old), str(new), "--rules", _rules("*/* restore"), "--check")
    apply = _run(python, "carry", str(old), str(new), "--rules", _rules("*/* restore"))
    assert (check.returncode, apply.returncode) == (conf_edit.NOT_TRUE, conf_edit.TRUE)
    assert b"s3c" not in shown.stdout + check.stdout + apply.stdout + check.stderr + apply.stderr
    assert new.read_text() == old.read_text()


@pytest.mark.parametrize("key", ["vcpu_pin_set", "reserved_huge_pages", "pci_alias", "novncproxy_base_url", "monkey"])
def test_what_is_no_secret_is_shown(key: str) -> None:
    for value in (b"", b"4-15", b"http://10.0.0.1:6080/vnc_auto.html", b'{"address": "0000:05:10.1"}'):
        assert conf_edit.masked(key.encode(), value) == value


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
