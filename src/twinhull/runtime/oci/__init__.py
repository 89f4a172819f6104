"""Containers of the OCI runtime command line: no shim, no database; all state is files below one directory."""
