-- A trace store as version 4 made it: without sums.
CREATE TABLE IF NOT EXISTS store (version INTEGER NOT NULL, cursor BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS event (seq BIGINT NOT NULL, id VARCHAR NOT NULL, type VARCHAR NOT NULL, time_us BIGINT NOT
NULL, workspace VARCHAR NOT NULL, actor VARCHAR NOT NULL, agent VARCHAR, release VARCHAR, instance VARCHAR, session
VARCHAR, trace_id VARCHAR, span_id VARCHAR, parent_span_id VARCHAR, status VARCHAR NOT NULL, policy_version VARCHAR,
memory_snapshot VARCHAR, duration_us BIGINT, data VARCHAR NOT NULL, subject BIGINT, content BLOB, gone VARCHAR, words
VARCHAR, name VARCHAR NOT NULL, resource VARCHAR, model VARCHAR, input_tokens BIGINT, output_tokens BIGINT, cached_tokens BIGINT,
reasoning_tokens BIGINT, cost_usd DECIMAL(24, 12), error VARCHAR, source VARCHAR, task VARCHAR);
INSERT INTO store VALUES (4, 0);
