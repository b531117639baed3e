CREATE TABLE event (seq Int64, id String, type LowCardinality(String), time_us Int64, workspace
LowCardinality(String), actor String, agent LowCardinality(Nullable(String)), release
LowCardinality(Nullable(String)), instance Nullable(String), session Nullable(String), trace_id Nullable(String),
span_id Nullable(String), parent_span_id Nullable(String), status LowCardinality(String), policy_version
LowCardinality(Nullable(String)), memory_snapshot Nullable(String), duration_us Nullable(Int64), data String, subject
Nullable(Int64), content Nullable(String), gone LowCardinality(Nullable(String)), name String, resource
LowCardinality(Nullable(String)), model LowCardinality(Nullable(String)), input_tokens Nullable(Int64), output_tokens
Nullable(Int64), cached_tokens Nullable(Int64), reasoning_tokens Nullable(Int64), cost_usd Nullable(Decimal(24, 12)),
error Nullable(String), source Nullable(String), task Nullable(String), INDEX by_id id TYPE bloom_filter(0.01), INDEX
by_trace_id trace_id TYPE bloom_filter(0.01), INDEX by_session session TYPE bloom_filter(0.01), INDEX by_agent agent
TYPE bloom_filter(0.01), INDEX by_subject subject TYPE bloom_filter(0.01), INDEX by_time time_us TYPE minmax) ENGINE =
ReplacingMergeTree ORDER BY seq COMMENT '3'
