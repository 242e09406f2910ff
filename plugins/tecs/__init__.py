"""Airflow's side of the runbook: operators, triggers, decisions, and how a scenario becomes a DAG."""
