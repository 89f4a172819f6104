"""Bridges that containers and virtual machines share: addresses, ports, names."""
