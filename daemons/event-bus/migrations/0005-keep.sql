-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Keeping: retention, compaction, archives. What they do is said in log/keep.h.
--
-- Each function is a step, whole or not at all. A topic is in the hands of one keeper at a time (keep_lock()), and cannot be deleted
-- meanwhile (its head is locked FOR KEY SHARE, which appending does not mind). Tables that are replaced or dropped become garbage, so
-- that a statement that has looked up their names still finds them.

ALTER TABLE segments ADD events bigint; -- that are in it, once compacted; else all of its positions
ALTER TABLE segments ADD compacted_to bigint NOT NULL DEFAULT 0; -- what is newer was not looked at when it was compacted

CREATE SEQUENCE keep_relations;

-- One archive is written at a time per topic. No reference to topics: what is left of a deleted one is swept.
CREATE TABLE keep_leases (
        topic bigint PRIMARY KEY,
        segment bigint NOT NULL,
        keeper text NOT NULL,
        until bigint NOT NULL
);

-- A topic that is compacted. relation has the newest position of each key up to indexed_to; a pass indexes up to target, then rewrites
-- all segments that were not compacted to target.
CREATE TABLE keep_compactions (
        topic bigint PRIMARY KEY,
        relation text NOT NULL,
        indexed_to bigint NOT NULL DEFAULT 0,
        target bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION keep_lock(topic_id bigint) RETURNS boolean LANGUAGE sql VOLATILE AS
$$ SELECT pg_try_advisory_xact_lock(7021900000000000000 + topic_id) $$;

CREATE FUNCTION keep_relation() RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT 'k_' || nextval('keep_relations') $$;

-- Retention

-- Those that are to go, oldest first, whatever else is to be done before.
CREATE FUNCTION keep_expired(topic_id bigint, at bigint) RETURNS SETOF segments LANGUAGE sql STABLE AS
$$
        SELECT s.* FROM segments s
        JOIN topics t ON t.id = s.topic
        JOIN (SELECT g.segment, sum(coalesce(g.bytes, h.bytes)) OVER newer AS bytes,
                     sum(coalesce(g.events, coalesce(g.last_position, h.last) - g.first_position + 1)) OVER newer AS events
              FROM segments g JOIN heads h ON h.topic = g.topic WHERE g.topic = topic_id
              WINDOW newer AS (ORDER BY g.segment DESC ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW)) rest ON rest.segment = s.segment
        WHERE s.topic = topic_id AND s.closed_at IS NOT NULL
              AND (s.closed_at < at - t.retention_usec
                   OR (t.retention_bytes > 0 AND rest.bytes >= t.retention_bytes)
                   OR (t.retention_events > 0 AND rest.events >= t.retention_events))
        ORDER BY s.segment
$$;

-- The open segment has reached its bounds while nobody appended, or everything in it has expired.
CREATE FUNCTION keep_must_close(topic_id bigint, at bigint) RETURNS boolean LANGUAGE sql STABLE AS
$$
        SELECT coalesce((
                SELECT h.is_open AND h.last >= s.first_position
                       AND (at >= h.roll_recorded OR h.last >= h.roll_last OR h.bytes >= h.roll_bytes OR h.recorded < at - t.retention_usec)
                FROM heads h JOIN topics t ON t.id = h.topic JOIN segments s ON s.topic = h.topic AND s.segment = h.segment
                WHERE h.topic = topic_id), false)
$$;

-- Positions are NULL where nothing was done.
CREATE FUNCTION keep_retain(topic_id bigint, OUT closed_first bigint, OUT closed_last bigint, OUT closed_events bigint,
                            OUT dropped_first bigint, OUT dropped_last bigint, OUT dropped_events bigint) LANGUAGE plpgsql AS
$$
DECLARE
        at bigint := now_usec();
        archive_first boolean;
        s segments;
BEGIN
        IF NOT keep_lock(topic_id) THEN
                RETURN;
        END IF;
        SELECT t.archive INTO archive_first FROM topics t WHERE t.id = topic_id;

        IF keep_must_close(topic_id, at) AND close_segment(topic_id) THEN
                SELECT g.first_position, g.last_position, g.last_position - g.first_position + 1 INTO closed_first, closed_last, closed_events
                FROM segments g WHERE g.topic = topic_id ORDER BY g.segment DESC LIMIT 1;
        END IF;

        PERFORM 1 FROM heads h WHERE h.topic = topic_id FOR KEY SHARE;
        IF NOT FOUND THEN
                RETURN;
        END IF;
        FOR s IN SELECT * FROM keep_expired(topic_id, at) LIMIT 64 LOOP
                EXIT WHEN archive_first AND s.archived_at IS NULL;
                DELETE FROM segments g WHERE g.topic = topic_id AND g.segment = s.segment;
                INSERT INTO garbage (relation) VALUES (s.relation);
                dropped_first := coalesce(dropped_first, s.first_position);
                dropped_last := s.last_position;
                dropped_events := coalesce(dropped_events, 0) + coalesce(s.events, s.last_position - s.first_position + 1);
        END LOOP;
END
$$;

-- Tables that nobody looks up any more; and what is left of topics that were deleted.
CREATE FUNCTION keep_sweep(older_usec bigint) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        n bigint := 0;
        name text;
BEGIN
        PERFORM set_config('lock_timeout', '1000', true);
        WITH old AS (DELETE FROM keep_compactions c WHERE NOT EXISTS (SELECT FROM topics t WHERE t.id = c.topic) RETURNING c.relation)
        INSERT INTO garbage (relation) SELECT old.relation FROM old;
        DELETE FROM keep_leases l WHERE l.until < now_usec() AND NOT EXISTS (SELECT FROM topics t WHERE t.id = l.topic);

        FOR name IN SELECT g.relation FROM garbage g WHERE g.since < clock_timestamp() - older_usec * interval '1 microsecond'
                    ORDER BY g.since LIMIT 16 FOR UPDATE SKIP LOCKED LOOP
                EXECUTE format('DROP TABLE IF EXISTS %I', name);
                DELETE FROM garbage g WHERE g.relation = name;
                n := n + 1;
        END LOOP;
        RETURN n;
END
$$;

-- Archives

-- The oldest closed segment that is not archived, for this keeper for so long; no row: none, or another keeper has it.
CREATE FUNCTION keep_archive_begin(topic_id bigint, me text, lease_usec bigint)
RETURNS TABLE (number bigint, first bigint, last bigint) LANGUAGE plpgsql AS
$$
DECLARE
        s segments;
BEGIN
        IF NOT keep_lock(topic_id) THEN
                RETURN;
        END IF;
        SELECT g.* INTO s FROM segments g JOIN topics t ON t.id = g.topic
        WHERE g.topic = topic_id AND t.archive AND g.closed_at IS NOT NULL AND g.archived_at IS NULL ORDER BY g.segment LIMIT 1;
        IF NOT FOUND THEN
                RETURN;
        END IF;

        INSERT INTO keep_leases AS l VALUES (topic_id, s.segment, me, now_usec() + lease_usec)
        ON CONFLICT (topic) DO UPDATE SET segment = excluded.segment, keeper = excluded.keeper, until = excluded.until
        WHERE l.keeper = me OR l.until < now_usec();
        IF FOUND THEN
                RETURN QUERY SELECT s.segment, s.first_position, s.last_position;
        END IF;
END
$$;

-- The next lines; no row: the segment is another keeper's now. n 0: that was all.
CREATE FUNCTION keep_archive_read(topic_id bigint, number bigint, me text, lease_usec bigint, after bigint, max_events integer,
                                  max_bytes bigint)
RETURNS TABLE (n bigint, last bigint, recorded_first bigint, recorded_last bigint, lines text) LANGUAGE plpgsql AS
$$
DECLARE
        name text;
BEGIN
        UPDATE keep_leases l SET until = now_usec() + lease_usec WHERE l.topic = topic_id AND l.segment = number AND l.keeper = me;
        IF NOT FOUND THEN
                RETURN;
        END IF;
        SELECT s.relation INTO name FROM segments s WHERE s.topic = topic_id AND s.segment = number;
        IF NOT FOUND THEN
                RETURN;
        END IF;

        RETURN QUERY EXECUTE format($f$
                SELECT count(*), max(p.position), min(p.recorded), max(p.recorded), string_agg(
                        '{"position":' || p.position || ',"recorded":' || p.recorded || coalesce(',"streamVersion":' || p.stream_version, '')
                        || ',"key":' || to_json(p.key) || coalesce(',"stream":' || to_json(p.stream), '')
                        || ',"event":' || translate(p.event, E'\n\r', '  ') || E'}\n', '' ORDER BY p.position)
                FROM (SELECT q.*, sum(octet_length(q.event)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(q.event) AS before
                      FROM (SELECT * FROM %I e WHERE e.position > $1 ORDER BY e.position LIMIT $2) q) p WHERE p.before < $3$f$, name)
        USING after, max_events, max_bytes;
END
$$;

-- Its file is on disk.
CREATE FUNCTION keep_archive_end(topic_id bigint, number bigint, me text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
        DELETE FROM keep_leases l WHERE l.topic = topic_id AND l.segment = number AND l.keeper = me;
        IF NOT FOUND THEN
                RETURN false;
        END IF;
        UPDATE segments s SET archived_at = now_usec() WHERE s.topic = topic_id AND s.segment = number AND s.closed_at IS NOT NULL;
        RETURN FOUND;
END
$$;

-- A restore fills a table that is garbage until it is a segment.
CREATE FUNCTION restore_begin() RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
        name text := keep_relation();
BEGIN
        PERFORM segment_create(name);
        INSERT INTO garbage VALUES (name, clock_timestamp() + interval '10 minutes');
        RETURN name;
END
$$;

-- NULL: it took too long, the table is gone. A line is cut before the event, which stays as it is; quotes within strings are escaped, so
-- that is found.
CREATE FUNCTION restore_lines(name text, lines text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        n bigint;
BEGIN
        UPDATE garbage g SET since = clock_timestamp() + interval '10 minutes' WHERE g.relation = name;
        IF NOT FOUND THEN
                RETURN NULL;
        END IF;
        EXECUTE format($f$
                INSERT INTO %I (position, recorded, stream_version, key, stream, event)
                SELECT (l.head ->> 'position')::bigint, (l.head ->> 'recorded')::bigint, (l.head ->> 'streamVersion')::bigint,
                       l.head ->> 'key', l.head ->> 'stream', l.event
                FROM (SELECT (left(r.line, strpos(r.line, ',"event":') - 1) || '}')::json AS head,
                             left(substr(r.line, strpos(r.line, ',"event":') + 9), -1) AS event
                      FROM unnest(string_to_array(rtrim($1, E'\n'), E'\n')) r (line)) l ON CONFLICT (position) DO NOTHING$f$, name)
        USING lines;
        GET DIAGNOSTICS n = ROW_COUNT;
        RETURN n;
END
$$;

-- How many events came; -1: no such topic; -2: it has something at or behind these positions, or newer; -3: the table is gone.
CREATE FUNCTION restore_end(topic_name text, name text, first bigint, last_of_it bigint) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
        head heads;
        got record;
BEGIN
        SELECT h.* INTO head FROM heads h JOIN topics t ON t.id = h.topic WHERE t.name = topic_name FOR UPDATE OF h;
        IF NOT FOUND THEN
                RETURN -1;
        END IF;
        DELETE FROM garbage g WHERE g.relation = name;
        IF NOT FOUND THEN
                RETURN -3;
        END IF;
        EXECUTE format('SELECT count(*) AS n, min(e.position) AS first, max(e.position) AS last, min(e.recorded) AS opened, '
                       'max(e.recorded) AS closed, coalesce(sum(octet_length(e.event)), 0)::bigint AS bytes FROM %I e', name) INTO got;
        IF head.last >= first OR head.recorded > got.opened OR got.first < first OR got.last > last_of_it THEN
                INSERT INTO garbage (relation) VALUES (name);
                RETURN -2;
        END IF;

        IF head.is_open AND NOT close_segment(head.topic) THEN -- an empty one
                WITH old AS (DELETE FROM segments s WHERE s.topic = head.topic AND s.segment = head.segment RETURNING s.relation)
                INSERT INTO garbage (relation) SELECT old.relation FROM old;
        END IF;
        UPDATE heads h SET last = last_of_it, recorded = greatest(h.recorded, got.closed), segment = h.segment + 1, is_open = false, bytes = 0
        WHERE h.topic = head.topic;
        INSERT INTO segments (topic, segment, relation, first_position, last_position, opened_at, closed_at, bytes, events, archived_at)
        VALUES (head.topic, head.segment + 1, name, first, last_of_it, coalesce(got.opened, head.recorded),
                greatest(head.recorded, got.closed), got.bytes, got.n, now_usec());
        EXECUTE format('INSERT INTO streams AS s SELECT %s, e.stream, max(e.stream_version), min(e.position), max(e.position) FROM %I e '
                       'WHERE e.stream IS NOT NULL GROUP BY e.stream ON CONFLICT (topic, stream) DO UPDATE '
                       'SET version = excluded.version, last_position = excluded.last_position', head.topic, name);
        RETURN got.n;
END
$$;

-- Compaction

-- Attributes are flat and quotes within strings are escaped, so the first member of that name is the event's own. Not by PostgreSQL's
-- json, which refuses \u0000.
CREATE FUNCTION event_has_data(event text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
$$
        SELECT strpos(event, '"data":') > 0 AND substr(event, strpos(event, '"data":') + 7, 5) NOT IN ('null,', 'null}')
               OR strpos(event, '"data_base64":') > 0
$$;

-- The next pass begins when there is enough that is new; false: there is not.
CREATE FUNCTION keep_compact_begin(c keep_compactions, dirty_percent integer) RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
        closed_to bigint;
        dirty bigint;
        clean bigint;
BEGIN
        SELECT max(s.last_position), coalesce(sum(s.bytes) FILTER (WHERE s.first_position > c.target), 0),
               coalesce(sum(s.bytes) FILTER (WHERE s.first_position <= c.target), 0)
        INTO closed_to, dirty, clean FROM segments s JOIN topics t ON t.id = s.topic
        WHERE s.topic = c.topic AND s.closed_at IS NOT NULL AND NOT EXISTS (
                SELECT FROM segments o WHERE t.archive AND o.topic = s.topic AND o.segment <= s.segment AND o.archived_at IS NULL);
        IF closed_to IS NULL OR closed_to <= c.target OR dirty * 100 < dirty_percent * (dirty + clean) THEN
                RETURN false;
        END IF;

        UPDATE keep_compactions k SET target = closed_to WHERE k.topic = c.topic;
        EXECUTE format('DELETE FROM %I l WHERE l.position < $1', c.relation) USING first_position(c.topic);
        RETURN true;
END
$$;

CREATE FUNCTION keep_compact_index(c keep_compactions) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
        s segments;
BEGIN
        SELECT * INTO s FROM segments g WHERE g.topic = c.topic AND g.last_position > c.indexed_to ORDER BY g.segment LIMIT 1;
        IF FOUND THEN
                EXECUTE format('INSERT INTO %I AS l SELECT DISTINCT ON (e.key) e.key, e.position FROM %I e WHERE e.stream IS NULL '
                               'ORDER BY e.key, e.position DESC ON CONFLICT (key) DO UPDATE SET position = excluded.position',
                               c.relation, s.relation);
        END IF;
        UPDATE keep_compactions k SET indexed_to = least(coalesce(s.last_position, c.target), c.target) WHERE k.topic = c.topic;
END
$$;

-- Rewrites the next segments that are not too much for once; no row: all are done.
CREATE FUNCTION keep_compact_rewrite(c keep_compactions, tombstone_usec bigint)
RETURNS TABLE (first bigint, last bigint, removed bigint) LANGUAGE plpgsql SET jit = off AS
$$
DECLARE
        old segments[];
        old_events bigint;
        all_of_them text;
        name text := keep_relation();
        kept bigint;
        size bigint;
BEGIN
        SELECT array_agg(g.s ORDER BY (g.s).segment) INTO old FROM (
                SELECT s, count(*) OVER w AS n, bool_and(s.compacted_to < c.target) OVER w AS is_next, sum(s.bytes) OVER w AS bytes,
                       sum(coalesce(s.events, s.last_position - s.first_position + 1)) OVER w AS events,
                       s.closed_at - first_value(s.opened_at) OVER w AS usec
                FROM segments s WHERE s.topic = c.topic AND s.last_position <= c.target
                     AND s.segment >= (SELECT min(o.segment) FROM segments o
                                       WHERE o.topic = c.topic AND o.last_position <= c.target AND o.compacted_to < c.target)
                WINDOW w AS (ORDER BY s.segment ROWS UNBOUNDED PRECEDING)) g JOIN topics t ON t.id = c.topic
        WHERE g.is_next AND (g.n = 1 OR (
                -- not more than retention can drop at once; see roll_bounds()
                g.n <= 32 AND g.bytes <= CASE WHEN t.retention_bytes > 0 THEN least(t.retention_bytes / 8, 67108864) ELSE 67108864 END
                AND (t.retention_events = 0 OR g.events <= t.retention_events / 8) AND g.usec <= t.retention_usec / 8));
        IF old IS NULL THEN
                RETURN;
        END IF;

        SELECT string_agg(format('SELECT * FROM %I', o.relation), ' UNION ALL '),
               sum(coalesce(o.events, o.last_position - o.first_position + 1))
        INTO all_of_them, old_events FROM unnest(old) o;
        PERFORM segment_create(name);
        EXECUTE format('WITH old AS MATERIALIZED (SELECT e.key, e.event FROM (%s) e JOIN %I l ON l.key = e.key AND l.position = e.position '
                       'WHERE e.stream IS NULL AND e.recorded < $1) '
                       'DELETE FROM %I l USING old WHERE l.key = old.key AND NOT event_has_data(old.event)',
                       all_of_them, c.relation, c.relation) USING now_usec() - tombstone_usec;
        EXECUTE format('INSERT INTO %I SELECT e.* FROM (%s) e LEFT JOIN %I l ON l.key = e.key AND l.position = e.position '
                       'WHERE e.stream IS NOT NULL OR l.key IS NOT NULL ORDER BY e.position', name, all_of_them, c.relation);
        GET DIAGNOSTICS kept = ROW_COUNT;

        first := (old[1]).first_position;
        last := (old[cardinality(old)]).last_position;
        removed := old_events - kept;
        IF removed = 0 AND cardinality(old) = 1 THEN
                EXECUTE format('DROP TABLE %I', name);
                UPDATE segments s SET compacted_to = c.target, compacted_at = now_usec(), events = kept
                WHERE s.topic = c.topic AND s.segment = (old[1]).segment;
                RETURN NEXT;
                RETURN;
        END IF;

        EXECUTE format('SELECT coalesce(sum(octet_length(e.event)), 0) FROM %I e', name) INTO size;
        INSERT INTO garbage (relation) SELECT o.relation FROM unnest(old) o;
        DELETE FROM segments s WHERE s.topic = c.topic AND s.segment > (old[1]).segment AND s.segment <= (old[cardinality(old)]).segment;
        UPDATE segments s SET relation = name, last_position = last, closed_at = (old[cardinality(old)]).closed_at, bytes = size,
               events = kept, compacted_to = c.target, compacted_at = now_usec()
        WHERE s.topic = c.topic AND s.segment = (old[1]).segment;
        RETURN NEXT;
END
$$;

-- One step. more: call again. first is NULL where nothing was rewritten.
CREATE FUNCTION keep_compact(topic_id bigint, dirty_percent integer, tombstone_usec bigint,
                             OUT more boolean, OUT first bigint, OUT last bigint, OUT removed bigint) LANGUAGE plpgsql AS
$$
DECLARE
        c keep_compactions;
        name text;
BEGIN
        more := false;
        IF NOT keep_lock(topic_id) THEN
                RETURN;
        END IF;
        PERFORM 1 FROM heads h JOIN topics t ON t.id = h.topic WHERE h.topic = topic_id AND t.compact FOR KEY SHARE OF h;
        IF NOT FOUND THEN
                RETURN;
        END IF;

        SELECT * INTO c FROM keep_compactions k WHERE k.topic = topic_id;
        IF NOT FOUND THEN
                IF NOT EXISTS (SELECT FROM segments s WHERE s.topic = topic_id AND s.closed_at IS NOT NULL) THEN
                        RETURN;
                END IF;
                name := keep_relation();
                EXECUTE format('CREATE TABLE %I (key text PRIMARY KEY, position bigint NOT NULL)', name);
                INSERT INTO keep_compactions VALUES (topic_id, name) RETURNING * INTO c;
        END IF;

        IF c.indexed_to < c.target THEN
                PERFORM keep_compact_index(c);
                more := true;
                RETURN;
        END IF;

        SELECT w.first, w.last, w.removed INTO keep_compact.first, keep_compact.last, keep_compact.removed
        FROM keep_compact_rewrite(c, tombstone_usec) w;
        more := keep_compact.first IS NOT NULL OR keep_compact_begin(c, dirty_percent);
END
$$;
