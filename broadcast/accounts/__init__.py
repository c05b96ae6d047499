"""The work around accounts that is no part of the core: hashing of passwords."""
