"""The tables and functions of the schema for the sessions that a token can resume, on whatever server.

The server that has a session is its owner. A session is *parked* while it has no owner: its server has died, has
stopped, or has given the session up for another server. Its people and members rows remain, so it is still here. It
leaves when its time is over, unless a server claims it before.

Each change of the owner raises the generation of the session. What a former owner still does with an older generation
has no effect.
"""

from __future__ import annotations

TABLES = """
CREATE TABLE sessions (
    session bigint PRIMARY KEY, token text COLLATE "C" NOT NULL UNIQUE, node text NOT NULL, attempt numeric NOT NULL,
    grace double precision NOT NULL, until timestamptz, memory text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT 'connection lost', "by" text NOT NULL DEFAULT ''
) WITH (fillfactor = 70);
CREATE INDEX sessions_node ON sessions (node);
COMMENT ON TABLE sessions IS 'The sessions that a token can resume. They have rows in people and members too.';
COMMENT ON COLUMN sessions.session IS 'The session.';
COMMENT ON COLUMN sessions.token IS 'A hash of the token.';
COMMENT ON COLUMN sessions.node IS 'The server that has the session; empty if none has.';
COMMENT ON COLUMN sessions.attempt IS 'The highest attempt to resume the session so far.';
COMMENT ON COLUMN sessions.grace IS 'The time for which the session remains without a connection, in seconds.';
COMMENT ON COLUMN sessions.until IS 'The end of that time; NULL while there is a connection.';
COMMENT ON COLUMN sessions.memory IS 'The private messages that the last server had, for the next one.';
COMMENT ON COLUMN sessions.reason IS 'The reason that others read if the session ends while no server has it.';
COMMENT ON COLUMN sessions."by" IS 'The operator who has ended the session; empty if none has.';
"""

FUNCTIONS = """
CREATE FUNCTION move_session(p_session bigint, p_node text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    news jsonb;
    has_mail boolean;
BEGIN
    UPDATE sessions SET node = p_node WHERE session = p_session;
    UPDATE members SET node = p_node WHERE session = p_session;
    -- The recipient reads mail in the order of the ids. The sender of old mail to a server has given up.
    WITH moved AS (
        DELETE FROM mail WHERE session = p_session AND body ->> 2 = 'PrivateMessage'
            AND (node = '' OR stored > now() - interval '3 seconds') RETURNING mail.*
    )
    INSERT INTO mail (node, sender, body, session) SELECT p_node, sender, body, session FROM moved ORDER BY id;
    has_mail := FOUND AND p_node <> '';
    WITH moved AS (
        UPDATE people SET node = p_node, generation = generation + 1 WHERE session = p_session RETURNING people.*
    )
    SELECT jsonb_agg(jsonb_build_array('here', to_jsonb(moved))) INTO news FROM moved;
    IF has_mail THEN
        news := news || jsonb_build_array(jsonb_build_array('mail', p_node));
    END IF;
    RETURN news;
END
$$;
COMMENT ON FUNCTION move_session IS 'Give a session to another server, or park it, and return the news about it.';

CREATE FUNCTION has_connection(p_node text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid::bigint = (hashtext(people_channel() || ' node')::bigint & 4294967295)
            AND objid::bigint = (hashtext(p_node)::bigint & 4294967295)
    )
$$;
COMMENT ON FUNCTION has_connection IS
    'Return whether a connection holds the name of a server; see lock_name. A server that was killed has none.';

CREATE FUNCTION change_session(p_node text, p_kind text, p_item jsonb, OUT answer jsonb, OUT news jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    item sessions := jsonb_populate_record(NULL::sessions, p_item);
    known sessions;
    person people;
BEGIN
    answer := 'null';
    news := '[]';
    IF p_kind = 'find' THEN
        SELECT * INTO known FROM sessions WHERE token = item.token FOR UPDATE;
    ELSE
        SELECT * INTO known FROM sessions WHERE session = item.session FOR UPDATE;
    END IF;
    SELECT * INTO person FROM people WHERE session = known.session ORDER BY key LIMIT 1;
    CASE p_kind
        WHEN 'keep' THEN
            INSERT INTO sessions (session, token, node, attempt, grace, until)
                VALUES (item.session, item.token, p_node, item.attempt, item.grace,
                    CASE WHEN (p_item -> 'waits')::boolean THEN now() + make_interval(secs => item.grace) END)
                ON CONFLICT (session) DO UPDATE
                SET attempt = excluded.attempt, grace = excluded.grace, until = excluded.until
                WHERE sessions.node = p_node;
            IF NOT FOUND THEN
                answer := 'false';
            END IF;
        WHEN 'end' THEN
            DELETE FROM sessions WHERE session = item.session AND node = p_node;
        WHEN 'park' THEN
            -- During a rename, a person has two rows.
            IF known.node = p_node AND (SELECT count(*) FROM people WHERE session = known.session) = 1 THEN
                UPDATE sessions SET memory = item.memory, until = coalesce(until, now() + make_interval(secs => grace))
                    WHERE session = known.session;
                news := move_session(known.session, '');
            ELSE
                answer := 'false';
            END IF;
        WHEN 'find' THEN
            IF known.node NOT IN ('', p_node) AND known.attempt < item.attempt
                AND ((p_item -> 'force')::boolean OR NOT has_connection(known.node)) THEN
                -- A batch in flight comes first. If it takes long, its server lives.
                PERFORM FROM writers WHERE node = known.node FOR UPDATE SKIP LOCKED;
                IF FOUND AND (SELECT count(*) FROM people WHERE session = known.session) = 1 THEN
                    UPDATE sessions SET until = now() + make_interval(secs => grace) WHERE session = known.session;
                    news := move_session(known.session, '');
                    SELECT * INTO known FROM sessions WHERE session = known.session;
                    SELECT * INTO person FROM people WHERE session = known.session;
                END IF;
            END IF;
            IF known.node <> p_node AND (known.node <> '' OR known.until > now()) AND person.session IS NOT NULL THEN
                answer := to_jsonb(known) || jsonb_build_object('person', to_jsonb(person), 'rooms', (
                    SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM members JOIN rooms ON id = room
                    WHERE session = known.session
                ));
            END IF;
        WHEN 'claim' THEN
            IF known.node = '' AND known.until > now() AND person.generation = (p_item -> 'generation')::integer THEN
                UPDATE sessions SET attempt = item.attempt, memory = '', until = now() + make_interval(secs => grace)
                    WHERE session = known.session;
                UPDATE people SET address = p_item ->> 'address' WHERE session = known.session;
                news := move_session(known.session, p_node);
                answer := to_jsonb(person.generation + 1);
            END IF;
    END CASE;
END
$$;
COMMENT ON FUNCTION change_session IS
    'Make a change of a session for a server: keep or end one of its own, park it, find one by its token, or claim it.';

CREATE FUNCTION park_node(p_node text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parked bigint[];
BEGIN
    WITH moved AS (
        UPDATE sessions SET node = '', until = coalesce(until, now() + make_interval(secs => grace))
            WHERE node = p_node AND (SELECT count(*) FROM people WHERE people.session = sessions.session) = 1
            RETURNING session
    )
    SELECT array_agg(session) INTO parked FROM moved;
    DELETE FROM sessions WHERE node = p_node;
    UPDATE people SET node = '', generation = generation + 1 WHERE node = p_node AND session = ANY (parked);
    UPDATE members SET node = '' WHERE node = p_node AND session = ANY (parked);
END
$$;
COMMENT ON FUNCTION park_node IS 'Park the sessions of a server, which starts, ends, or is dead.';

CREATE FUNCTION end_parked() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    over bigint[];
    news jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM sessions WHERE node = '' AND until <= now()) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
    PERFORM set_config('lock_timeout', '500ms', true);
    over := ARRAY(SELECT session FROM sessions WHERE node = '' AND until <= now() FOR UPDATE);
    PERFORM let_leave('', over);
    DELETE FROM mail WHERE node = '' AND session = ANY (over);
    WITH gone AS (
        DELETE FROM people WHERE session = ANY (over) RETURNING session, nick
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array('gone', session, nick)), '[]') INTO news FROM gone;
    DELETE FROM sessions WHERE session = ANY (over);
    PERFORM notify_people('', news);
END
$$;
COMMENT ON FUNCTION end_parked IS 'Let the parked sessions leave whose time is over.';
"""
