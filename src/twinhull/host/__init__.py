"""What touches the host: processes, files, locks, netlink, and the facts of this machine."""
