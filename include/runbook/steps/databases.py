"""The runbook's caution about databases: the old release is not started on a schema that it does not know.

Read on the controllers: on the active one the database answers. In scenario A that is B at first.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder, quote_name, ssh_to
from include.runbook.errors import FactUnreadable
from include.runbook.goals import command_succeeds
from include.runbook.scenarios import BATCH_OF
from include.runbook.schemas import ALEMBIC, MIGRATE, not_known, parse_schemas
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, any_of, kind, step


def _ask(cluster: Cluster, query: str) -> str:
    return f"printf '%s\\n' {query} | {cluster.databases.client}"


def versions_of(cluster: Cluster, names: Sequence[str]) -> str:
    """Return the script that prints `database table version` for each of the databases."""
    wanted = ", ".join(f"'{name}'" for name in names)
    tables = (
        f"SELECT table_schema, table_name FROM information_schema.tables "
        f"WHERE table_name IN ('{MIGRATE}', '{ALEMBIC}') AND table_schema IN ({wanted});"
    )
    rows = _ask(cluster, '"SELECT $column FROM \\`$database\\`.$table;"')
    return f"""\
found=$({_ask(cluster, quote(tables))}) || exit $?
printf '%s\\n' "$found" | while read -r database table; do
  case $table in {MIGRATE}) column=version ;; {ALEMBIC}) column=version_num ;; *) continue ;; esac
  rows=$({rows}) || exit $?
  for row in ${{rows:-""}}; do echo "$database $table $row"; done
  test -n "$rows" || echo "$database $table"
done"""


def schemas_known(run: Run) -> Goal:
    """The target release knows the schema of every database that the inventory names for it."""
    cluster = run.cluster
    known = cluster.releases[run.target].schemas
    command = versions_of(cluster, list(known))
    hosts = _controllers(run)

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not known:
            return Verdict(
                False,
                f"the inventory does not say which schemas release {run.target} knows (releases.{run.target}.schemas)",
            )
        host, output = _answering(hosts, outputs, command)
        live = parse_schemas(output.stdout, source=f"{host.name}: {cluster.databases.client}")
        problems = not_known(live, known)
        return Verdict(not problems, "; ".join(problems or [schema.told for schema in live]))

    reads = tuple(Read(host, command) for host in hosts) if known else (Read(cluster.controllers.a, "true"),)
    return Goal(f"release {run.target} knows the schema of every database", reads, judge)


def schemas_safe(run: Run) -> Goal:
    """The target release knows every schema, or a person answers for it that it does not."""
    return any_of(schemas_known(run), _accepted(run), sentence=schemas_known(run).sentence)


def _accepted(run: Run) -> Goal:
    def judge(_: Sequence[Output]) -> Verdict:
        if run.accept_newer_schema:
            return Verdict(True, f"{run.user} accepts a newer schema; the databases are backed up first")
        return Verdict(
            False, "nobody has accepted that; trigger with accept_newer_schema if someone answers for it (backup first)"
        )

    return Goal("a newer schema is accepted", (), judge)


def _controllers(run: Run) -> tuple[Host, ...]:
    pair = run.cluster.controllers
    return (pair.a, pair.b) if run.dag in BATCH_OF else (pair.a,)


def _answering(hosts: Sequence[Host], outputs: Sequence[Output], command: str) -> tuple[Host, Output]:
    for host, output in zip(hosts, outputs, strict=True):
        if output.ok:
            return host, output
    told = "; ".join(f"{host.name}: {output.tail}" for host, output in zip(hosts, outputs, strict=True))
    raise FactUnreadable(
        ", ".join(host.name for host in hosts), command.splitlines()[0], f"no database answers: {told}"
    )


def backup_folder(run: Run) -> str:
    """Return where on the Daisy host the backup of the run's databases lies."""
    return f"{folder(run.cluster)}/backups/{quote_name(run.owner)}"


@step("S5", "Back up the databases if their schema is newer than the old release knows", over=Over.DAISY, detached=True)
def back_up_databases(run: Run, daisy: Host) -> Step:
    """Whoever accepts a newer schema can get the data back: every database is dumped, whole, with its sum beside it."""
    cluster = run.cluster
    there, names = backup_folder(run), list(cluster.releases[run.target].schemas)
    files = " ".join(f"{name}.sql.gz" for name in names)
    backed_up = command_succeeds(
        f"the databases are backed up on {daisy.name}",
        daisy,
        f'cd {quote(there)} 2>/dev/null && sha256sum --check SHA256SUMS && test "$(wc -l < SHA256SUMS)" = {len(names)}',
    )
    return Step(
        kind("back_up_databases"),
        daisy,
        goal=any_of(schemas_known(run), backed_up),
        proof=backed_up,
        requires=(_accepted(run),),
        action=f"""\
umask 077
mkdir -p {quote(there)} && cd {quote(there)} || exit 2
{dump_all(run)}
sha256sum {files} > SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS""",
        advice=f"See that {daisy.name} has room below {there} and that the database answers on the active controller.",
    )


def dump_all(run: Run) -> str:
    """Return the script that dumps each database that the release names, whole, into the folder in which it is run."""
    cluster = run.cluster
    return f"""\
{on_database(run)}
for database in {" ".join(cluster.releases[run.target].schemas)}; do
  echo "dumping $database"
  on_database "{cluster.databases.dump} $database | gzip" > "$database.sql.gz" || exit $?
  # mysqldump writes this line when it has written everything; its status is lost in the pipe.
  gunzip -c "$database.sql.gz" | tail -n 1 | grep -q '^-- Dump completed' ||
    {{ echo "the dump of $database is not whole" >&2; exit 1; }}
  ls -l "$database.sql.gz"
done"""


def on_database(run: Run) -> str:
    """Return the shell function that runs the command $1 on the controller whose database answers."""
    cluster = run.cluster
    alive = quote(_ask(cluster, quote("SELECT 1;")))
    hosts = "\n".join(
        f'  if test -z "$at" && {ssh_to(cluster, host)} {alive} > /dev/null; then at={host.name}; fi'
        for host in _controllers(run)
    )
    cases = "\n".join(f'    {host.name}) {ssh_to(cluster, host)} "$1" ;;' for host in _controllers(run))
    return f"""\
on_database() {{
  at=
{hosts}
  case $at in
{cases}
    *) echo 'the database answers on no controller' >&2; return 1 ;;
  esac
}}"""
