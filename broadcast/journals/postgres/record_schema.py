"""The function of the schema that changes accounts, bans, the audit trail and private lines."""

from __future__ import annotations

FUNCTIONS = """
CREATE FUNCTION change_records(p_node text, p_epoch bigint, p_batch bigint, p_changes jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb := begin_batch(p_node, p_epoch, p_batch);
    change jsonb;
    item jsonb;
    number bigint;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    -- This is first, and in order, so that of two servers that change records one waits for the other here alone.
    INSERT INTO last_ids AS l SELECT c ->> 0, max((c -> 1 ->> 'id')::bigint) FROM jsonb_array_elements(p_changes) AS c
        WHERE c ->> 0 IN ('accounts', 'bans', 'private_lines') GROUP BY c ->> 0 ORDER BY c ->> 0
        ON CONFLICT (kind) DO UPDATE SET id = greatest(l.id, excluded.id);
    FOR change IN SELECT c FROM jsonb_array_elements(p_changes) AS c LOOP
        item := change -> 1;
        CASE change ->> 0
            WHEN 'accounts' THEN
                DELETE FROM accounts WHERE id = (item ->> 'id')::bigint;
                INSERT INTO accounts SELECT * FROM jsonb_populate_record(NULL::accounts, item);
            WHEN 'bans' THEN
                DELETE FROM bans WHERE id = (item ->> 'id')::bigint;
                INSERT INTO bans SELECT * FROM jsonb_populate_record(NULL::bans, item);
            WHEN 'private_lines' THEN
                DELETE FROM private_lines WHERE id = (item ->> 'id')::bigint;
                INSERT INTO private_lines SELECT * FROM jsonb_populate_record(NULL::private_lines, item);
            WHEN 'audit' THEN
                INSERT INTO audit (at, "by", action, target, detail)
                    SELECT at, "by", action, target, detail FROM jsonb_populate_record(NULL::audit, item);
            WHEN 'delete_ban' THEN
                DELETE FROM bans WHERE id = (item ->> 'id')::bigint;
            WHEN 'mark_delivered' THEN
                UPDATE private_lines SET delivered = true WHERE NOT delivered
                    AND recipient_account = (item ->> 'recipient_account')::bigint
                    AND id <= (item ->> 'up_to_id')::bigint;
            WHEN 'delete_account' THEN
                number := (item ->> 'id')::bigint;
                DELETE FROM accounts WHERE id = number;
                DELETE FROM private_lines WHERE recipient_account = number;
                UPDATE private_lines SET sender_account = 0 WHERE sender_account = number;
        END CASE;
    END LOOP;
    RETURN end_batch(p_node, p_batch, '{}');
END
$$;
COMMENT ON FUNCTION change_records IS
    'Change records, as a batch: arrays of a kind of change, and an object with the columns or the ids.';
"""
