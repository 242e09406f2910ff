# The rollback as an image for those who outgrow one machine; docs/deployment.md says how to run it.
#
# The slim variant of Airflow's official image: it brings Airflow and no other providers, so that all that is in the
# image is the set of packages that the tests ran on, and nothing of another set is left half replaced beside it.
FROM apache/airflow:slim-3.3.2-python3.12

# As the image's own user (airflow, not root), which the image set last and which stays.
COPY --chown=airflow:root requirements-celery.txt constraints.txt /tmp/requirements/
RUN pip install --no-cache-dir -r /tmp/requirements/requirements-celery.txt -c /tmp/requirements/constraints.txt

# What DAG files and plugins import: `include`, the plugins' package `tecs`, `airflow_local_settings`.
ENV PYTHONPATH=/opt/airflow:/opt/airflow/plugins:/opt/airflow/config

COPY --chown=airflow:root config /opt/airflow/config
COPY --chown=airflow:root include /opt/airflow/include
COPY --chown=airflow:root plugins /opt/airflow/plugins
COPY --chown=airflow:root dags /opt/airflow/dags

# The build fails where a DAG cannot be read. Importing Airflow writes a configuration with keys of its own making: into
# a folder that is thrown away at once, for no key may be in an image.
RUN for dag in /opt/airflow/dags/*.py; do AIRFLOW_HOME=/tmp/check PYTHONDONTWRITEBYTECODE=1 python "$dag" || exit 1; done \
    && rm -r /tmp/check

# The volumes of logins and of runs' pages take their owners from these folders.
RUN mkdir -m 700 /opt/airflow/login /opt/airflow/records
