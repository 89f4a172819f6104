"""The promises of SPEC.md, measured side by side with other engines. `python -m bench [ROUNDS]`."""
