# The commands of this project. `make` alone lists them.
SCENARIO ?= A
CLUSTER ?= lab
PACE ?=
export PYTHON

PY := .venv/bin/python
# One process more than processors: tests wait for labs more than they work. "load" would deal tests out by the hundred.
SIDE_BY_SIDE = --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 4 --dist loadgroup
PACE_OPTION = $(if $(PACE),--pace $(PACE))

.DEFAULT_GOAL := help
.PHONY: help demo up down plan record check-cluster import-cluster rehearse lab lab-cluster lab-cluster-down audit bench load test test-faults test-nightly test-cluster runtime tools

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  SCENARIO=A  the whole cluster (default)     SCENARIO=B  controller B     SCENARIO=C  one compute"
	@echo "  PACE=40     how many times faster than real the lab lives; 1: the runbook's own times"

demo: runtime ## watch a broken cluster come back through Airflow: SCENARIO=A|B|C PACE=n
	@$(PY) -m console.demo --scenario $(SCENARIO) $(PACE_OPTION)

up: runtime ## start Airflow with a fresh lab, and trigger nothing: SCENARIO=A|B|C PACE=n
	@$(PY) -m console.stack up --lab --scenario $(SCENARIO) $(PACE_OPTION)

down: ## end everything that demo or up started
	@if [ -x $(PY) ]; then $(PY) -m console.stack down; fi

plan: runtime ## print a plan before anything is touched: SCENARIO=A|B|C|U CLUSTER=name
	@$(PY) -m console.plan --scenario $(SCENARIO) --cluster $(CLUSTER)

record: runtime ## write the page of a run's record now, also while it goes on: CLUSTER=name RUN=id
	@$(PY) -m console.record --cluster $(CLUSTER) --run '$(RUN)'

check-cluster: runtime ## validate an inventory, and its hosts and pre-conditions over SSH: CLUSTER=name SCENARIO=A|B|C|U
	@$(PY) -m console.check_cluster --scenario $(SCENARIO) --cluster $(CLUSTER)

import-cluster: runtime ## draft an inventory from Daisy's API or files: NAME=x FROM=url CLUSTER_ID=uuid, or TECS_CONF=path MAPPINGS=path
	@$(PY) -m console.import_cluster --name='$(NAME)' $(if $(FROM),--from '$(FROM)') \
		$(if $(CLUSTER_ID),--cluster-id '$(CLUSTER_ID)') $(if $(TECS_CONF),--tecs-conf '$(TECS_CONF)') \
		$(if $(MAPPINGS),--mappings '$(MAPPINGS)') $(if $(HOSTS),--hosts '$(HOSTS)') $(if $(filter 1,$(FORCE)),--force)

rehearse: runtime ## play a scenario on the twin of a cluster, whose hosts are not touched: CLUSTER=name SCENARIO=A|B|C PACE=n
	@$(PY) -m console.rehearse --scenario $(SCENARIO) --cluster $(CLUSTER) $(PACE_OPTION)

lab: runtime ## run the lab alone, until Ctrl-C: SCENARIO=A|B|C PACE=n
	@$(PY) -m include.lab up --inventory include/clusters/lab.yaml --state .run/lab-alone \
		--scenario $(SCENARIO) $(PACE_OPTION)

lab-cluster: runtime ## start the lab of real HA hosts (root, Debian 12+) with Airflow on it: SCENARIO=A|B|C
	@$(PY) -m include.cluster_lab start --state .run/cluster-lab --scenario $(SCENARIO)
	@$(PY) -m console.stack --state .run/cluster-airflow up --labs .run/cluster-lab
	@echo "In the UI: Dags, rollback_cluster (A), rollback_controller (B) or rollback_compute (C), Trigger, Cluster: cluster-lab"

lab-cluster-down: runtime ## end the lab of real HA hosts and its Airflow, and remove every trace of them
	@$(PY) -m console.stack --state .run/cluster-airflow down
	@$(PY) -m include.cluster_lab down --state .run/cluster-lab

bench: runtime ## measure what orchestration adds, for 1, 10 and 50 computes
	@$(PY) -m console.bench

load: runtime ## measure many clusters on one Airflow at once: 1, then 50
	@$(PY) -m console.load --clusters 1 50

audit: tools ## write the bill of materials and look for known vulnerabilities: OSV=url asks another service than PyPI
	@$(PY) -m console.audit $(if $(OSV),--osv '$(OSV)')

test: tools ## check the code and run every test
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest $(SIDE_BY_SIDE)

test-faults: tools ## inject every fault of the matrix, count what came of it, and print the table: hours
	@$(PY) -m pytest $(SIDE_BY_SIDE) -m "faults or not faults" tests/faults

test-nightly: tools ## run the scenarios that are left out of `make test` and `make test-cluster` for want of time: hours
	@$(PY) -m pytest -m nightly tests/lab tests/rehearsal
	@if obstacle=$$($(PY) -m include.cluster_lab check 2>&1); then $(PY) -m pytest -m "cluster and nightly" tests/cluster; \
		else echo "######## NOT RUN: the nightly scenarios on real hosts: $$obstacle ########"; fi

test-cluster: tools ## run the tests on real HA hosts (root, Debian 12+): about half an hour, the first time more
	@$(PY) -m pytest -m cluster tests/cluster

runtime:
	@console/bootstrap.sh requirements.txt

tools:
	@console/bootstrap.sh requirements-dev.txt
