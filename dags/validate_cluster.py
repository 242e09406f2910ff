"""
# Could this cluster be rolled back now?

**What.** Every host is read, nothing is changed. *Health*: hosts, the HA pair, virtual IPs, services, room, clocks. *Readiness*:
the old installer, Daisy's data, room for the VMs, the databases' schema, what must be saved first. Each check says what it
found and what to do. The last task fails when a check does not pass without which a rollback would not work.

**When.** `validate_cluster` whenever it is asked for; `validate_<cluster>` by the `validation` schedule of its inventory.

**Where the results are.** In the first task's log, and in `validation/` of the product's folder on the Daisy host. What is worse
than at the last validation is told.
"""

from airflow.sdk import chain
from tecs.scenario import decide
from tecs.validation import require_readiness, validate, validations

for dag in validations(__doc__):
    with dag:
        judged = decide("V1", "Read every host and judge every check", validate)
        ready = decide("V2", "Require that the cluster could be rolled back now", require_readiness, judged.output)
        chain(judged, ready)
    globals()[dag.dag_id] = dag
