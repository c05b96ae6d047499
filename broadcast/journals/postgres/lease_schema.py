"""The table and functions of the schema for the leases of the servers, and for their names."""

from __future__ import annotations

TABLES = """
CREATE TABLE leases (
    node text PRIMARY KEY, epoch bigint NOT NULL, until timestamptz NOT NULL, since timestamptz NOT NULL DEFAULT now(),
    batch bigint NOT NULL DEFAULT 0, answers jsonb
) WITH (fillfactor = 50);
COMMENT ON TABLE leases IS 'The servers that run.';
COMMENT ON COLUMN leases.node IS 'The name of the server.';
COMMENT ON COLUMN leases.epoch IS 'The epoch of the server.';
COMMENT ON COLUMN leases.until IS 'The time from which on others count the server as dead, unless it renews the lease.';
COMMENT ON COLUMN leases.since IS 'The time since which the server has renewed the lease without a long pause.';
COMMENT ON COLUMN leases.batch IS 'Number of the last changes of people and mail that the server has made.';
COMMENT ON COLUMN leases.answers IS 'The answers to them, in case that they are sent again.';
"""

# force_generic_plan lets PostgreSQL keep the plans of change_people_once, in place of planning each call anew.
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
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
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

CREATE FUNCTION end_lease(p_node text, p_epoch bigint, p_reason text DEFAULT 'connection lost') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
    PERFORM FROM leases WHERE node = p_node FOR UPDATE;
    IF expel(p_node, p_epoch, p_reason) THEN
        PERFORM forget_people(p_node);
    END IF;
END
$$;
COMMENT ON FUNCTION end_lease IS 'Remove a server that ends, or is dead, unless a newer one has its name.';

CREATE FUNCTION remove_dead() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dead leases;
BEGIN
    IF NOT EXISTS (SELECT FROM leases WHERE until < now()) THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
    FOR dead IN SELECT * FROM leases WHERE until < now() ORDER BY node FOR UPDATE SKIP LOCKED LOOP
        PERFORM end_lease(dead.node, dead.epoch);
    END LOOP;
END
$$;
COMMENT ON FUNCTION remove_dead IS 'Remove the servers whose lease has run out.';

CREATE FUNCTION change_people_once(p_node text, p_epoch bigint, p_batch bigint, p_changes jsonb) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    lease leases;
    made jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
    SELECT * INTO lease FROM leases WHERE node = p_node FOR NO KEY UPDATE;
    IF lease.epoch IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'the server % has lost its lease', p_node USING ERRCODE = 'BC002';
    END IF;
    IF lease.batch = p_batch THEN
        RETURN lease.answers;
    END IF;
    made := change_people(p_node, p_changes);
    UPDATE leases SET batch = p_batch, answers = made WHERE node = p_node;
    RETURN made;
END
$$;
COMMENT ON FUNCTION change_people_once IS
    'Do what change_people does, for a server that has a lease. The same number returns the same answers.';

CREATE FUNCTION renew_id(p_id text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE journal SET id = replace(gen_random_uuid()::text, '-', '') WHERE id = p_id;
    IF FOUND THEN
        PERFORM FROM leases ORDER BY node FOR UPDATE;
        UPDATE writers SET epoch = epoch + 1;
        DELETE FROM members;
        DELETE FROM people;
        DELETE FROM sessions;
        DELETE FROM mail;
        DELETE FROM leases;
    END IF;
END
$$;
COMMENT ON FUNCTION renew_id IS
    'Give the journal, which has lost lines, another id in place of this one, and let all servers start anew.';
"""
