"""Daisy in a container: its files are read from inside, and the installer runs where the inventory says."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import job
from include.runbook.cluster import Cluster, Container
from include.runbook.container import daisys_file
from include.runbook.errors import CommandFailed, PreconditionFailed
from include.runbook.perform import judge, perform
from include.runbook.plan import hosts_of
from include.runbook.preconditions import daisys_data_present
from include.runbook.step import Run, kind

from .site import A, Site, ban

ENGINE = """\
test "$1 $2" = 'exec daisy' || { echo "Error: No such container: $2" >&2; exit 1; }
test ! -e "$SAYS/stopped" || { echo 'Error response from daemon: Container daisy is not running' >&2; exit 1; }
shift 2
case "$1" in
cat | ls) for each; do case "$each" in /*) set -- "$@" "$SAYS/container$each" ;; *) set -- "$@" "$each" ;; esac; shift; done ;;
stat) if test -e "$SAYS/unshared"; then echo 1:1; exit 0; fi ;;
esac
setsid --fork --wait "$@\""""
"""The engine of the tests: files below / are those of the container, what is run sees the host's directories."""

CONF = b"# \xb8\xdf\n[general]\nCONFIG_HA_HOSTS = 10.43.203.91\nEXCLUDE_SERVERS =\nCONFIG_NEUTRON_ML2_JSON_PATH =\n"
BIN = """\
#!/bin/sh
echo "$HOST: bin $*" >> "$SAYS/asked"
echo "it runs for container $CONTAINER"
if test -e "$SAYS/slow"; then echo $$ > "$SAYS/bin-pid"; exec sleep 60; fi
for host in $(cat "$SAYS/installs"); do printf 100 > "$SAYS/$host/release"; echo 2000 > "$SAYS/$host/installed_at"; done
echo ' **** Installation completed successfully ******'
"""


def with_container(run: Run, **settings: str) -> Run:
    container = Container.model_validate({"name": "daisy", **settings})
    daisy = run.cluster.daisy.model_copy(update={"container": container})
    return replace(run, cluster=run.cluster.model_copy(update={"daisy": daisy}))


@pytest.fixture(params=["docker", "podman"])
def contained(request: pytest.FixtureRequest, run: Run, site: Site) -> Run:
    """A run on a site whose Daisy has its data in a container of this engine."""
    site.program(request.param, ENGINE)
    inside = with_container(run, engine=request.param)
    for name, content in {"tecs.conf": CONF, "mappings.json": b"{}"}.items():
        file = Path(f"{site.says}/container{daisys_file(inside.cluster, name)}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return inside


def do(name: str, run: Run, site: Site) -> bool:
    this = kind(name)
    return perform(this.make(run, hosts_of(this, run)[0]), site, run, print).acted


def test_daisys_files_come_out_of_the_container_once_and_for_nobody_else(contained: Run, site: Site) -> None:
    for name in ("fetch_tecs_conf", "fetch_mappings"):
        assert do(name, contained, site)
        assert not do(name, contained, site)
    conf = Path(contained.cluster.daisy.path("/home/tecs_install/tecs.conf"))
    assert conf.read_bytes() == CONF
    assert conf.stat().st_mode & 0o777 == 0o600
    assert do("edit_tecs_conf_for_computes", contained, site)
    assert not do("fetch_tecs_conf", contained, site)


def test_a_file_that_has_changed_in_the_container_is_fetched_again(contained: Run, site: Site) -> None:
    for name, changed in {"tecs.conf": CONF + b"CONFIG_REPO = x\n", "mappings.json": b'{"a": 1}'}.items():
        step = "fetch_mappings" if name == "mappings.json" else "fetch_tecs_conf"
        do(step, contained, site)
        Path(f"{site.says}/container{daisys_file(contained.cluster, name)}").write_bytes(changed)
        assert do(step, contained, site)


def test_a_container_that_does_not_run_is_told_before_and_in_the_step(contained: Run, site: Site) -> None:
    assert judge(daisys_data_present(contained.cluster), site).met
    (site.says / "stopped").touch()
    verdict = judge(daisys_data_present(contained.cluster), site)
    assert not verdict.met
    assert "Container daisy is not running" in verdict.found
    with pytest.raises(CommandFailed, match="Container daisy is not running"):
        do("fetch_tecs_conf", contained, site)


def test_a_container_of_another_name_is_not_guessed(run: Run, site: Site) -> None:
    site.program("docker", ENGINE)
    verdict = judge(daisys_data_present(with_container(run, name="other").cluster), site)
    assert "No such container: other" in verdict.found


# ---- the installer inside --------------------------------------------------------------------------------------------


@pytest.fixture
def inside(run: Run, site: Site) -> Run:
    """A run whose installer runs in the container, everything staged and the compute uninstalled."""
    site.program("docker", "CONTAINER=daisy\nexport CONTAINER\n" + ENGINE)
    here = with_container(run, installer="inside")
    cluster = here.cluster
    release = cluster.releases["100"].model_copy(update={"sha256": hashlib.sha256(BIN.encode()).hexdigest()})
    cluster = cluster.model_copy(update={"releases": dict(cluster.releases) | {"100": release}})
    here = replace(here, cluster=cluster)
    site.install(cluster.controllers.a, "100")
    site.pacemaker(active=A, constraints=(ban("pcmk_b"),))
    site.install(here.computes[0], None)
    site.write(cluster.daisy, here.staged_bin, BIN).chmod(0o755)
    site.write(cluster.daisy, "/home/tecs_install/tecs.conf", CONF)
    site.write(cluster.daisy, cluster.paths.known_hosts, "")
    site.program("ssh-keyscan", 'echo "$5 ssh-ed25519 AAAAC3Nz"')
    pins = "".join(f"{node.address} ssh-ed25519 AAAAC3Nz\n" for node in cluster.nodes)
    site.write(cluster.daisy, f"{cluster.paths.state}/known_hosts", pins)
    (site.says / "installs").write_text(here.computes[0].name)
    return here


def test_the_installer_runs_in_the_container_where_the_inventory_says_so(
    inside: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert do("install_computes", inside, site)
    assert "it runs for container daisy" in capsys.readouterr().out
    assert not do("install_computes", inside, site)


def test_an_installer_is_not_run_in_a_container_that_has_other_directories(inside: Run, site: Site) -> None:
    (site.says / "unshared").touch()
    with pytest.raises(PreconditionFailed, match="is another directory in the container: mount the host's there"):
        do("install_computes", inside, site)
    assert site.asked == []


def test_an_installer_in_the_container_ends_when_its_job_is_ended(inside: Run, site: Site) -> None:
    (site.says / "slow").touch()
    step = kind("install_computes").make(inside, inside.cluster.daisy)
    folder = f"{site.says}/job"
    site.run(step.host, job.start(folder, step.action, 600), 30)
    noted = site.says / "bin-pid"
    until(lambda: noted.exists() and noted.read_text().strip() != "")
    pid = int(noted.read_text())
    assert os.getsid(pid) == pid, "the engine's processes are not those of the job"
    site.run(step.host, job.stop(folder, "a person has cancelled it"), 30)
    until(lambda: not Path(f"/proc/{pid}").exists())


def until(seen: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < ends, "it was not seen in twenty seconds"
        time.sleep(0.05)


# ---- Daisy on a controller, doubled slashes --------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["/var/lib/daisy/tecs", "/var/lib/daisy/tecs/", "/var/lib/daisy//tecs//"])
def test_doubled_slashes_in_a_path_name_the_same_file(cluster: Cluster, data: str) -> None:
    paths = cluster.paths.model_copy(update={"tecs_data": data})
    file = daisys_file(cluster.model_copy(update={"paths": paths}), "tecs.conf")
    assert file == f"{cluster.daisy.root}/var/lib/daisy/tecs/{cluster.daisy.cluster_id}/tecs.conf"
