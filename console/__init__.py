"""What an operator runs from a terminal: the embedded Airflow, its progress, and the demonstration."""
