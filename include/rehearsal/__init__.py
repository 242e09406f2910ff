"""The rehearsal: a scenario played at speed on a cluster's own embedded twin, and what went otherwise than its plan says."""
