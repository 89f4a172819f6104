"""Machines: full guest operating systems, each with its own init, from a disk."""
