"""A plan is data: what the launcher performs, decided by pure functions from an OCI spec."""
