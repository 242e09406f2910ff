"""hostname: prints the host's name. Emulated: no arguments, and -s or -f. Not emulated: setting the name, addresses."""

from __future__ import annotations

from include.lab.programs.standin import Here, Refused


def main(here: Here, argv: list[str]) -> int:
    """Print the name."""
    if argv not in ([], ["-s"], ["-f"]):
        raise Refused(f"hostname: the lab emulates no arguments but -s and -f, not: {' '.join(argv)}", 4)
    print(here.host)
    return 0
