"""Draft a cluster's inventory from what Daisy knows of it, marking what a person must fill in.

``python -m console.import_cluster --name site1 --from http://10.43.203.10:19292 --cluster-id UUID``
``python -m console.import_cluster --name site1 --tecs-conf tecs.conf --mappings mappings.json``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from console.errors import ConsoleError
from include.runbook import daisy_site, tecs_site
from include.runbook.cluster import Name, clusters_directory, load_cluster
from include.runbook.errors import InventoryError
from include.runbook.site_draft import SiteDraft, SourceUnusable, draft_text, valid


def import_cluster(name: str, site: SiteDraft, target: Path, overwrite: bool) -> str:
    """The draft lies at the target, whole or not at all. Returns what there is to tell; raises ConsoleError."""
    try:
        _put(target, draft_text(name, site), overwrite)
    except FileExistsError:
        raise ConsoleError(f"{target} was made by somebody else in the meantime; it is left as it is") from None
    except OSError as refused:
        raise ConsoleError(f"{target}: cannot be written: {refused.strerror}") from None
    told = [f"{target}: drafted, two controllers and {len(site.computes)} computes", *site.remarks]
    try:
        load_cluster(target)
    except InventoryError as incomplete:
        told += ["To be filled in, as the comment at each place says:", str(incomplete)]
        told += [f"Then: make check-cluster CLUSTER={name}"]
    return "\n".join(told)


def may_write(target: Path, force: bool) -> bool:
    """Tell whether a file at the target is to be replaced; raises ConsoleError where nobody has allowed it."""
    if force or not target.exists():
        return force
    if sys.stdin.isatty():
        print(
            f"{target} is there already; what was filled in there would be lost. Replace it? [y/N] ", end="", flush=True
        )
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
        raise ConsoleError(f"{target} is left as it is")
    raise ConsoleError(
        f"{target} is there already and is left as it is. Choose another NAME, or replace it with FORCE=1"
    )


def _put(target: Path, text: str, overwrite: bool) -> None:
    handle, path = tempfile.mkstemp(prefix=f".{target.stem}-", dir=target.parent)
    draft = Path(path)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text)
        draft.chmod(0o644)  # mkstemp hides it from Airflow's own user; it holds no secret
        if overwrite:
            draft.replace(target)
        else:
            target.hardlink_to(draft)  # refuses, in one move, a target that is there
    finally:
        draft.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Draft the inventory that the command line asks for; 0 when it was written."""
    options = _options(argv)
    try:
        target = clusters_directory() / f"{valid(Name, options.name, 'NAME')}.yaml"
        overwrite = may_write(target, options.force)
        print(import_cluster(options.name, _site(options), target, overwrite))
    except (ConsoleError, SourceUnusable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _site(options: argparse.Namespace) -> SiteDraft:
    if options.url:
        return daisy_site.read_site(options.url, options.cluster_id)
    return tecs_site.read_site(options.tecs_conf, options.mappings, options.hosts)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m console.import_cluster", description="Draft an inventory from Daisy."
    )
    parser.add_argument("--name", required=True, help="of the cluster and its file")
    parser.add_argument("--from", dest="url", help="address of Daisy's REST API")
    parser.add_argument("--cluster-id", help="the cluster's UUID in Daisy, where Daisy has several")
    parser.add_argument("--tecs-conf", type=Path, help="the cluster's answer file, in place of the API")
    parser.add_argument("--mappings", type=Path, help="the mappings.json beside it")
    parser.add_argument(
        "--hosts", type=Path, help="a hosts file that names its hosts, such as the Daisy host's /etc/hosts"
    )
    parser.add_argument("--force", action="store_true", help="replace the inventory if there is one")
    options = parser.parse_args(argv)
    from_files = (options.tecs_conf, options.mappings)
    if bool(options.url) == any(from_files) or any(from_files) != all(from_files):
        parser.error("give FROM=http://daisy:19292, or TECS_CONF=path and MAPPINGS=path")
    if (options.url and options.hosts) or (any(from_files) and options.cluster_id):
        parser.error("CLUSTER_ID goes with FROM, HOSTS with TECS_CONF")
    return options


if __name__ == "__main__":
    sys.exit(main())
