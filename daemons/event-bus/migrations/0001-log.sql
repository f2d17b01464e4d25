-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The log: topics, what was appended to them, event sourcing streams.
--
-- A topic is one sequence. Its head row is locked to commit by whoever appends (by append(), whose first statement updates it), so
-- positions are gapless and in the order of commits. Events are in tables called segments, of which one at most is open per topic;
-- readers go through read_events() and position_at(), which know them. What was appended within 24 h is remembered by a digest of
-- (source, id) in tables called windows. Both kinds are made by the appender, under the lock, when it is time, together with a function
-- append_TOPIC() in which their names are constants: its statements are planned once per session, not once per batch. It is replaced by
-- its next generation, not dropped, as a session never frees the plans of a dropped function.
--
-- Others call, with a topic's id:
--   append(topic bigint, n integer, bytes bigint, digests uuid[], keys text, events text,
--          streams text, requests integer[], expected bigint[]) RETURNS appended
--      The texts hold n values with U+001E between them (which is in no JSON text). digests are pairwise different. streams, requests and
--      expected are NULL where no event is in a stream. Made and read by event-bus/log/log-sql.h; it may be one of several statements of
--      a transaction, which then holds the topic until it ends.
--   append_rows(topic_name text, keys text[], sources text[], ids text[], events text[]) RETURNS bigint
--      The same from plain rows without streams; duplicates among them are left out. The topic's last position; NULL: no durable topic
--      of that name (nothing is raised).
--   read_events(topic, from, backwards, n, bytes, stream), position_at(topic, usec), close_segment(topic)
-- Lock order: the head row first, then everything else. Times are microseconds since 1970.

CREATE TABLE topics (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$'),
        kind text NOT NULL CHECK (kind IN ('durable', 'volatile')),
        retention_usec bigint NOT NULL CHECK (retention_usec > 0), -- 9223372036854775807: for ever
        retention_bytes bigint NOT NULL CHECK (retention_bytes >= 0),
        retention_events bigint NOT NULL CHECK (retention_events >= 0),
        compact boolean NOT NULL,
        archive boolean NOT NULL,
        schema_mode text NOT NULL CHECK (schema_mode IN ('none', 'check', 'require')),
        events_per_second bigint NOT NULL CHECK (events_per_second >= 0),
        bytes_max bigint NOT NULL CHECK (bytes_max > 0),
        version bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now()
);

-- One row per durable topic; most of a page is left free, so that an update stays in it.
CREATE TABLE heads (
        topic bigint PRIMARY KEY REFERENCES topics,
        last bigint NOT NULL DEFAULT 0,
        recorded bigint NOT NULL DEFAULT 0, -- when; never falls
        settings bigint NOT NULL DEFAULT 1, -- topics.version
        generation bigint NOT NULL DEFAULT 0, -- of the append function
        segment bigint NOT NULL DEFAULT 0, -- the newest one's number
        is_open boolean NOT NULL DEFAULT false, -- it takes events
        bytes bigint NOT NULL DEFAULT 0, -- in it, as is
        roll_last bigint NOT NULL DEFAULT 0, -- bounds of the open segment
        roll_bytes bigint NOT NULL DEFAULT 0,
        roll_recorded bigint NOT NULL DEFAULT 0, -- or of the window, whichever is first
        number_of_windows bigint NOT NULL DEFAULT 0,
        window_until bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE segments (
        topic bigint NOT NULL REFERENCES topics,
        segment bigint NOT NULL,
        relation text NOT NULL, -- the table
        first_position bigint NOT NULL,
        last_position bigint, -- NULL while open, as the following
        opened_at bigint NOT NULL, -- recorded of the first event
        closed_at bigint, -- not before the last event was recorded, not after the next one was
        bytes bigint,
        compacted_at bigint,
        archived_at bigint,
        PRIMARY KEY (topic, segment)
);

CREATE TABLE windows (
        topic bigint NOT NULL REFERENCES topics,
        number bigint NOT NULL,
        relation text NOT NULL,
        until bigint NOT NULL, -- nothing newer is in it
        PRIMARY KEY (topic, number)
);

-- Tables that nobody looks up any more, to be dropped when those are done who did before.
CREATE TABLE garbage (
        relation text PRIMARY KEY,
        since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Event sourcing. A version outlives the events, so that it never starts again.
CREATE TABLE streams (
        topic bigint NOT NULL, -- whose head was locked by whoever put it here
        stream text NOT NULL CHECK (octet_length(stream) BETWEEN 1 AND 512),
        version bigint NOT NULL,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        PRIMARY KEY (topic, stream)
) WITH (fillfactor = 50);

CREATE TABLE snapshots (
        topic bigint NOT NULL REFERENCES topics,
        stream text NOT NULL,
        version bigint NOT NULL,
        snapshot text NOT NULL,
        PRIMARY KEY (topic, stream)
);
ALTER TABLE snapshots ALTER snapshot SET STORAGE EXTERNAL;

CREATE TYPE appended AS (
        settings bigint, -- the topic's; NULL: there is no such topic
        base bigint, -- the first that was stored is base + 1, and so on
        stored integer,
        duplicates integer[], -- which (from 1), and where and as what version of their stream they are
        duplicate_positions bigint[],
        duplicate_versions bigint[],
        conflicts integer[], -- which were the first of their request not to fit, and the version that their stream has
        conflict_versions bigint[],
        versions bigint[] -- of what was stored, in order; NULL: none is in a stream
);

CREATE FUNCTION now_usec() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- How far a segment may grow: an eighth of what is kept, as it is dropped whole.
CREATE FUNCTION roll_bounds(topic_id bigint, OUT events bigint, OUT bytes bigint, OUT usec bigint) LANGUAGE sql STABLE AS
$$
        SELECT CASE WHEN t.retention_events > 0 THEN greatest(t.retention_events / 8, 100) ELSE 10000000 END,
               least(CASE WHEN t.retention_bytes > 0 THEN greatest(t.retention_bytes / 8, 1048576) ELSE 268435456 END,
                     CASE WHEN t.compact THEN 67108864 END),
               least(greatest(t.retention_usec / 8, 1000000), CASE WHEN t.compact THEN 3600000000 ELSE 86400000000 END)
        FROM topics t WHERE t.id = topic_id
$$;

CREATE FUNCTION segment_create(relation text) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
        -- Events stay in the row up to a page; beyond, they are not compressed, which would take longer than to write them.
        EXECUTE format('CREATE TABLE %I (position bigint PRIMARY KEY, recorded bigint NOT NULL, stream_version bigint, '
                       'key text NOT NULL, stream text, event text NOT NULL) WITH (toast_tuple_target = 8160)', relation);
        EXECUTE format('ALTER TABLE %I ALTER event SET STORAGE EXTERNAL', relation);
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (stream, stream_version) WHERE stream IS NOT NULL', relation || '_streams', relation);
END
$$;

-- The append functions of one generation. The planner has no statistics of tables that begin empty: it is told to use their indexes.
CREATE FUNCTION append_create(topic_id bigint, generation bigint, segment_relation text) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
        find text;
        window_relation text;
BEGIN
        SELECT string_agg(format('SELECT d.ord, w.position FROM unnest(digests) WITH ORDINALITY d (digest, ord) JOIN %I w USING (digest)',
                                 relation), ' UNION ALL ' ORDER BY number), (array_agg(relation ORDER BY number DESC))[1]
        INTO find, window_relation FROM windows WHERE topic = topic_id;

        -- nearly always: all of them are new, and in no stream
        EXECUTE format($f$
CREATE OR REPLACE FUNCTION append_%1$s(generation bigint, n integer, settings bigint, base bigint, at bigint, digests uuid[],
                                       keys text, events text, streams text, requests integer[], expected bigint[])
RETURNS appended LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS
$body$
DECLARE
        r appended := ROW (settings, base, n, NULL, NULL, NULL, NULL, NULL, NULL);
BEGIN
        IF generation <> %2$s THEN
                RETURN NULL;
        END IF;

        SELECT array_agg(f.ord), array_agg(f.position) INTO r.duplicates, r.duplicate_positions FROM (%3$s) f;
        IF r.duplicates IS NOT NULL OR streams IS NOT NULL THEN
                RETURN append_%1$s_rest(r, generation, n, at, digests, keys, events, streams, requests, expected);
        END IF;

        INSERT INTO %4$I SELECT unnest(digests), base + generate_series(1, n);
        INSERT INTO %5$I (position, recorded, key, event)
        SELECT base + generate_series(1, n), at, unnest(string_to_array(keys, E'\x1e')), unnest(string_to_array(events, E'\x1e'));
        RETURN r;
END
$body$
$f$, topic_id, generation, find, window_relation, segment_relation);

        -- what is left of the batch without duplicates, and without requests whose stream has another version
        EXECUTE format($f$
CREATE OR REPLACE FUNCTION append_%1$s_rest(r appended, generation bigint, n integer, at bigint, digests uuid[],
                                            keys text, events text, streams text, requests integer[], expected bigint[])
RETURNS appended LANGUAGE plpgsql AS
$body$
DECLARE
        skip integer[] := coalesce(r.duplicates, '{}');
        stream_of text[];
BEGIN
        ASSERT generation = %2$s;

        IF streams IS NOT NULL THEN
                stream_of := string_to_array(streams, E'\x1e', '');
                SELECT array_agg(stream_version(%1$s, p.position) ORDER BY p.ord) INTO r.duplicate_versions
                FROM unnest(r.duplicate_positions) WITH ORDINALITY p (position, ord);

                -- the first new event of each request and stream must find the version that it expects
                SELECT array_agg(c.ord ORDER BY c.ord), array_agg(c.version ORDER BY c.ord) INTO r.conflicts, r.conflict_versions FROM (
                        SELECT DISTINCT ON (f.request) f.ord, f.version FROM (
                                SELECT DISTINCT ON (e.request, e.stream) e.request, e.ord, e.expected, coalesce(s.version, 0) AS version
                                FROM unnest(stream_of, requests, expected) WITH ORDINALITY e (stream, request, expected, ord)
                                LEFT JOIN streams s ON s.topic = %1$s AND s.stream = e.stream
                                WHERE e.stream IS NOT NULL AND e.expected >= 0 AND e.ord <> ALL (skip)
                                ORDER BY e.request, e.stream, e.ord) f
                        WHERE f.expected <> f.version ORDER BY f.request, f.ord) c;

                SELECT skip || coalesce(array_agg(e.ord::integer), '{}') INTO skip FROM unnest(requests) WITH ORDINALITY e (request, ord)
                WHERE e.request = ANY (SELECT requests[c] FROM unnest(r.conflicts) c);
        END IF;

        WITH new AS MATERIALIZED (
                SELECT r.base + row_number() OVER (ORDER BY e.ord) AS position, e.digest, e.key, e.event, e.stream,
                       CASE WHEN e.stream IS NOT NULL THEN
                               coalesce(s.version, 0) + row_number() OVER (PARTITION BY e.stream ORDER BY e.ord) END AS version
                FROM unnest(digests, string_to_array(keys, E'\x1e'), string_to_array(events, E'\x1e'), stream_of)
                        WITH ORDINALITY e (digest, key, event, stream, ord)
                LEFT JOIN streams s ON s.topic = %1$s AND s.stream = e.stream
                WHERE e.ord <> ALL (skip)),
        remembered AS (INSERT INTO %3$I SELECT new.digest, new.position FROM new),
        versioned AS (
                INSERT INTO streams AS s SELECT %1$s, new.stream, max(new.version), min(new.position), max(new.position)
                FROM new WHERE new.stream IS NOT NULL GROUP BY new.stream
                ON CONFLICT (topic, stream) DO UPDATE SET version = excluded.version, last_position = excluded.last_position),
        stored AS (
                INSERT INTO %4$I (position, recorded, stream_version, key, stream, event)
                SELECT new.position, at, new.version, new.key, new.stream, new.event FROM new ORDER BY new.position)
        SELECT count(*), CASE WHEN streams IS NOT NULL THEN array_agg(coalesce(new.version, 0) ORDER BY new.position) END
        INTO r.stored, r.versions FROM new;

        UPDATE heads h SET last = r.base + r.stored WHERE h.topic = %1$s AND h.last <> r.base + r.stored;
        RETURN r;
END
$body$
$f$, topic_id, generation, window_relation, segment_relation);
END
$$;

-- With the head locked: what is written down of a segment that takes no more.
CREATE FUNCTION segment_finish(topic_id bigint, number bigint, last bigint, recorded bigint, size bigint) RETURNS void LANGUAGE sql AS
$$
        UPDATE segments SET last_position = $3, closed_at = $4, bytes = $5 WHERE topic = $1 AND segment = $2
$$;

-- Opens what the next event needs: a segment, a window, and the function that knows them. old is the head before the batch; the row is
-- locked.
CREATE FUNCTION roll(topic_id bigint, old_last bigint, old_bytes bigint, at bigint) RETURNS heads LANGUAGE plpgsql AS
$$
DECLARE
        head heads;
        bounds record;
        name text;
BEGIN
        SELECT * INTO STRICT head FROM heads WHERE topic = topic_id;
        head.generation := head.generation + 1;

        IF head.window_until <= at THEN
                head.number_of_windows := head.number_of_windows + 1;
                head.window_until := at + 28800000000; -- 8 h
                name := format('w_%s_%s', topic_id, head.number_of_windows);
                EXECUTE format('CREATE TABLE %I (digest uuid PRIMARY KEY, position bigint NOT NULL) WITH (autovacuum_enabled = off)', name);
                INSERT INTO windows VALUES (topic_id, head.number_of_windows, name, head.window_until);
                WITH old AS (DELETE FROM windows WHERE topic = topic_id AND until < at - 86400000000 RETURNING relation)
                INSERT INTO garbage (relation) SELECT relation FROM old;
        END IF;

        SELECT * INTO bounds FROM roll_bounds(topic_id);
        IF head.is_open AND (old_last >= head.roll_last OR old_bytes >= head.roll_bytes OR head.roll_recorded <= at) THEN
                IF old_last >= (SELECT s.first_position FROM segments s WHERE s.topic = topic_id AND s.segment = head.segment) THEN
                        PERFORM segment_finish(topic_id, head.segment, old_last, at, old_bytes);
                        head.is_open := false;
                ELSE -- nothing but duplicates came
                        head.bytes := head.bytes - old_bytes;
                        head.roll_recorded := at + bounds.usec;
                END IF;
        END IF;
        IF NOT head.is_open THEN
                head.segment := head.segment + 1;
                head.is_open := true;
                head.bytes := head.bytes - old_bytes;
                head.roll_last := old_last + bounds.events;
                head.roll_bytes := bounds.bytes;
                head.roll_recorded := at + bounds.usec;
                name := format('s_%s_%s', topic_id, head.segment);
                PERFORM segment_create(name);
                INSERT INTO segments (topic, segment, relation, first_position, opened_at)
                VALUES (topic_id, head.segment, name, old_last + 1, at);
        END IF;

        PERFORM append_create(topic_id, head.generation, (SELECT s.relation FROM segments s WHERE s.topic = topic_id AND s.segment = head.segment));
        UPDATE heads SET (generation, segment, is_open, bytes, roll_last, roll_bytes, roll_recorded, number_of_windows, window_until) =
                (head.generation, head.segment, head.is_open, head.bytes, head.roll_last, head.roll_bytes, head.roll_recorded,
                 head.number_of_windows, head.window_until)
        WHERE topic = topic_id;
        RETURN head;
END
$$;

CREATE FUNCTION append(topic_id bigint, n integer, size bigint, digests uuid[], keys text, events text,
                       streams text, requests integer[], expected bigint[]) RETURNS appended LANGUAGE plpgsql AS
$$
DECLARE
        head heads;
        r appended;
BEGIN
        UPDATE heads h SET last = h.last + n, bytes = h.bytes + size, recorded = greatest(h.recorded, now_usec())
        WHERE h.topic = topic_id RETURNING h.* INTO head;
        IF NOT FOUND THEN
                RETURN NULL;
        END IF;

        IF NOT head.is_open OR head.last - n >= head.roll_last OR head.bytes - size >= head.roll_bytes
           OR head.recorded >= head.roll_recorded OR head.recorded >= head.window_until THEN
                head := roll(topic_id, head.last - n, head.bytes - size, head.recorded);
        END IF;

        -- While this session waited for the head, another one may have replaced the function. What that one has told is only heard when a
        -- table is opened that was not before, as pg_relation_size() does.
        FOR i IN 1..3 LOOP
                EXECUTE format('SELECT * FROM append_%s($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)', topic_id) INTO r
                USING head.generation, n, head.settings, head.last - n, head.recorded, digests, keys, events, streams, requests, expected;
                IF r.settings IS NOT NULL THEN
                        RETURN r;
                END IF;
                PERFORM pg_relation_size('pg_catalog.pg_class'::regclass);
        END LOOP;
        RAISE EXCEPTION 'topic % has no append function of generation %', topic_id, head.generation;
END
$$;

-- What the windows remember an event by.
CREATE FUNCTION event_digest(source text, id text) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$
        SELECT substr(encode(sha256(convert_to(octet_length(source) || ':' || source || id, 'UTF8')), 'hex'), 1, 32)::uuid
$$;

CREATE FUNCTION append_rows(topic_name text, keys text[], sources text[], ids text[], events text[]) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        topic_id bigint;
        rows record;
        r appended;
BEGIN
        SELECT t.id INTO topic_id FROM topics t WHERE t.name = topic_name;
        IF NOT FOUND THEN
                RETURN NULL;
        END IF;
        SELECT count(*)::integer AS n, sum(octet_length(u.event))::bigint AS size, array_agg(u.digest ORDER BY u.ord) AS digests,
               string_agg(u.key, E'\x1e' ORDER BY u.ord) AS keys, string_agg(u.event, E'\x1e' ORDER BY u.ord) AS events
        INTO rows FROM (
                SELECT DISTINCT ON (d.digest) d.* FROM (
                        SELECT event_digest(e.source, e.id) AS digest, e.key, e.event, e.ord
                        FROM unnest(keys, sources, ids, events) WITH ORDINALITY e (key, source, id, event, ord)) d
                ORDER BY d.digest, d.ord) u;
        IF rows.n = 0 THEN
                RETURN (SELECT h.last FROM heads h WHERE h.topic = topic_id);
        END IF;
        r := append(topic_id, rows.n, rows.size, rows.digests, rows.keys, rows.events, NULL, NULL, NULL);
        RETURN r.base + r.stored;
END
$$;

-- Ends the open segment, so that it can be dropped or compacted; the next event opens another. False: none was open, or it is empty.
CREATE FUNCTION close_segment(topic_id bigint) RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
        head heads;
BEGIN
        SELECT * INTO head FROM heads WHERE topic = topic_id FOR UPDATE;
        IF NOT FOUND OR NOT head.is_open
           OR head.last < (SELECT first_position FROM segments WHERE topic = topic_id AND segment = head.segment) THEN
                RETURN false;
        END IF;

        PERFORM segment_finish(topic_id, head.segment, head.last, head.recorded, head.bytes);
        UPDATE heads SET is_open = false, bytes = 0 WHERE topic = topic_id;
        RETURN true;
END
$$;

-- Topics

CREATE FUNCTION topic_create(name text, kind text, retention_usec bigint, retention_bytes bigint, retention_events bigint, compact boolean,
                             archive boolean, schema_mode text, events_per_second bigint, bytes_max bigint) RETURNS bigint LANGUAGE sql AS
$$
        WITH new AS (
                INSERT INTO topics (name, kind, retention_usec, retention_bytes, retention_events, compact, archive, schema_mode,
                                    events_per_second, bytes_max)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id, kind),
        head AS (INSERT INTO heads (topic) SELECT new.id FROM new WHERE new.kind = 'durable')
        SELECT new.id FROM new
$$;

-- 0: no such topic; -1: its version is another; -2: its kind cannot change.
CREATE FUNCTION topic_change(topic_name text, if_version bigint, new_kind text, retention_usec bigint, retention_bytes bigint,
                             retention_events bigint, compact boolean, archive boolean, schema_mode text, events_per_second bigint,
                             bytes_max bigint) RETURNS bigint LANGUAGE plpgsql AS
$$
#variable_conflict use_column
DECLARE
        old topics;
        bounds record;
BEGIN
        SELECT * INTO old FROM topics WHERE name = topic_name;
        PERFORM 1 FROM heads h WHERE h.topic = old.id FOR UPDATE;
        SELECT * INTO old FROM topics WHERE name = topic_name FOR UPDATE;
        IF NOT FOUND THEN
                RETURN 0;
        ELSIF if_version <> 0 AND if_version <> old.version THEN
                RETURN -1;
        ELSIF new_kind <> old.kind THEN
                RETURN -2;
        END IF;

        UPDATE topics t SET (retention_usec, retention_bytes, retention_events, compact, archive, schema_mode, events_per_second,
                             bytes_max, version) = ($4, $5, $6, $7, $8, $9, $10, $11, old.version + 1)
        WHERE t.id = old.id;

        SELECT * INTO bounds FROM roll_bounds(old.id);
        UPDATE heads h SET settings = old.version + 1, roll_bytes = bounds.bytes,
               roll_last = (SELECT s.first_position - 1 FROM segments s WHERE s.topic = h.topic AND s.segment = h.segment) + bounds.events,
               roll_recorded = (SELECT s.opened_at FROM segments s WHERE s.topic = h.topic AND s.segment = h.segment) + bounds.usec
        WHERE h.topic = old.id AND h.is_open;
        UPDATE heads h SET settings = old.version + 1 WHERE h.topic = old.id;
        RETURN old.id;
END
$$;

CREATE FUNCTION topic_delete(topic_name text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        topic_id bigint;
        old_generation bigint;
BEGIN
        SELECT t.id INTO topic_id FROM topics t WHERE t.name = topic_name;
        DELETE FROM heads h WHERE h.topic = topic_id RETURNING h.generation INTO old_generation;
        IF old_generation > 0 THEN
                EXECUTE format('DROP FUNCTION append_%1$s, append_%1$s_rest', topic_id);
        END IF;
        INSERT INTO garbage (relation)
        SELECT relation FROM segments WHERE topic = topic_id UNION ALL SELECT relation FROM windows WHERE topic = topic_id;
        DELETE FROM segments WHERE topic = topic_id;
        DELETE FROM windows WHERE topic = topic_id;
        DELETE FROM snapshots WHERE topic = topic_id;
        DELETE FROM streams WHERE topic = topic_id;
        DELETE FROM topics WHERE id = topic_id RETURNING id INTO topic_id;
        RETURN topic_id;
END
$$;

CREATE FUNCTION first_position(topic_id bigint) RETURNS bigint LANGUAGE sql STABLE AS
$$
        SELECT coalesce((SELECT s.first_position FROM segments s WHERE s.topic = topic_id ORDER BY s.segment LIMIT 1),
                        (SELECT h.last + 1 FROM heads h WHERE h.topic = topic_id))
$$;

-- Reading. These are STABLE: all they look at is of one moment, so nothing can go between the first row and the events.

-- The first row says how things are: position 0, recorded the first position, stream_version the last one (of a stream: its version); then
-- events in the order asked for. No row: no such topic. A page can be shorter than n and not be the last one: it ends with a segment.
-- At least one event comes, however large. from_position: the first one wanted; backwards the last one, 0: the newest; of a stream: a
-- version.
CREATE FUNCTION read_events(topic_id bigint, from_position bigint, backwards boolean, n integer, bytes bigint, stream_name text)
RETURNS TABLE ("position" bigint, recorded bigint, stream_version bigint, key text, stream text, event text) LANGUAGE plpgsql STABLE AS
$$
DECLARE
        head_last bigint;
        begin_at bigint := from_position;
        s record;
        k integer;
BEGIN
        SELECT h.last INTO head_last FROM heads h WHERE h.topic = topic_id;
        IF NOT FOUND THEN
                RETURN;
        END IF;
        IF stream_name IS NOT NULL THEN
                RETURN QUERY SELECT * FROM read_stream(topic_id, from_position, backwards, n, bytes, stream_name);
                RETURN;
        END IF;

        RETURN QUERY SELECT 0::bigint, first_position(topic_id), head_last, NULL::text, NULL::text, NULL::text;
        IF backwards AND (begin_at <= 0 OR begin_at > head_last) THEN
                begin_at := head_last;
        END IF;

        FOR s IN SELECT g.relation FROM segments g WHERE g.topic = topic_id
                        AND CASE WHEN backwards THEN g.first_position <= begin_at ELSE coalesce(g.last_position, head_last) >= begin_at END
                ORDER BY CASE WHEN backwards THEN -g.segment ELSE g.segment END LOOP
                RETURN QUERY EXECUTE format(
                        'SELECT p.position, p.recorded, p.stream_version, p.key, p.stream, p.event FROM ('
                        'SELECT q.*, sum(octet_length(q.event)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(q.event) AS before FROM ('
                        'SELECT * FROM %I e WHERE e.position %s $1 ORDER BY e.position %s LIMIT $2) q) p WHERE p.before < $3',
                        s.relation, CASE WHEN backwards THEN '<=' ELSE '>=' END, CASE WHEN backwards THEN 'DESC' ELSE 'ASC' END)
                USING begin_at, n, bytes;
                GET DIAGNOSTICS k = ROW_COUNT;
                EXIT WHEN k > 0;
        END LOOP;
END
$$;

CREATE FUNCTION read_stream(topic_id bigint, from_version bigint, backwards boolean, n integer, bytes bigint, stream_name text)
RETURNS TABLE ("position" bigint, recorded bigint, stream_version bigint, key text, stream text, event text) LANGUAGE plpgsql STABLE AS
$$
DECLARE
        begin_at bigint := from_version;
        n_left integer := n;
        bytes_left bigint := bytes;
        of streams;
        s record;
BEGIN
        SELECT * INTO of FROM streams t WHERE t.topic = topic_id AND t.stream = stream_name;
        RETURN QUERY SELECT 0::bigint, first_position(topic_id), coalesce(of.version, 0), NULL::text, NULL::text, NULL::text;
        IF backwards AND (begin_at <= 0 OR begin_at > of.version) THEN
                begin_at := of.version;
        END IF;

        FOR s IN SELECT g.relation FROM segments g WHERE g.topic = topic_id AND g.first_position <= of.last_position
                        AND coalesce(g.last_position, of.last_position) >= of.first_position
                ORDER BY CASE WHEN backwards THEN -g.segment ELSE g.segment END LOOP
                FOR "position", recorded, stream_version, key, stream, event IN EXECUTE format(
                        'SELECT e.position, e.recorded, e.stream_version, e.key, e.stream, e.event FROM %I e WHERE e.stream = $1 '
                        'AND e.stream_version %s $2 ORDER BY e.stream_version %s LIMIT $3',
                        s.relation, CASE WHEN backwards THEN '<=' ELSE '>=' END, CASE WHEN backwards THEN 'DESC' ELSE 'ASC' END)
                USING stream_name, begin_at, n_left LOOP
                        IF bytes_left <= 0 THEN
                                RETURN;
                        END IF;
                        RETURN NEXT;
                        n_left := n_left - 1;
                        bytes_left := bytes_left - octet_length(event);
                END LOOP;
                EXIT WHEN n_left <= 0;
        END LOOP;
END
$$;

-- The first position recorded at or after that time; one behind the last where there is none; NULL: no such topic. Times do not fall, so
-- it is found by halving.
CREATE FUNCTION position_at(topic_id bigint, usec bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS
$$
DECLARE
        head_last bigint;
        s record;
        low bigint; -- the answer is not below
        high bigint; -- nor above
        middle bigint;
        there record;
BEGIN
        SELECT h.last INTO head_last FROM heads h WHERE h.topic = topic_id;
        IF NOT FOUND THEN
                RETURN NULL;
        END IF;

        FOR s IN SELECT g.relation, g.first_position, coalesce(g.last_position, head_last) AS last_position FROM segments g
                 WHERE g.topic = topic_id AND (g.closed_at IS NULL OR g.closed_at >= usec) ORDER BY g.segment LOOP
                low := s.first_position;
                high := s.last_position + 1;
                WHILE low < high LOOP
                        middle := (low + high) / 2;
                        EXECUTE format('SELECT e.position, e.recorded FROM %I e WHERE e.position >= $1 ORDER BY e.position LIMIT 1', s.relation)
                        INTO there USING middle;
                        IF there.position IS NULL OR there.recorded >= usec THEN
                                high := middle;
                        ELSE
                                low := there.position + 1;
                        END IF;
                END LOOP;
                EXECUTE format('SELECT e.position FROM %I e WHERE e.position >= $1 ORDER BY e.position LIMIT 1', s.relation) INTO there USING low;
                IF there.position IS NOT NULL THEN
                        RETURN there.position;
                END IF;
        END LOOP;
        RETURN head_last + 1;
END
$$;

-- What version of its stream an event is; NULL: none, or it is gone.
CREATE FUNCTION stream_version(topic_id bigint, at_position bigint) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        segment_relation text;
        version bigint;
BEGIN
        SELECT g.relation INTO segment_relation FROM segments g
        WHERE g.topic = topic_id AND g.first_position <= at_position AND coalesce(g.last_position, at_position) >= at_position
        ORDER BY g.segment DESC LIMIT 1;
        IF segment_relation IS NOT NULL THEN
                EXECUTE format('SELECT e.stream_version FROM %I e WHERE e.position = $1', segment_relation) INTO version USING at_position;
        END IF;
        RETURN version;
END
$$;
