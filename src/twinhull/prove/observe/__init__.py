"""Observers: each runs commands in a session and returns what came of them. Nothing here judges."""
