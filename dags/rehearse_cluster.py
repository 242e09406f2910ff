"""
# Would a rollback work with this cluster's inventory?

**What.** A scenario is played at speed on the cluster's own embedded twin: its names, computes, batches, storage and settings, on
loopback addresses of the worker. Every step is carried out and proven there by the code that a rollback runs. No host of the
cluster is connected to. The last task fails, and names each point, when something went otherwise than the plan says.

**When.** `rehearse_cluster` whenever it is asked for; `rehearse_<cluster>` by the `rehearsal` schedule of its inventory.

**How long.** About two minutes at pace 200 for a cluster of six computes on two cores, with the worker busy that long.

**Where the reports are.** In the first task's log, and beside the pages of the cluster's runs, in the folder of `TECS_RECORDS`.
"""

from airflow.sdk import chain
from tecs.rehearsal import Rehearse, rehearsals, require_as_planned
from tecs.scenario import decide

for dag in rehearsals(__doc__):
    with dag:
        played = Rehearse(
            task_id="R1_rehearse",
            task_display_name="R1 Play the scenario on the cluster's twin",
            doc_md=Rehearse.__doc__,
        )
        judged = decide("R2", "Require that it went as planned", require_as_planned, played.output)
        chain(played, judged)
    globals()[dag.dag_id] = dag
