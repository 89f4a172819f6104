"""Virtual machine against container, measured on this machine."""
