-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Answers to requests with an Idempotency-Key, kept for a day. The row is written in the transaction that does the work, so an
-- answer is there exactly if the work is.

CREATE TABLE idempotency (
        subject text NOT NULL,
        key text NOT NULL,
        fingerprint text NOT NULL, -- of path and body: the same key must not come with another request
        answer json, -- NULL: the request was refused and may be tried again
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (subject, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
