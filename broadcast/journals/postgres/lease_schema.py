"""The table and functions of the schema for the leases of the servers, and for their names."""

from __future__ import annotations

TABLES = """
CREATE TABLE leases (
    node text PRIMARY KEY, epoch bigint NOT NULL, until timestamptz NOT NULL, since timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE leases IS 'The servers that run.';
COMMENT ON COLUMN leases.node IS 'The name of the server.';
COMMENT ON COLUMN leases.epoch IS 'The epoch of the server.';
COMMENT ON COLUMN leases.until IS 'The time from which on others count the server as dead, unless it renews the lease.';
COMMENT ON COLUMN leases.since IS 'The time since which the server has renewed the lease without a long pause.';
"""

FUNCTIONS = """
CREATE FUNCTION forget_people(p_node text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM people WHERE node = p_node;
    DELETE FROM mail WHERE node = p_node;
    DELETE FROM leases WHERE node = p_node;
    PERFORM pg_notify(people_channel(), '');
END
$$;
COMMENT ON FUNCTION forget_people IS 'Remove the people of a server, which starts, ends, or is dead.';

CREATE FUNCTION lock_name(p_node text) RETURNS boolean LANGUAGE sql AS $$
    SELECT pg_try_advisory_lock(hashtext(people_channel() || ' node'), hashtext(p_node));
$$;
COMMENT ON FUNCTION lock_name IS 'Lock the name of a server until the connection ends. Return whether it was free.';

CREATE FUNCTION start_lease(p_node text, p_seconds double precision) RETURNS TABLE (epoch bigint, batch bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM leases WHERE node = p_node FOR UPDATE;  -- in the order of remove_dead, so that there is no deadlock
    RETURN QUERY SELECT * FROM enroll(p_node);
    PERFORM forget_people(p_node);
    INSERT INTO leases (node, epoch, until) SELECT p_node, writers.epoch, now() + make_interval(secs => p_seconds)
        FROM writers WHERE node = p_node;
END
$$;
COMMENT ON FUNCTION start_lease IS 'Give a server that starts a lease and a new epoch. The result is that of enroll.';

CREATE FUNCTION renew(p_node text, p_epoch bigint, p_seconds double precision) RETURNS boolean LANGUAGE sql AS $$
    UPDATE leases SET until = now() + make_interval(secs => p_seconds),
        since = CASE WHEN until < now() + make_interval(secs => p_seconds / 2) THEN now() ELSE since END
    WHERE node = p_node AND epoch = p_epoch
    RETURNING since < now() - make_interval(secs => p_seconds);
$$;
COMMENT ON FUNCTION renew IS
    'Renew the lease of a server. Return NULL if others have removed it. Otherwise return whether it has renewed the '
    'lease for so long that others, which have not, are dead. So a pause of the database ends no lease.';

CREATE FUNCTION remove_dead() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dead leases;
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    FOR dead IN SELECT * FROM leases WHERE until < now() ORDER BY node FOR UPDATE SKIP LOCKED LOOP
        IF expel(dead.node, dead.epoch) THEN
            PERFORM forget_people(dead.node);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION remove_dead IS 'Remove the servers whose lease has run out.';
"""
