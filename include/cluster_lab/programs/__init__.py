"""The stand-ins on the cluster lab's hosts: what neither Debian nor anybody but ZTE has."""
