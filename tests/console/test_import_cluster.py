"""The command that drafts an inventory: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import check_cluster, import_cluster
from console.errors import ConsoleError
from include.lab.daisy_api import ARRAY_LOGIN, DaisyApi, Spoilt
from include.lab.world import World
from tests.unit.daisy_sites import lab_world, write_files


@pytest.fixture
def world(tmp_path: Path) -> World:
    return lab_world(tmp_path)


@pytest.fixture
def api(world: World) -> Iterator[DaisyApi]:
    with DaisyApi(world) as serving:
        yield serving


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clusters"
    folder.mkdir()
    monkeypatch.setenv("TECS_CLUSTERS", str(folder))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody is there to be asked
    return folder


class Terminal(io.StringIO):
    """Standard input with somebody at it."""

    def isatty(self) -> bool:
        return True


def drafted(api: DaisyApi, world: World, *more: str, name: str = "site1") -> int:
    return import_cluster.main(["--name", name, "--from", api.url, "--cluster-id", world.cluster_id, *more])


def test_a_draft_is_written_and_what_to_fill_in_is_told(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drafted(api, world) == 0
    told = capsys.readouterr().out
    assert f"{clusters / 'site1.yaml'}: drafted, two controllers and 3 computes" in told
    assert "site1.yaml:15: daisy.address: '?' is not an IP address" in told
    assert "make check-cluster CLUSTER=site1" in told
    assert [file.name for file in clusters.iterdir()] == ["site1.yaml"]
    assert (clusters / "site1.yaml").stat().st_mode & 0o777 == 0o644


def test_check_cluster_refuses_the_draft_by_its_unknown_keys(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(api, world)
    capsys.readouterr()
    assert check_cluster.main(["--cluster", "site1", "--state", str(clusters / "state")]) == 1
    told = capsys.readouterr().err
    for key in ("daisy.address", "controllers.?a", "controllers.?b", "releases.?old", "target_release"):
        assert f": {key}: " in told


def test_the_files_give_the_same_draft_but_for_what_they_do_not_tell(
    api: DaisyApi, world: World, clusters: Path, tmp_path: Path
) -> None:
    conf, mappings, hosts = write_files(world, tmp_path)
    files = ["--tecs-conf", str(conf), "--mappings", str(mappings), "--hosts", str(hosts)]
    assert drafted(api, world, name="site") == 0
    told = (clusters / "site.yaml").read_text().splitlines()
    assert import_cluster.main(["--name", "site", *files, "--force"]) == 0
    read = (clusters / "site.yaml").read_text().splitlines()
    assert {line for line in told if line not in read and not line.startswith("#")} == {
        "storage: share",
        "storage_network: STORAGE",
    }
    assert {line for line in read if line not in told and not line.startswith("#")} == {
        "storage: '?'",
        "storage_network: '?'",
    }


def test_an_inventory_that_is_there_is_left_alone_where_nobody_can_be_asked(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clusters / "site1.yaml").write_text("filled in by hand\n")
    assert drafted(api, world) == 1
    assert (clusters / "site1.yaml").read_text() == "filled in by hand\n"
    assert "Choose another NAME, or replace it with FORCE=1" in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_an_inventory_that_is_there_is_replaced_after_a_yes(
    api: DaisyApi, world: World, clusters: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (clusters / "site1.yaml").write_text("filled in by hand\n")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert drafted(api, world) == 0
    assert (clusters / "site1.yaml").read_text().startswith("# Drafted from Daisy's API")


@pytest.mark.parametrize("answer", ["\n", "n\n", "yess\n", ""])
def test_an_inventory_that_is_there_is_left_alone_after_anything_else(
    api: DaisyApi, world: World, clusters: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (clusters / "site1.yaml").write_text("filled in by hand\n")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert drafted(api, world) == 1
    assert (clusters / "site1.yaml").read_text() == "filled in by hand\n"


def test_force_replaces_an_inventory_that_is_there(api: DaisyApi, world: World, clusters: Path) -> None:
    (clusters / "site1.yaml").write_text("filled in by hand\n")
    assert drafted(api, world, "--force") == 0
    assert (clusters / "site1.yaml").read_text().startswith("# Drafted from Daisy's API")
    assert len(list(clusters.iterdir())) == 1


def test_an_inventory_that_came_up_in_the_meantime_is_left_alone(api: DaisyApi, world: World, clusters: Path) -> None:
    target = clusters / "site1.yaml"
    overwrite = import_cluster.may_write(target, force=False)
    target.write_text("filled in by hand\n")
    site = import_cluster.daisy_site.read_site(api.url, world.cluster_id)
    with pytest.raises(ConsoleError, match="made by somebody else in the meantime"):
        import_cluster.import_cluster("site1", site, target, overwrite)
    assert target.read_text() == "filled in by hand\n"
    assert [file.name for file in clusters.iterdir()] == ["site1.yaml"]


@pytest.mark.parametrize("name", ["", "../site1", "a b", "-x", ".hidden", "a/b", "a\nb"])
def test_a_name_that_is_none_is_refused_before_anybody_is_asked(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert import_cluster.main([f"--name={name}", "--from", api.url]) == 1
    assert capsys.readouterr().err.startswith(f"NAME: {name!r} is not valid; expected letters")
    assert api.requests == []
    assert list(clusters.iterdir()) == []


@pytest.mark.parametrize("spoilt", [Spoilt(500), Spoilt(body=b"<html>"), Spoilt(body=b"{}")])
def test_an_unusable_answer_is_one_line_and_leaves_nothing_behind(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str], spoilt: Spoilt
) -> None:
    api.spoilt["/v1/roles/detail"] = spoilt
    assert drafted(api, world) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "/v1/roles/detail" in told.err
    assert list(clusters.iterdir()) == []


def test_a_disk_array_s_login_turns_up_nowhere(
    api: DaisyApi, world: World, clusters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(api, world)
    told = capsys.readouterr()
    assert "KS3200_IPSAN" in told.out  # so that answer was read
    assert ARRAY_LOGIN not in told.out + told.err + (clusters / "site1.yaml").read_text()


def test_a_folder_that_is_not_there_is_told(
    api: DaisyApi, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TECS_CLUSTERS", str(tmp_path / "none"))
    assert drafted(api, world) == 1
    assert f"{tmp_path}/none/site1.yaml: cannot be written: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "source",
    [
        [],
        ["--from", "http://daisy", "--tecs-conf", "x", "--mappings", "y"],
        ["--tecs-conf", "x"],
        ["--mappings", "x"],
        ["--from", "http://daisy", "--hosts", "x"],
        ["--tecs-conf", "x", "--mappings", "y", "--cluster-id", "z"],
    ],
)
def test_sources_that_do_not_go_together_are_refused(
    clusters: Path, capsys: pytest.CaptureFixture[str], source: list[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        import_cluster.main(["--name", "site1", *source])
    assert refused.value.code == 2
    assert "FROM" in capsys.readouterr().err
