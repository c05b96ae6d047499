"""The table and functions of the schema for the slots of uploads, which any server can receive.

A slot is *live* while it is open or begun, its time is not over, and its session has not ended. The bytes of an upload
are in the table chunks, under the id of its slot. Each ``begin_slot`` raises the generation of the slot. The database
refuses bytes from a server with an older generation. The last bytes are stored together with the share. So if a server
dies before that, another one can finish the upload.
"""

from __future__ import annotations

TABLES = """
CREATE TABLE slots (
    id text PRIMARY KEY, token text COLLATE "C" NOT NULL UNIQUE, session bigint NOT NULL, room text NOT NULL,
    owner text NOT NULL, source text, name text NOT NULL, size bigint, type text NOT NULL, sha256 text NOT NULL,
    uid text NOT NULL, is_link boolean NOT NULL, state text NOT NULL DEFAULT 'open',
    generation integer NOT NULL DEFAULT 0, reserved bigint NOT NULL DEFAULT 0, until timestamptz NOT NULL,
    begun timestamptz
);
CREATE INDEX slots_owner ON slots (owner);
COMMENT ON TABLE slots IS 'The uploads that are allowed, and those that have begun in the last hour.';
COMMENT ON COLUMN slots.id IS 'The id of the future share.';
COMMENT ON COLUMN slots.token IS 'A hash of the secret that allows the upload.';
COMMENT ON COLUMN slots.session IS 'The session that shares the file.';
COMMENT ON COLUMN slots.room IS 'The name of the room.';
COMMENT ON COLUMN slots.owner IS 'The account or address whose limits the upload counts for.';
COMMENT ON COLUMN slots.source IS 'The address from which the upload comes; NULL for one of the machine of the server.';
COMMENT ON COLUMN slots.name IS 'The name of the file.';
COMMENT ON COLUMN slots.size IS 'Size in bytes; NULL if it is not known yet.';
COMMENT ON COLUMN slots.type IS 'The media type, as the program of the person gives it.';
COMMENT ON COLUMN slots.sha256 IS 'The hash that the content must have; empty if it is not known.';
COMMENT ON COLUMN slots.uid IS 'The identifier that the program has chosen for the line; empty if it has not.';
COMMENT ON COLUMN slots.is_link IS 'Whether the upload tells the name and size.';
COMMENT ON COLUMN slots.state IS 'open, begun, complete or ended.';
COMMENT ON COLUMN slots.generation IS 'A number that rises whenever the upload begins or goes on.';
COMMENT ON COLUMN slots.reserved IS 'The size for which there must be space; 0 before the upload has begun.';
COMMENT ON COLUMN slots.until IS 'The time until which the upload must begin, or be complete once it has begun.';
COMMENT ON COLUMN slots.begun IS 'The time at which the upload has begun; NULL if it has not.';
"""

FUNCTIONS = """
CREATE FUNCTION is_live(p_slot slots) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT p_slot.state IN ('open', 'begun') AND p_slot.until > now()
        AND EXISTS (SELECT FROM people WHERE people.session = p_slot.session)
$$;
COMMENT ON FUNCTION is_live IS 'Return whether a slot has not ended.';

CREATE FUNCTION has_space(p_owner text, p_size bigint, p_limits jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT sum(greatest(size, (p_limits -> 'least')::bigint)) FROM shares WHERE owner <> p_owner), 0)
        + coalesce((SELECT sum(reserved) FROM slots WHERE is_live(slots)), 0) + p_size <= (p_limits -> 'total')::bigint
$$;
COMMENT ON FUNCTION has_space IS 'Return whether so many bytes have room, even without the other files of the owner.';

CREATE FUNCTION refuse_upload(p_owner text, p_source text, p_size bigint, p_limits jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    from_source bigint;
    in_all bigint;
    wait double precision;
BEGIN
    SELECT count(*) FILTER (WHERE source = p_source), count(*) INTO from_source, in_all
        FROM slots WHERE is_live(slots) AND state = 'begun';
    IF from_source >= (p_limits -> 'address')::bigint THEN
        RETURN '["address"]';
    ELSIF in_all >= (p_limits -> 'all')::bigint THEN
        RETURN '["all"]';
    ELSIF NOT has_space(p_owner, p_size, p_limits) THEN
        RETURN '["space"]';
    END IF;
    SELECT extract(epoch FROM begun + interval '1 hour' - now()) INTO wait
        FROM slots WHERE owner = p_owner AND begun > now() - interval '1 hour'
        ORDER BY begun DESC OFFSET (p_limits ->> 'hour')::bigint - 1 LIMIT 1;
    RETURN CASE WHEN p_limits ->> 'hour' IS NOT NULL AND wait > 0 THEN jsonb_build_array('hour', wait) END;
END
$$;
COMMENT ON FUNCTION refuse_upload IS 'Return the limit that an upload would exceed, or NULL.';

CREATE FUNCTION describe_slot(p_slot slots) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(p_slot) - 'token' || jsonb_build_object(
        'expires', extract(epoch FROM p_slot.until),
        'received', (SELECT coalesce(sum(octet_length(data)), 0) FROM chunks WHERE token = p_slot.id)
    )
$$;
COMMENT ON FUNCTION describe_slot IS 'Return a slot with the number of bytes that have been stored.';

CREATE FUNCTION change_slot(p_kind text, p_item jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    item slots := jsonb_populate_record(NULL::slots, p_item);
    limits jsonb := p_item -> 'limits';
    known slots;
    refusal jsonb;
BEGIN
    IF p_kind IN ('begin_slot', 'end_slot') THEN
        BEGIN
            PERFORM set_config('lock_timeout', '500ms', true);
            PERFORM FROM slots WHERE id = item.id FOR UPDATE;  -- bytes that are being stored come first
        EXCEPTION WHEN lock_not_available THEN
            RETURN '["busy"]';
        END;
        SELECT * INTO known FROM slots WHERE is_live(slots) AND id = item.id;
        IF NOT FOUND THEN
            RETURN '["ended"]';
        END IF;
    END IF;
    CASE p_kind
        WHEN 'open_slot' THEN
            SELECT * INTO known FROM slots WHERE is_live(slots)
                AND session = item.session AND room = item.room AND uid = item.uid AND item.uid <> '';
            IF FOUND THEN  -- nobody knows the first token any more
                UPDATE slots SET token = item.token
                    WHERE id = known.id AND name = item.name AND size IS NOT DISTINCT FROM item.size;
                RETURN describe_slot(known);
            ELSIF (limits -> 'person')::bigint <= (
                SELECT count(*) FROM slots WHERE is_live(slots) AND owner = item.owner
            ) THEN
                RETURN '["person"]';
            END IF;
            refusal := refuse_upload(item.owner, item.source, coalesce(item.size, 0), limits);
            IF refusal IS NULL THEN
                INSERT INTO slots (id, token, session, room, owner, name, size, type, sha256, uid, is_link, until)
                    VALUES (item.id, item.token, item.session, item.room, item.owner, item.name, item.size, item.type,
                        item.sha256, item.uid, item.is_link,
                        now() + make_interval(secs => (p_item -> 'seconds')::double precision));
            END IF;
            RETURN refusal;
        WHEN 'find_slot' THEN
            SELECT * INTO known FROM slots WHERE is_live(slots) AND token = item.token;
            RETURN CASE WHEN FOUND THEN describe_slot(known) END;
        WHEN 'begin_slot' THEN
            IF known.state = 'open' THEN
                refusal := refuse_upload(known.owner, item.source, item.size, limits);
            ELSIF NOT has_space(known.owner, item.size - known.reserved, limits) THEN
                refusal := '["space"]';
            END IF;
            IF refusal IS NOT NULL THEN
                RETURN refusal;
            END IF;
            UPDATE slots SET generation = generation + 1, size = item.size, reserved = item.size,
                name = CASE WHEN is_link THEN item.name ELSE name END, state = 'begun',
                source = CASE state WHEN 'open' THEN item.source ELSE source END, begun = coalesce(begun, now()),
                until = CASE state WHEN 'open' THEN
                    until + make_interval(secs => (p_item -> 'seconds')::double precision) ELSE until END
                WHERE id = item.id RETURNING * INTO known;
            RETURN describe_slot(known);
        WHEN 'end_slot' THEN
            UPDATE slots SET state = 'ended' WHERE id = item.id;
            RETURN NULL;
    END CASE;
END
$$;
COMMENT ON FUNCTION change_slot IS
    'Open a slot, find it by its token, begin an upload to it, or end it. A refusal is an array with its limit.';

CREATE FUNCTION lock_part(p_slot text, p_generation integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- an upload can begin anew after a crash
    PERFORM FROM slots WHERE id = p_slot AND generation = p_generation FOR SHARE;
    RETURN EXISTS (SELECT FROM slots WHERE is_live(slots) AND id = p_slot AND generation = p_generation);
END
$$;
COMMENT ON FUNCTION lock_part IS 'Return whether an upload goes on, and let it stay like that until the commit.';

CREATE FUNCTION store_chunk(p_slot text, p_generation integer, p_number integer, p_data bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_part(p_slot, p_generation) THEN
        RETURN false;
    END IF;
    INSERT INTO chunks VALUES (p_slot, p_number, p_data)
        ON CONFLICT (token, number) DO UPDATE SET data = excluded.data;
    RETURN true;
END
$$;
COMMENT ON FUNCTION store_chunk IS
    'Store a chunk of an upload. Return false if the upload has ended or goes on elsewhere.';

CREATE FUNCTION drop_chunks(p_slot text, p_generation integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_part(p_slot, p_generation) THEN
        RETURN false;
    END IF;
    DELETE FROM chunks WHERE token = p_slot;
    RETURN true;
END
$$;
COMMENT ON FUNCTION drop_chunks IS
    'Remove the chunks of an upload, which begins anew. The result is as in store_chunk.';

CREATE FUNCTION share_slot(
    p_slot text, p_generation integer, p_number integer, p_data bytea, p_share jsonb
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    slot slots;
BEGIN
    IF EXISTS (SELECT FROM shares WHERE id = p_slot) THEN
        RETURN 'shared';
    END IF;
    PERFORM FROM slots WHERE id = p_slot FOR UPDATE;
    SELECT * INTO slot FROM slots
        WHERE is_live(slots) AND id = p_slot AND generation = p_generation AND state = 'begun';
    IF NOT FOUND THEN
        RETURN 'ended';
    ELSIF NOT EXISTS (
        SELECT FROM members JOIN rooms ON rooms.id = members.room
        WHERE rooms.name = slot.room AND members.session = slot.session
    ) THEN
        UPDATE slots SET state = 'ended' WHERE id = p_slot;
        RETURN 'left';
    END IF;
    IF octet_length(p_data) > 0 THEN
        INSERT INTO chunks VALUES (p_slot, p_number, p_data)
            ON CONFLICT (token, number) DO UPDATE SET data = excluded.data;
    END IF;
    INSERT INTO contents (token, size) VALUES (p_slot, (p_share -> 'size')::bigint);
    PERFORM add_share(p_slot, p_share);
    UPDATE slots SET state = 'complete' WHERE id = p_slot;
    RETURN 'shared';
END
$$;
COMMENT ON FUNCTION share_slot IS
    'Store the last chunk of an upload and share the file. Return shared, ended, or left: the room.';

CREATE FUNCTION clean_slots() RETURNS void LANGUAGE sql AS $$
    WITH over AS (
        SELECT id, begun FROM slots WHERE NOT is_live(slots) FOR UPDATE SKIP LOCKED
    ), unfinished AS (
        DELETE FROM chunks USING over
        WHERE chunks.token = over.id AND NOT EXISTS (SELECT FROM contents WHERE contents.token = over.id)
    )
    DELETE FROM slots USING over
        WHERE slots.id = over.id AND (over.begun IS NULL OR over.begun < now() - interval '1 hour');
$$;
COMMENT ON FUNCTION clean_slots IS
    'Remove the bytes of uploads that have ended, and slots that no limit counts any more.';
"""
