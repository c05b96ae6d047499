"""The name and the lease of a node among those that share a database."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, sleep
from typing import Final, NamedTuple

from psycopg import errors

from broadcast.core.errors import JournalInUse
from broadcast.journals.postgres.database import Connection, to_text

LEASE_SECONDS: Final = 10.0
"""Time after which the others remove the people of a node that does not renew its lease."""
RENEW_SECONDS: Final = 2.0
"""Time between two renewals."""
LOOK_SECONDS: Final = 0.2
"""Time between two looks whether another node with the same name renews its lease."""

_LEASE = "SELECT until, until < now() FROM leases WHERE node = %s"


class LeaseLost(Exception):
    """Other nodes have removed this one."""


class Writer(NamedTuple):
    """A node that may write."""

    epoch: int
    batch: int
    """The number of its last batch."""


def start_lease(db: Connection, node: str) -> Writer:
    """Give the node *node* a lease and a new epoch, and remove what is left of an earlier node with this name.

    *db* holds the name from now on. Raises ``JournalInUse`` if another node has the name and renews its lease. If the
    other one was suspended, this blocks until its lease has run out.
    """
    name = to_text(node)
    first = None
    end = monotonic() + LEASE_SECONDS
    while not _value(db, "SELECT lock_name(%s)", name):
        lease = db.execute(_LEASE, (name,)).fetchone()
        is_renewed = lease is not None and first is not None and lease[0] > first[0]
        if is_renewed or monotonic() > end:
            msg = f"a server with the name {node} runs: give this one another name with --node"
            raise JournalInUse(msg)
        if lease is not None and lease[1]:
            break
        first = lease or first
        sleep(LOOK_SECONDS)
    row = db.execute("SELECT epoch, batch FROM start_lease(%s, %s)", (name, LEASE_SECONDS)).fetchone()
    assert row is not None
    return Writer(*row)


def renew_lease(db: Connection, node: str, epoch: int) -> None:
    """Renew the lease of the node *node*, remove nodes that are dead, and end sessions. Raises ``LeaseLost``.

    The lease decides when others remove this node. Whether it may write does not depend on any clock: the database
    refuses each change with an old epoch.
    """
    name = to_text(node)
    is_witness = _value(db, "SELECT renew(%s, %s, %s)", name, epoch, LEASE_SECONDS)
    if is_witness is None:
        raise LeaseLost
    if is_witness:
        # A batch of the dead node may be in flight. Then the next renewal tries again.
        with suppress(errors.LockNotAvailable):
            db.execute("SELECT remove_dead()")
        end_parked(db)


def end_parked(db: Connection) -> None:
    """Let the parked sessions leave whose grace is over. A batch in flight may delay that to the next call."""
    with suppress(errors.LockNotAvailable):
        db.execute("SELECT end_parked()")


def _value(db: Connection, query: str, *values: object) -> object:
    row = db.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]
