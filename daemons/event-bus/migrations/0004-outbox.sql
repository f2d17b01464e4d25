-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The outbox: events that services write in their own transactions, until the relay has moved them to the log.
--
-- number grows in the order in which events are written; who takes it has its transaction's id already (publish() below takes
-- that first), so a transaction that began after a snapshot was taken has no number that was drawn before: see outbox_read().

CREATE TABLE outbox (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        transaction xid8 NOT NULL,
        written_at timestamptz NOT NULL,
        publisher name NOT NULL,
        topic text NOT NULL,
        event text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1);

-- What cannot be an event of its topic: kept for whoever has to find out why, the newest 10,000 of them.
CREATE TABLE outbox_rejected (
        number bigint PRIMARY KEY,
        written_at timestamptz NOT NULL,
        rejected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        publisher name NOT NULL,
        topic text NOT NULL,
        event text NOT NULL,
        reason text NOT NULL
);

-- Nobody but this role calls the functions of this schema, now or later; publish() excepted. Who may enter the schema at all is
-- decided where roles are made (mam-postgresql: every service).
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
DO $$ BEGIN EXECUTE format('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema()); END $$;

-- Publishes an event (its CloudEvents JSON form) with the caller's transaction. The relay sees to the rest: it makes topics that
-- are not there, and checks what only it can check.
CREATE FUNCTION publish(topic text, event text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
        own xid8 := pg_current_xact_id(); -- before a number is drawn
BEGIN
        IF topic IS NULL OR topic !~ '^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$' THEN
                RAISE EXCEPTION 'not a name of a topic: %', coalesce(left(topic, 140), 'NULL')
                        USING ERRCODE = 'invalid_parameter_value',
                              HINT = 'a-z, 0-9, ".", "_" and "-", at most 128, beginning and ending with a letter or digit';
        END IF;
        IF event IS NULL OR octet_length(event) NOT BETWEEN 1 AND 262144 THEN
                RAISE EXCEPTION 'an event has 1 to 262144 bytes, not %', coalesce(octet_length(event)::text, 'NULL')
                        USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF json_typeof(event::json) <> 'object' THEN -- what else is wrong with it, the relay finds
                RAISE EXCEPTION 'an event is a JSON object' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        INSERT INTO outbox (transaction, written_at, publisher, topic, event)
                VALUES (own, clock_timestamp(), session_user, publish.topic, publish.event);
END $$;
-- with the rights of this role, nothing may be found that the caller has made
DO $$ BEGIN EXECUTE format('ALTER FUNCTION publish(text, text) SET search_path = %I, pg_temp', current_schema()); END $$;
GRANT EXECUTE ON FUNCTION publish(text, text) TO PUBLIC;

-- What the relay reads: rows that this statement's snapshot shows, in the order of their numbers, above a base. The base is how far
-- everything was taken already, unless a transaction has ended meanwhile that was open then: it may have written below, but not below
-- the base that is known for it. So it does not matter how many rows were deleted below that vacuum could not remove yet.
-- first, last, bases: ranges of such transactions. One row more comes at the end, without a number: the highest number drawn so far,
-- a transaction id that was not given out when it was, the snapshot, and "more" if not all that is visible came.
CREATE FUNCTION outbox_read(base bigint, first xid8[], last xid8[], bases bigint[], events_max integer, bytes_max integer)
RETURNS TABLE (number bigint, age_usec bigint, publisher text, topic text, event text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
        snapshot pg_snapshot := pg_current_snapshot(); -- of the statement that calls, as of all queries below
        xmax numeric := pg_snapshot_xmax(snapshot)::text::numeric;
        high bigint;
        next numeric;
        since bigint;
        n integer := 0;
        bytes bigint := 0;
        o record;
BEGIN
        SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END INTO high FROM outbox_number_seq s;
        -- in this order: age() knows the next transaction id, though only its lower half
        next := xmax + mod(age('3'::xid)::numeric + 3 - mod(xmax, 4294967296) + 2 * 4294967296, 4294967296);

        SELECT least(outbox_read.base, min(u.base)) INTO since FROM unnest(first, last, bases) AS u (first, last, base)
                WHERE pg_visible_in_snapshot(u.first, snapshot)
                        OR (u.first <> u.last AND u.first < pg_snapshot_xmax(snapshot));
        FOR o IN SELECT * FROM outbox WHERE outbox.number > since ORDER BY outbox.number LIMIT events_max + 1 LOOP
                bytes := bytes + octet_length(o.event);
                IF n = events_max OR (n > 0 AND bytes > bytes_max) THEN
                        RETURN QUERY SELECT NULL::bigint, high, next::text, snapshot::text, 'more'::text;
                        RETURN;
                END IF;
                n := n + 1;
                RETURN QUERY SELECT o.number, (extract(epoch FROM clock_timestamp() - o.written_at) * 1000000)::bigint,
                        o.publisher::text, o.topic, o.event;
        END LOOP;
        RETURN QUERY SELECT NULL::bigint, high, next::text, snapshot::text, ''::text;
END $$;
-- Statistics of a table that fills and empties mislead: never through its pages. The costs that this makes up would call the JIT
-- compiler, where a cluster has it switched on.
ALTER FUNCTION outbox_read(bigint, xid8[], xid8[], bigint[], integer, integer) SET enable_seqscan = off;
ALTER FUNCTION outbox_read(bigint, xid8[], xid8[], bigint[], integer, integer) SET enable_bitmapscan = off;
ALTER FUNCTION outbox_read(bigint, xid8[], xid8[], bigint[], integer, integer) SET jit = off;

-- Moves rows to the log: removes them, appends what is given for them, keeps what is rejected; all or nothing. Several replicas read,
-- but only one moves: the others get lock_not_available, or foreign_key_violation where the rows have gone. What could be done twice is
-- not.
CREATE FUNCTION outbox_move(numbers bigint[], topics text[], keys text[], sources text[], ids text[], events text[],
                            rejected bigint[], reasons text[])
RETURNS TABLE (topic text, last bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
        t record;
        gone bigint;
BEGIN
        IF NOT pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.outbox', 0)) THEN
                RAISE EXCEPTION 'another replica moves events' USING ERRCODE = 'lock_not_available';
        END IF;
        IF cardinality(rejected) > 0 THEN
                INSERT INTO outbox_rejected (number, written_at, publisher, topic, event, reason)
                        SELECT o.number, o.written_at, o.publisher, o.topic, o.event, u.reason
                        FROM unnest(rejected, reasons) AS u (number, reason) JOIN outbox o ON o.number = u.number;
                DELETE FROM outbox_rejected WHERE number <=
                        (SELECT r.number FROM outbox_rejected r ORDER BY r.number DESC OFFSET 10000 LIMIT 1);
        END IF;
        DELETE FROM outbox WHERE number = ANY (numbers || rejected);
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone <> cardinality(numbers) + cardinality(rejected) THEN
                RAISE EXCEPTION 'another replica moved these events' USING ERRCODE = 'foreign_key_violation';
        END IF;
        FOR t IN SELECT u.topic, array_agg(u.key ORDER BY u.n) AS keys, array_agg(u.source ORDER BY u.n) AS sources,
                        array_agg(u.id ORDER BY u.n) AS ids, array_agg(u.event ORDER BY u.n) AS events
                        FROM unnest(topics, keys, sources, ids, events) WITH ORDINALITY AS u (topic, key, source, id, event, n)
                        GROUP BY u.topic ORDER BY u.topic LOOP
                topic := t.topic;
                last := append_rows(t.topic, t.keys, t.sources, t.ids, t.events);
                IF last IS NULL THEN
                        RAISE EXCEPTION 'no topic %', t.topic USING ERRCODE = 'no_data_found';
                END IF;
                RETURN NEXT;
        END LOOP;
END $$;
ALTER FUNCTION outbox_move(bigint[], text[], text[], text[], text[], text[], bigint[], text[]) SET enable_seqscan = off;
ALTER FUNCTION outbox_move(bigint[], text[], text[], text[], text[], text[], bigint[], text[]) SET jit = off;

-- The transaction that has been open for longest of those that the outbox depends on: it has written (something, perhaps events),
-- or keeps deleted rows from being reclaimed. No row: none is.
CREATE FUNCTION outbox_holder(OUT held_usec bigint, OUT holder text) RETURNS SETOF record LANGUAGE sql VOLATILE AS $$
        SELECT (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000000)::bigint,
                format('role %s, application %s, pid %s, %s', a.usename, coalesce(nullif(a.application_name, ''), 'unknown'),
                       a.pid, a.state)
        FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'
                AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL) AND a.xact_start < clock_timestamp() - interval '1 second'
        ORDER BY a.xact_start LIMIT 1
$$;
