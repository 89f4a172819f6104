"""Judges: each turns evidence into a verdict that explains itself. Nothing here touches the machine."""
