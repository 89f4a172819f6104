"""The Open Container Initiative's documents: references, manifests, layers, runtime spec. Pure."""
