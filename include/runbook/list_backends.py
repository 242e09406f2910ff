"""Print which back ends a cinder.conf has, and nothing else of it: the file is full of passwords.

Like `conf_edit.py` this file is both a module and a program that is sent to hosts as text and run there by whatever
Python they have, 2.7 on the real nodes. It reads the file as oslo.config does: of a key that stands twice, the last.
"""
# Python 2.7 has neither pathlib nor the newer ways to say these things.
# ruff: noqa: PTH123, UP024, UP031

import json
import re
import sys

DRIVER, ENABLED = "volume_driver", "enabled_backends"
CEPH = "RBDDriver"
# What belongs to Ceph outside its own section; * stands for any letters.
CEPH_KEYS = ("rbd_*", "rados_*", "glance_api_version")

_HEADER = re.compile(r"\[([^\]]*)\]")
_ENTRY = re.compile(r"\s*([^=:]*?)\s*[=:]\s*(.*?)\s*\Z")
_FILE = re.compile(r"/etc/(?!.*\.\.)[A-Za-z0-9._/-]+\Z")


def settings(text):
    # type: (str) -> dict[str, dict[str, str]]
    """Return section -> key -> value."""
    found = {}  # type: dict[str, dict[str, str]]
    section, continued = found.setdefault("DEFAULT", {}), ""
    for line in text.split("\n"):
        header, entry = _HEADER.match(line), _ENTRY.match(line)
        if not line.strip() or line[0] in "#;":
            continued = continued if line.strip() else ""
        elif line[0] in " \t" and continued:
            section[continued] += "\n" + line.strip()
        elif header:
            section, continued = found.setdefault(header.group(1), {}), ""
        elif entry:
            continued = entry.group(1)
            section[continued] = entry.group(2)
    return found


def back_ends(found):
    # type: (dict[str, dict[str, str]]) -> dict[str, object]
    """Return the names of the enabled back ends, and of each section with a driver that driver and the files it names."""
    sections = {}
    for name, keys in found.items():
        if DRIVER in keys:
            files = sorted(re.sub("/+", "/", value) for value in keys.values() if _FILE.match(value))
            sections[name] = {"driver": keys[DRIVER], "files": files}
    enabled = re.findall(r"[^,\s]+", found["DEFAULT"].get(ENABLED, ""))
    return {"enabled": enabled, "sections": sections}


def restored(found):
    # type: (dict[str, dict[str, str]]) -> list[dict[str, str]]
    """Return `conf_edit.py`'s rules for what neither an installation nor cinder_conf brings back.

    That is the list of enabled back ends and, where one of them is Ceph's, its whole section and Ceph's keys in DEFAULT.
    """
    ceph = sorted(name for name in found if found[name].get(DRIVER, "").endswith(CEPH))
    wanted = [(name, "*") for name in ceph] + [("DEFAULT", key) for key in CEPH_KEYS if ceph] + [("DEFAULT", ENABLED)]
    return [{"section": section, "key": key, "rule": "restore"} for section, key in wanted]


def main(arguments):
    # type: (list[str]) -> int
    """Print what the first argument asks for of the file that the second names; return 0, or 2 where it cannot be read."""
    shown = {"back-ends": back_ends, "restored": restored}
    try:
        command, path = arguments
        with open(path, "rb") as stream:
            # Every byte is a letter of Latin-1: names are ASCII, and whatever else there is passes through.
            found = settings(stream.read().decode("latin-1"))
        sys.stdout.write(json.dumps(shown[command](found), sort_keys=True) + "\n")
    except (EnvironmentError, ValueError, KeyError) as failed:
        sys.stderr.write("list_backends: %s\n" % (failed,))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
