"""The command line: verbs loaded when they are called, and how results look."""
