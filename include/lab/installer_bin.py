"""The bytes of the stand-in for ZTE's self-extracting installer: the same everywhere, so that inventories can pin them.

The file is a shell script with a payload after it, as self-extracting archives are. The script hands over to the hidden
program `lab-installer` on the host's PATH.
"""

from __future__ import annotations

import hashlib

PAYLOAD_BLOCKS = 4096


def bin_name(release: str) -> str:
    """The file name that ZTE's naming gives the installer of a release."""
    return f"ZXTECS_V02.16.11_P7B1_I{release}_installtecs_el7_noarch.bin"


def bin_bytes(release: str) -> bytes:
    """The whole installer file of a release: 128 KiB, deterministic."""
    script = (
        "#!/bin/sh\n"
        f"# TECS V02.16.11 P7B1 build I{release}, self-extracting. Stand-in: it installs nothing but "
        "the embedded lab's state.\n"
        f'exec lab-installer --release {release} --bin "$0" "$@"\n'
        "exit 1\n"
    )
    payload = b"".join(hashlib.sha256(f"{release}:{block}".encode()).digest() for block in range(PAYLOAD_BLOCKS))
    return script.encode() + payload
