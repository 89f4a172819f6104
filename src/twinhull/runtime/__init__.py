"""The isolations: each takes a bundle and gives a running workload behind one protocol."""
