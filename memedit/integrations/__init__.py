"""Integrations: memedit inside other frameworks. One file each, the only ones that import those packages."""
