"""The table and the functions of the schema that change accounts, bans, the audit trail and private lines."""

from __future__ import annotations

TABLES = """
CREATE TABLE record_changes (
    number bigint PRIMARY KEY, node text NOT NULL, changes jsonb NOT NULL, stored timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE record_changes IS 'Recent changes of accounts, bans and private lines, for the other servers.';
COMMENT ON COLUMN record_changes.number IS 'The place in the order of all changes, without a gap.';
COMMENT ON COLUMN record_changes.node IS 'The name of the server that has made the changes.';
COMMENT ON COLUMN record_changes.changes IS 'Arrays of a kind of change, and an object with the columns or the ids.';
COMMENT ON COLUMN record_changes.stored IS 'The time. Changes are deleted after some minutes.';
"""

FUNCTIONS = """
CREATE FUNCTION take_number(p_node text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    free integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 2);
    UPDATE writers SET number = NULL
        WHERE number IS NOT NULL AND NOT EXISTS (SELECT FROM leases WHERE leases.node = writers.node);
    SELECT min(n) INTO free FROM generate_series(1, 255) AS n
        WHERE NOT EXISTS (SELECT FROM writers WHERE writers.number = n);
    UPDATE writers SET number = coalesce(number, free) WHERE node = p_node RETURNING number INTO free;
    RETURN free;
END
$$;
COMMENT ON FUNCTION take_number IS
    'Give a server, which has a lease, a number that no other server with a lease has; NULL if none is left.';

CREATE FUNCTION find_conflict(p_change jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    item jsonb := p_change -> 1;
    number bigint := (item ->> 'id')::bigint;
    before jsonb;
BEGIN
    IF p_change ->> 0 NOT IN ('accounts', 'change_account') THEN
        RETURN NULL;
    END IF;
    IF p_change ->> 0 = 'change_account' THEN
        SELECT to_jsonb(accounts) INTO before FROM accounts WHERE id = number;
        IF NOT FOUND THEN
            RETURN 'gone';
        ELSIF NOT before @> (item -> 'expected') THEN
            RETURN 'changed';
        END IF;
        item := before || (item -> 'values');
    END IF;
    IF EXISTS (SELECT FROM accounts WHERE key = item ->> 'key' AND id <> number) THEN
        RETURN 'name';
    ELSIF item ->> 'subject' <> '' AND EXISTS (
        SELECT FROM accounts WHERE subject = item ->> 'subject' AND issuer = item ->> 'issuer' AND id <> number
    ) THEN
        RETURN 'identity';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION find_conflict IS
    'Return why a change of an account cannot be made after those of other servers: name, identity, gone or changed.';

CREATE FUNCTION change_record(p_kind text, item jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p_id bigint := (item ->> 'id')::bigint;
BEGIN
    CASE p_kind
        WHEN 'accounts' THEN
            DELETE FROM accounts WHERE id = p_id;
            INSERT INTO accounts SELECT * FROM jsonb_populate_record(NULL::accounts, item);
        WHEN 'change_account' THEN
            UPDATE accounts AS a SET
                (name, key, password_hash, role, created, last_used, issuer, subject, logins) = (
                    SELECT name, key, password_hash, role, created, last_used, issuer, subject, logins
                    FROM jsonb_populate_record(a, item -> 'values')
                )
                WHERE id = p_id;
        WHEN 'bans' THEN
            -- Another server may have banned the same target at the same time.
            DELETE FROM bans WHERE id = p_id OR (target = item ->> 'target' AND value = item ->> 'value');
            INSERT INTO bans SELECT * FROM jsonb_populate_record(NULL::bans, item);
        WHEN 'private_lines' THEN
            INSERT INTO private_lines SELECT * FROM jsonb_populate_record(NULL::private_lines, item);
        WHEN 'audit' THEN
            INSERT INTO audit (at, "by", action, target, detail)
                SELECT at, "by", action, target, detail FROM jsonb_populate_record(NULL::audit, item);
        WHEN 'delete_ban' THEN
            DELETE FROM bans WHERE id = p_id;
        WHEN 'mark_delivered' THEN
            UPDATE private_lines SET delivered = true
                WHERE id IN (SELECT jsonb_array_elements(item -> 'ids')::bigint)
                AND recipient_account = (item ->> 'recipient_account')::bigint AND NOT delivered;
        WHEN 'delete_account' THEN
            DELETE FROM accounts WHERE id = p_id;
            DELETE FROM private_lines WHERE recipient_account = p_id;
            UPDATE private_lines SET sender_account = 0 WHERE sender_account = p_id;
    END CASE;
END
$$;
COMMENT ON FUNCTION change_record IS 'Make one change: a kind of change, and an object with the columns or the ids.';

CREATE FUNCTION change_records(p_node text, p_epoch bigint, p_batch bigint, p_writes jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb := begin_batch(p_node, p_epoch, p_batch);
    changed jsonb;
    refused jsonb := '{}';
    write record;
    change jsonb;
    conflict text;
    last bigint;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    -- One server at a time, so that the numbers have the order of the commits, and no conflict is missed.
    INSERT INTO last_ids VALUES ('changes', 0) ON CONFLICT DO NOTHING;
    SELECT id INTO last FROM last_ids WHERE kind = 'changes' FOR UPDATE;
    INSERT INTO last_ids AS l SELECT c ->> 0, max((c -> 1 ->> 'id')::bigint)
        FROM jsonb_array_elements(p_writes) AS w, jsonb_array_elements(w) AS c
        WHERE c ->> 0 IN ('accounts', 'bans', 'private_lines') GROUP BY c ->> 0
        ON CONFLICT (kind) DO UPDATE SET id = greatest(l.id, excluded.id);
    FOR write IN
        SELECT w AS changes, n - 1 AS index FROM jsonb_array_elements(p_writes) WITH ORDINALITY AS writes (w, n)
    LOOP
        SELECT min(find_conflict(c)) INTO conflict FROM jsonb_array_elements(write.changes) AS c;
        IF conflict IS NOT NULL THEN
            refused := refused || jsonb_build_object(write.index, conflict);
            CONTINUE;
        END IF;
        FOR change IN SELECT c FROM jsonb_array_elements(write.changes) AS c LOOP
            PERFORM change_record(change ->> 0, change -> 1);
        END LOOP;
    END LOOP;
    SELECT jsonb_agg(c ORDER BY n, m) INTO changed
        FROM jsonb_array_elements(p_writes) WITH ORDINALITY AS writes (w, n),
            jsonb_array_elements(w) WITH ORDINALITY AS changes (c, m)
        WHERE NOT refused ? (n - 1)::text AND c ->> 0 <> 'audit';
    IF changed IS NOT NULL THEN
        last := last + 1;
        UPDATE last_ids SET id = last WHERE kind = 'changes';
        INSERT INTO record_changes (number, node, changes) VALUES (last, p_node, changed);
        IF last % 64 = 0 THEN
            DELETE FROM record_changes WHERE stored < now() - interval '10 minutes';
        END IF;
        PERFORM pg_notify(people_channel(), jsonb_build_array(p_node, '[["records"]]'::jsonb)::text);
    END IF;
    RETURN end_batch(p_node, p_batch, jsonb_build_object(
        'number', last, 'is_change', changed IS NOT NULL, 'refused', refused
    ));
END
$$;
COMMENT ON FUNCTION change_records IS
    'Make writes, arrays of changes, as a batch. Return the number of the batch, or of the last one if it changes '
    'nothing that other servers have in memory; and why writes were refused, by their index.';
"""
