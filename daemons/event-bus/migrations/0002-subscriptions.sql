-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Subscriptions: settings, state, dead letters. They go with their topic.
--
-- The state is text that only event-bus/delivery/group.h reads. It is replaced if its token is still the one it was made from. Tokens are
-- drawn by lot, so that who sends the same again, or lost its connection, finds out whether it was done. A dead letter and the state that
-- says so are one statement. Letters that were handed out again ("redriven") stay until everything up to them is settled: the log may
-- have dropped them.

CREATE TABLE subscriptions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$'),
        topic bigint NOT NULL REFERENCES topics ON DELETE CASCADE,
        filters text,
        start bigint NOT NULL,
        ack_usec bigint NOT NULL CHECK (ack_usec > 0),
        attempts_max bigint NOT NULL CHECK (attempts_max > 0), -- 4294967295: no end
        backoff_min_usec bigint NOT NULL CHECK (backoff_min_usec > 0),
        backoff_max_usec bigint NOT NULL CHECK (backoff_max_usec >= backoff_min_usec),
        outstanding_max bigint NOT NULL CHECK (outstanding_max > 0),
        push_url text,
        push_secret text, -- sealed by whoever gives it
        push_mode text,
        push_parallel bigint NOT NULL,
        paused boolean NOT NULL,
        version bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscriptions_topic ON subscriptions (topic);

-- Most of a page is left free, so that an update stays in it; a state stays in its row up to a page.
CREATE TABLE subscription_states (
        subscription bigint PRIMARY KEY REFERENCES subscriptions ON DELETE CASCADE,
        token bigint NOT NULL,
        recent bigint[] NOT NULL DEFAULT '{}', -- the last tokens, this one first: what was saved although others came after it
        state text NOT NULL,
        settled_to bigint NOT NULL, -- of the state
        dead bigint NOT NULL DEFAULT 0 -- letters that are not redriven
) WITH (fillfactor = 10, toast_tuple_target = 8160, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE subscription_states ALTER state SET STORAGE EXTERNAL;

CREATE TABLE dead_letters (
        subscription bigint NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
        number bigint GENERATED ALWAYS AS IDENTITY,
        position bigint NOT NULL,
        reason text NOT NULL,
        attempts bigint NOT NULL,
        at bigint NOT NULL, -- when it became one, in microseconds since 1970
        recorded bigint, -- the event's, as the following; NULL: it was dropped from the log before
        key text,
        stream text,
        stream_version bigint,
        event text,
        redriven boolean NOT NULL DEFAULT false,
        PRIMARY KEY (subscription, number)
);
CREATE INDEX dead_letters_redriven ON dead_letters (subscription, position) WHERE redriven;

-- One row: what there is now, and whether what was given was saved; state NULL: it is that. No row: no such subscription.
CREATE FUNCTION subscription_put(id bigint, old_token bigint, new_token bigint, new_state text, new_settled_to bigint)
RETURNS TABLE (token bigint, state text, version bigint, saved boolean) LANGUAGE plpgsql AS
$$
BEGIN
        UPDATE subscription_states s SET token = new_token, recent = (new_token || s.recent)[1:8], state = new_state,
                settled_to = new_settled_to
        WHERE s.subscription = id AND s.token = old_token;
        IF FOUND THEN
                RETURN QUERY SELECT new_token, NULL::text, 0::bigint, true;
        ELSE
                RETURN QUERY SELECT s.token, s.state, n.version, new_token = ANY (s.recent) FROM subscription_states s
                JOIN subscriptions n ON n.id = s.subscription WHERE s.subscription = subscription_put.id;
        END IF;
END
$$;

-- The same with letters: new ones (the arrays from positions on), those that are handed out again (redriven, their numbers), and those
-- that are done with (redriven ones up to cleared).
CREATE FUNCTION subscription_put_letters(id bigint, old_token bigint, new_token bigint, new_state text, new_settled_to bigint,
                                         positions bigint[], reasons text[], attempts bigint[], recorded bigint[], keys text[],
                                         streams text[], stream_versions bigint[], events text[], redriven bigint[], cleared bigint)
RETURNS TABLE (token bigint, state text, version bigint, saved boolean) LANGUAGE plpgsql AS
$$
DECLARE
        put record;
        n bigint;
BEGIN
        SELECT * INTO put FROM subscription_put(id, old_token, new_token, new_state, new_settled_to);
        IF NOT FOUND THEN
                RETURN;
        END IF;

        IF put.state IS NULL THEN
                INSERT INTO dead_letters (subscription, position, reason, attempts, at, recorded, key, stream, stream_version, event)
                SELECT subscription_put_letters.id, l.position, l.reason, l.attempts, now_usec(), l.recorded, l.key, l.stream,
                       l.stream_version, l.event
                FROM unnest(positions, reasons, attempts, recorded, keys, streams, stream_versions, events)
                        l (position, reason, attempts, recorded, key, stream, stream_version, event);
                DELETE FROM dead_letters d WHERE d.subscription = subscription_put_letters.id AND d.redriven AND d.position <= cleared;
                UPDATE dead_letters d SET redriven = true
                WHERE d.subscription = subscription_put_letters.id AND d.number = ANY (subscription_put_letters.redriven)
                        AND NOT d.redriven;
                GET DIAGNOSTICS n = ROW_COUNT;
                UPDATE subscription_states s SET dead = s.dead + cardinality(positions) - n
                WHERE s.subscription = subscription_put_letters.id;
        END IF;

        RETURN QUERY SELECT put.token, put.state, put.version, put.saved;
END
$$;

-- Raises unique_violation where the version is another one, foreign_key_violation where there is no such subscription. A secret that is
-- not given stays, an empty one is removed.
CREATE FUNCTION subscription_change(subscription_name text, expected bigint, new_filters text, new_ack bigint, new_attempts bigint,
                                    new_backoff_min bigint, new_backoff_max bigint, new_outstanding bigint, new_url text, new_secret text,
                                    new_mode text, new_parallel bigint, new_paused boolean) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
        old bigint;
BEGIN
        SELECT s.version INTO old FROM subscriptions s WHERE s.name = subscription_name FOR UPDATE;
        IF NOT FOUND THEN
                RAISE foreign_key_violation;
        ELSIF expected <> 0 AND expected <> old THEN
                RAISE unique_violation;
        END IF;

        UPDATE subscriptions s SET version = s.version + 1, filters = new_filters, ack_usec = new_ack, attempts_max = new_attempts,
                backoff_min_usec = new_backoff_min, backoff_max_usec = new_backoff_max, outstanding_max = new_outstanding,
                push_url = new_url, push_secret = CASE WHEN new_url IS NOT NULL THEN nullif(coalesce(new_secret, s.push_secret), '') END,
                push_mode = new_mode, push_parallel = new_parallel, paused = new_paused
        WHERE s.name = subscription_name;
END
$$;
