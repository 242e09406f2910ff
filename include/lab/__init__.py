"""The embedded lab: a digital twin of one TECS site on the loopback addresses of one machine."""
