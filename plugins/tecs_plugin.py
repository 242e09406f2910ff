"""What Airflow itself must know of this project: the deadline that follows from a run's plan."""

from airflow.plugins_manager import AirflowPlugin
from tecs.deadlines import PlannedEnd


class TecsPlugin(AirflowPlugin):
    """Registers the project with Airflow's plugin manager."""

    name = "tecs"
    deadline_references = [PlannedEnd]  # noqa: RUF012  Airflow reads it from the class
