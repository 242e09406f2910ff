"""What Airflow itself must know of this project: a run's deadline, and whom to tell when something is cancelled or ends."""

from airflow.plugins_manager import AirflowPlugin
from tecs.cancelling import CancelListener
from tecs.deadlines import PlannedEnd
from tecs.keeping import RecordListener


class TecsPlugin(AirflowPlugin):
    """Registers the project with Airflow's plugin manager."""

    name = "tecs"
    deadline_references = [PlannedEnd]  # noqa: RUF012  Airflow reads it from the class
    listeners = [CancelListener(), RecordListener()]  # noqa: RUF012
