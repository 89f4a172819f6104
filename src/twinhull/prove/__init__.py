"""The textbook's sentences about virtual machines and containers, each a check that runs on this machine."""
