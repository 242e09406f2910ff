"""The cluster lab: hosts with real systemd, OpenSSH, Corosync and Pacemaker on one machine. Root and Debian only."""
