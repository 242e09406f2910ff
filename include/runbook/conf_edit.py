"""Edit and compare INI-like files such as nova.conf and tecs.conf by key, leaving every other byte alone.

This file is both a module and a program that is sent to hosts as text and run there by whatever Python they have,
which is 2.7 on the real nodes. So it uses the standard library only, and syntax that both generations read. Files are
bytes throughout: comments in GB2312 and the like pass through untouched.

What counts as what is oslo.config's view: `#` and `;` begin comments in the first column, an indented line continues
the value above it, a blank line ends it, a key may stand several times, and a section too.

Whatever is printed about a difference has its secrets masked, by the key's name and by the value's form.
"""
# Python 2.7 has neither pathlib nor the newer ways to say these things.
# ruff: noqa: B905, PTH101, PTH104, PTH108, PTH110, PTH116, PTH120, PTH123, RUF005, UP004, UP024, UP031, UP036

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time

TRUE, NOT_TRUE, ERROR = 0, 1, 2

# Raw bytes have one spelling in Python 2.7 and another in formatters: patterns are raw text made bytes.
_HEADER = re.compile(r"\[([^\]]*)\]".encode("ascii"))
_ENTRY = re.compile(r"([ \t]*)([^=:]*?)([ \t]*[=:][ \t]*)(.*?)\s*\Z".encode("ascii"), re.DOTALL)
_LINE = re.compile(r"[^\n]*\n|[^\n]+".encode("ascii"))
_NO_SECTION = re.compile(r"[\]\r\n]".encode("ascii"))
_NO_KEY = re.compile(r"[=:\r\n]|\A[\[#;]".encode("ascii"))
_TEXT = type(b"".decode("ascii"))

_SECRET = re.compile(
    "passw|passphrase|secret|token|credential|pwd|(^|_)(pw|pass|keys?)$|(api|access|auth|private)_?key".encode("ascii"),
    re.IGNORECASE,
)
# Up to the last @, since a password may hold one, and a URL may name several servers, each with its own password.
_URL_LOGIN = re.compile(r"(://)\S*@".encode("ascii"))
_INNER_SECRET = re.compile(r"(passw|secret|token|pwd)\w*[\"']?\s*[=:]".encode("ascii"), re.IGNORECASE)
_MASK = b"***"


class Entry(object):
    """A key with its value, on the lines `first` up to and without `end`."""

    def __init__(self, section, key, value, first):
        # type: (bytes, bytes, bytes, int) -> None
        self.section = section
        self.key = key
        self.value = value
        self.first = first
        self.end = first + 1


class Layout(object):
    """Where things stand in a file. `anchors` maps a section to the line after which a key is added to it."""

    def __init__(self, lines):
        # type: (list[bytes]) -> None
        self.entries = []  # type: list[Entry]
        self.anchors = {}  # type: dict[bytes, int]
        section = b""
        value_is_open = False
        for number, line in enumerate(lines):
            if not line.strip():
                value_is_open = False
                continue
            indented = line[:1] in (b" ", b"\t")
            if indented and value_is_open:
                self.entries[-1].value += b"\n" + line.strip()
                self.entries[-1].end = number + 1
                self.anchors[section] = number
                continue
            value_is_open = False
            header = _HEADER.match(line)
            if header:
                section = header.group(1)
                self.anchors[section] = number
            elif line.lstrip()[:1] not in (b"#", b";"):
                entry = _ENTRY.match(line)
                if entry:
                    self.entries.append(Entry(section, entry.group(2), entry.group(4), number))
                    value_is_open = True
                self.anchors[section] = number
            elif indented:
                # A key set before an indented comment would take the comment for the rest of its value.
                self.anchors[section] = number

    def find(self, section, key):
        # type: (bytes, bytes) -> list[Entry]
        """Return the entries of the key in the order of the file."""
        return [entry for entry in self.entries if entry.section == section and entry.key == key]


def get(data, section, key):
    # type: (bytes, bytes, bytes) -> list[bytes]
    """Return every value of the key, in order. The lines of a continued value are joined by a line feed."""
    return [entry.value for entry in Layout(_split(data)).find(section, key)]


def set_value(data, section, key, value):
    # type: (bytes, bytes, bytes, bytes) -> bytes
    """Return the file with exactly this one value for the key."""
    return set_values(data, section, key, [value])


def set_values(data, section, key, values):
    # type: (bytes, bytes, bytes, list[bytes]) -> bytes
    """Return the file with exactly these values for the key, in order; with none, the key is absent.

    Lines that the key has are used again in their own form, superfluous ones go, further ones follow the last. Raise
    ValueError for a text that would not be read back as it was given.
    """
    _refuse_what_cannot_be_read_back(section, key, values)
    lines = _split(data)
    layout = Layout(lines)
    found = layout.find(section, key)
    ending = _usual_ending(lines)
    added = values[len(found) :]
    if added:
        form = _form(lines[found[-1].first])[1] if found else _usual_separator(lines, layout)
        _insert(lines, _place(lines, layout, section, found), [_line(b"", key, form, value, ending) for value in added])
    # From the last to the first, so that the line numbers of the earlier ones stay right.
    for entry in reversed(found[len(values) :]):
        del lines[entry.first : entry.end]
    for entry, value in reversed(list(zip(found, values))):
        if entry.value != value:
            indent, separator = _form(lines[entry.first])
            last = _ending_of(lines[entry.end - 1])
            text = _line(indent, key, separator, value, ending)
            lines[entry.first : entry.end] = [text[: -len(ending)] + last]
    return b"".join(lines)


def _refuse_what_cannot_be_read_back(section, key, values):
    # type: (bytes, bytes, list[bytes]) -> None
    if not section or _NO_SECTION.search(section):
        raise ValueError("%r cannot be a section's name" % (section,))
    if not key or key != key.strip() or _NO_KEY.search(key):
        raise ValueError("%r cannot be a key" % (key,))
    for value in values:
        continued = value.split(b"\n")[1:]
        if value.rstrip() != value or value.lstrip(b" \t\r\v\f") != value or b"\r" in value:
            raise ValueError("a value of %r begins or ends with white space, or holds a carriage return" % (key,))
        if any(not part or part != part.strip() for part in continued):
            raise ValueError("a further line of a value of %r is blank, or begins or ends with white space" % (key,))


def _place(lines, layout, section, found):
    # type: (list[bytes], Layout, bytes, list[Entry]) -> int
    """Return the number of the line before which the key's next value goes; make the section where there is none."""
    if found:
        return found[-1].end
    if section not in layout.anchors:
        ending = _usual_ending(lines)
        apart = [ending] if lines and lines[-1].strip() else []
        _insert(lines, len(lines), apart + [b"[" + section + b"]" + ending])
        return len(lines)
    return layout.anchors[section] + 1


def _insert(lines, place, added):
    # type: (list[bytes], int, list[bytes]) -> None
    if place and not lines[place - 1].endswith(b"\n"):
        lines[place - 1] += _usual_ending(lines)
    lines[place:place] = added


def _split(data):
    # type: (bytes) -> list[bytes]
    # Not splitlines: it also splits at a lone carriage return, which may be part of a value.
    return _LINE.findall(data)


def _form(line):
    # type: (bytes) -> tuple[bytes, bytes]
    """Return the indentation and the separator of a key's line."""
    entry = _ENTRY.match(line)
    if entry is None:
        raise ValueError("%r holds no key" % (line,))
    separator = entry.group(3)
    if not entry.group(4) and separator[:1] in (b" ", b"\t"):
        # Editors strip the blank after the sign of an empty value.
        separator = separator.rstrip() + separator[:1]
    return entry.group(1), separator


def _usual_ending(lines):
    # type: (list[bytes]) -> bytes
    return _most_common([_ending_of(line) for line in lines if line.endswith(b"\n")], b"\n")


def _usual_separator(lines, layout):
    # type: (list[bytes], Layout) -> bytes
    return _most_common([_form(lines[entry.first])[1] for entry in layout.entries], b" = ")


def _line(indent, key, separator, value, ending):
    # type: (bytes, bytes, bytes, bytes, bytes) -> bytes
    first = value.split(b"\n")[0]
    start = indent + key + (separator + first if first else separator.rstrip())
    return ending.join([start] + [b"    " + part for part in value.split(b"\n")[1:]]) + ending


def _ending_of(line):
    # type: (bytes) -> bytes
    if line.endswith(b"\r\n"):
        return b"\r\n"
    return b"\n" if line.endswith(b"\n") else b""


def _most_common(found, otherwise):
    # type: (list[bytes], bytes) -> bytes
    """Return what is found most often; among equals, what comes first."""
    counts = collections.Counter(found)
    return max(found, key=lambda item: counts[item]) if found else otherwise


def masked(key, value):
    # type: (bytes, bytes) -> bytes
    """Return the value as it may be shown: nothing of a secret, and no login of a URL."""
    if value and (_SECRET.search(key) or _INNER_SECRET.search(value)):
        return _MASK
    return _URL_LOGIN.sub(b"\\1" + _MASK + b"@", value)


def first_difference(one, other, keys):
    # type: (bytes, bytes, list[tuple[bytes, bytes]]) -> bytes | None
    """Compare two files byte by byte, apart from the lines of these keys (section and key); None: they are equal.

    Otherwise return where they first differ, without values, which may be passwords. Whether the last line ends with a
    line feed does not count: a key added after it gives it one.
    """
    for section, key in keys:
        one, other = (set_values(one, section, key, []), set_values(other, section, key, []))
    left, right = _split(one), _split(other)
    same = 0
    while same < min(len(left), len(right)) and _are_the_same(left[same], right[same]):
        same += 1
    rest = left[same:] or right[same:]
    if not rest:
        return None
    header, entry = _HEADER.match(rest[0]), _ENTRY.match(rest[0])
    if header:
        return header.group()
    return entry.group(2).strip() if entry else b"a line without a key"


def _are_the_same(one, other):
    # type: (bytes, bytes) -> bool
    if one.endswith(b"\n") and other.endswith(b"\n"):
        return one == other
    return _without_ending(one) == _without_ending(other)


def _without_ending(line):
    # type: (bytes) -> bytes
    for letter in (b"\n", b"\r"):
        line = line[:-1] if line.endswith(letter) else line
    return line


# ---- the program -----------------------------------------------------------------------------------------------------


class Edit(object):
    """What the values of one key shall be; with none, the key shall be absent."""

    def __init__(self, section, key, values):
        # type: (bytes, bytes, list[bytes]) -> None
        self.section = section
        self.key = key
        self.values = values


class Rule(object):
    """What shall become of the keys that fit a pattern when a file is made anew: restore, fresh or set."""

    def __init__(self, section, key, rule, values):
        # type: (bytes, bytes, str, list[bytes]) -> None
        self.section = section
        self.key = key
        self.rule = rule
        self.values = values

    def fits(self, section, key):
        # type: (bytes, bytes) -> bool
        """Tell whether the rule is about this key."""
        return _fits(self.section, section) and _fits(self.key, key)


def _fits(pattern, name):
    # type: (bytes, bytes) -> bool
    parts = [re.escape(part) for part in pattern.split(b"*")]
    return re.match(b".*".join(parts) + b"\\Z", name, re.DOTALL) is not None


def _rule_of(rules, section, key):
    # type: (list[Rule], bytes, bytes) -> Rule | None
    """Return the first rule that is about the key."""
    for rule in rules:
        if rule.fits(section, key):
            return rule
    return None


def _check(path, edits):
    # type: (str, list[Edit]) -> int
    data = _read(path)
    differing = _differing(data, edits)
    for edit in differing:
        _say(_difference(data, edit, b"expected"))
    return NOT_TRUE if differing else TRUE


def _apply(path, edits):
    # type: (str, list[Edit]) -> int
    data = _read(path)
    differing = _differing(data, edits)
    if not differing:
        _say(b"nothing to change in " + _to_bytes(path))
        return TRUE
    edited = data
    for edit in differing:
        edited = set_values(edited, edit.section, edit.key, edit.values)
    if _differing(edited, edits):
        raise ValueError("the edits contradict each other")
    _say(b"backup: " + _to_bytes(_replace(path, data, edited)))
    for edit in differing:
        _say(_difference(data, edit, b"set to"))
    return TRUE


def _carried(old, rules):
    # type: (str, list[Rule]) -> list[Edit]
    """Return the edits that make the rules true of a new file: what is set, and the old file's values of what is restored.

    A key that the old file does not have keeps the new file's values. Without an old file there is nothing to restore.
    """
    edits = [Edit(rule.section, rule.key, rule.values) for rule in rules if rule.rule == "set"]
    found = _by_key(_read(old)) if os.path.exists(old) else {}
    for section, key in found:
        rule = _rule_of(rules, section, key)
        # What stands before every section is no setting: nova does not start with it.
        if section and rule is not None and rule.rule == "restore":
            edits.append(Edit(section, key, found[section, key]))
    return edits


def _compared(files, rules):
    # type: (list[str], list[Rule]) -> list[bytes]
    """Return a line of JSON for each key whose values are not the same in the files of before, as installed, and now."""
    before, fresh, after = [_by_key(_read(path)) for path in files]
    lines = []
    for section, key in sorted(set(before) | set(fresh) | set(after)):
        was, installed, now = [found.get((section, key), []) for found in (before, fresh, after)]
        if was == installed == now:
            continue
        rule = _rule_of(rules, section, key)
        row = {
            "section": _shown(section),
            "key": _shown(key),
            "rule": "unlisted" if rule is None else rule.rule,
            "before": [_shown(masked(key, value)) for value in was],
            "fresh": [_shown(masked(key, value)) for value in installed],
            "after": [_shown(masked(key, value)) for value in now],
            "changed": was != now,
        }
        lines.append(json.dumps(row, sort_keys=True).encode("ascii"))
    return lines


def _by_key(data):
    # type: (bytes) -> collections.OrderedDict[tuple[bytes, bytes], list[bytes]]
    """Return the values of every key of a file, the keys in the order in which they first appear."""
    found = collections.OrderedDict()  # type: collections.OrderedDict[tuple[bytes, bytes], list[bytes]]
    for entry in Layout(_split(data)).entries:
        found.setdefault((entry.section, entry.key), []).append(entry.value)
    return found


def _shown(data):
    # type: (bytes) -> str
    return data.decode("utf-8", "replace")


def _differing(data, edits):
    # type: (bytes, list[Edit]) -> list[Edit]
    return [edit for edit in edits if get(data, edit.section, edit.key) != edit.values]


def _difference(data, edit, relation):
    # type: (bytes, Edit, bytes) -> bytes
    found = _listed(edit.key, get(data, edit.section, edit.key))
    return b"%s/%s: found %s %s %s" % (edit.section, edit.key, found, relation, _listed(edit.key, edit.values))


def _listed(key, values):
    # type: (bytes, list[bytes]) -> bytes
    return b"[" + b", ".join([masked(key, value) for value in values]).replace(b"\n", b"\\n") + b"]"


def _say(line):
    # type: (bytes) -> None
    # Values are bytes, whatever the host's locale: Python 2 writes them as they are, later ones to the buffer below.
    if sys.version_info[0] >= 3:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(line + b"\n")


def _read(path):
    # type: (str) -> bytes
    with open(path, "rb") as stream:
        return stream.read()


def _replace(path, before, after):
    # type: (str, bytes, bytes) -> str
    """Put the new content in the file's place in one move; return the path of the backup beside it."""
    target = os.path.realpath(path)  # a symbolic link stays one
    name = target + time.strftime(".before-%Y%m%dT%H%M%SZ", time.gmtime())
    backup, count = name, 1
    while os.path.lexists(backup):
        count += 1
        backup = "%s-%d" % (name, count)
    os.rename(_written_beside(target, before), backup)
    os.rename(_written_beside(target, after), target)
    directory = os.open(os.path.dirname(target), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return backup


def _written_beside(target, content):
    # type: (str, bytes) -> str
    """Write a file in the target's directory, with its owner, mode and SELinux context; return the path."""
    like = os.stat(target)
    # mkstemp lets nobody else read it: the passwords in it are at no time open to them.
    descriptor, path = tempfile.mkstemp(prefix=".conf_edit-", dir=os.path.dirname(target))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.chown(path, like.st_uid, like.st_gid)
            os.chmod(path, like.st_mode & 0o7777)
            os.fsync(descriptor)
        if os.path.exists("/sys/fs/selinux/enforce") and subprocess.call(["chcon", "--reference=" + target, path]):
            raise EnvironmentError("the SELinux context of %s cannot be copied" % (target,))
    except BaseException:
        os.unlink(path)
        raise
    return path


def _to_bytes(text):
    # type: (str | bytes) -> bytes
    """Return an argument or a JSON string as bytes, the very ones that came in where it was no UTF-8."""
    if isinstance(text, bytes):
        return text
    return text.encode("utf-8", "strict" if sys.version_info[0] == 2 else "surrogateescape")


def _edits(text):
    # type: (str) -> list[Edit]
    parsed = json.loads(text)
    if not isinstance(parsed, list):
        raise ValueError("not a list of edits: %s" % (text,))
    edits = []
    for edit in parsed:
        if not isinstance(edit, dict) or set(edit) != {"section", "key", "values"} or not _are_texts(edit["values"]):
            raise ValueError("not an edit: %r; expected section, key and a list of values" % (edit,))
        values = [_to_bytes(value) for value in edit["values"]]
        edits.append(Edit(_to_bytes(edit["section"]), _to_bytes(edit["key"]), values))
    return edits


def _rules(text):
    # type: (str) -> list[Rule]
    parsed = json.loads(text)
    if not isinstance(parsed, list):
        raise ValueError("not a list of rules: %s" % (text,))
    rules = []
    for row in parsed:
        known = isinstance(row, dict) and row.get("rule") in ("restore", "fresh", "set")
        wanted = {"section", "key", "rule"} | ({"values"} if known and row["rule"] == "set" else set())
        if not known or set(row) != wanted or not _are_texts(row.get("values", [])):
            raise ValueError("not a rule: %r; expected section, key, rule, and for set a list of values" % (row,))
        values = [_to_bytes(value) for value in row.get("values", [])]
        rules.append(Rule(_to_bytes(row["section"]), _to_bytes(row["key"]), row["rule"], values))
    return rules


def _are_texts(values):
    # type: (object) -> bool
    return isinstance(values, list) and all(isinstance(value, _TEXT) for value in values)


def _section_and_key(text):
    # type: (str) -> tuple[bytes, bytes]
    section, _, key = _to_bytes(text).partition(b"/")
    return section, key


def _arguments():
    # type: () -> argparse.ArgumentParser
    parser = argparse.ArgumentParser(prog="conf_edit", description="Edit INI-like files by key.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    show = commands.add_parser("get", help="print the values of a key, one per line")
    show.add_argument("file")
    show.add_argument("section")
    show.add_argument("key")
    for name, told in (
        ("check", "end with 0 if every edit is true already, with 1 if not"),
        ("apply", "make them true"),
    ):
        change = commands.add_parser(name, help=told)
        change.add_argument("file")
        change.add_argument(
            "edits", help='[{"section": "...", "key": "...", "values": ["..."]}]; no values: no such key'
        )
    same = commands.add_parser("same", help="end with 0 if two files are equal but for some keys, with 1 if not")
    same.add_argument("one")
    same.add_argument("other")
    same.add_argument("--except", dest="excepted", nargs="*", default=[], metavar="SECTION/KEY")
    rules = '[{"section": "...", "key": "...", "rule": "restore | fresh | set"}], * for any letters; the first counts'
    carry = commands.add_parser("carry", help="give NEW what is set, and the values that restored keys have in OLD")
    carry.add_argument("old")
    carry.add_argument("new")
    carry.add_argument("--rules", required=True, help=rules)
    carry.add_argument("--check", action="store_true", help="change nothing; end with 1 if something would change")
    compare = commands.add_parser("compare", help="print each key that differs among three files as a line of JSON")
    compare.add_argument("before")
    compare.add_argument("fresh")
    compare.add_argument("after")
    compare.add_argument("--rules", required=True, help=rules)
    return parser


def main(arguments):
    # type: (list[str]) -> int
    """Run one command; return 0 (true), 1 (not true) or 2 (could not be done, and nothing was changed)."""
    asked = _arguments().parse_args(arguments)
    try:
        if asked.command == "get":
            for value in get(_read(asked.file), _to_bytes(asked.section), _to_bytes(asked.key)):
                _say(value)
            return TRUE
        if asked.command == "same":
            return _same(asked.one, asked.other, asked.excepted)
        if asked.command == "carry":
            edits, path = (_carried(asked.old, _rules(asked.rules)), asked.new)
            return _check(path, edits) if asked.check else _apply(path, edits)
        if asked.command == "compare":
            for line in _compared([asked.before, asked.fresh, asked.after], _rules(asked.rules)):
                _say(line)
            return TRUE
        if asked.command in ("check", "apply"):
            edits, path = _edits(asked.edits), asked.file
            return _check(path, edits) if asked.command == "check" else _apply(path, edits)
        raise ValueError("no command is given")
    except (EnvironmentError, ValueError) as failed:
        sys.stderr.write("conf_edit: %s\n" % (failed,))
        return ERROR


def _same(one, other, excepted):
    # type: (str, str, list[str]) -> int
    difference = first_difference(_read(one), _read(other), [_section_and_key(text) for text in excepted])
    if difference is None:
        return TRUE
    _say(_to_bytes(one + " and " + other + " differ, first at: ") + difference)
    return NOT_TRUE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
