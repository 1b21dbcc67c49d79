"""Durable against plain requests, side by side on this machine: `python -m bench` (or `nox -s bench`)."""
