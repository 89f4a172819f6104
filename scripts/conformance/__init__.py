"""Other projects' tests of OCI runtimes, run against a runtime of this machine. They are fetched, never kept here."""
