"""The journals: ordered records of a room's stored events, behind ``core.interfaces.Journal``."""
