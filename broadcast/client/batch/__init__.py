"""The client without a person: in a pipe, or for ``--send``."""
