-- What an aggregator keeps, in SQL that PostgreSQL, CockroachDB and YugabyteDB share: tables, primary keys and
-- ON CONFLICT; no sequences, triggers, advisory locks, LISTEN, or columns of their own types. Heights and times are
-- whole numbers; chains 32 bytes. Each statement stands alone between empty lines and may run again.

CREATE TABLE IF NOT EXISTS edgechain_layout (
    id      integer PRIMARY KEY,
    version integer NOT NULL
)

CREATE TABLE IF NOT EXISTS edgechain_chains (
    chain   bytea PRIMARY KEY,
    version bigint NOT NULL,
    record  bytea NOT NULL,
    state   bytea
)

CREATE TABLE IF NOT EXISTS edgechain_segments (
    chain   bytea NOT NULL,
    lowest  bigint NOT NULL,
    highest bigint NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (chain, lowest)
)

CREATE TABLE IF NOT EXISTS edgechain_receipts (
    chain  bytea NOT NULL,
    height bigint NOT NULL,
    at     bigint NOT NULL,
    body   bytea NOT NULL,
    PRIMARY KEY (chain, height)
)

CREATE TABLE IF NOT EXISTS edgechain_forks (
    chain  bytea NOT NULL,
    height bigint NOT NULL,
    id     bytea NOT NULL,
    seen   bigint NOT NULL,
    body   bytea NOT NULL,
    PRIMARY KEY (chain, height, id)
)

CREATE TABLE IF NOT EXISTS edgechain_documents (
    kind    text NOT NULL,
    name    text NOT NULL,
    version bigint NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (kind, name)
)

CREATE TABLE IF NOT EXISTS edgechain_replicas (
    name   text PRIMARY KEY,
    run    text NOT NULL,
    number bigint NOT NULL,
    links  bigint NOT NULL,
    aside  boolean NOT NULL,
    since  bigint NOT NULL,
    at     bigint NOT NULL
)

CREATE TABLE IF NOT EXISTS edgechain_decisions (
    chain bytea PRIMARY KEY,
    at    bigint NOT NULL
)

CREATE TABLE IF NOT EXISTS edgechain_logs (
    origin  text PRIMARY KEY,
    version bigint NOT NULL,
    size    bigint NOT NULL,
    root    bytea NOT NULL,
    head    bytea NOT NULL
)

CREATE TABLE IF NOT EXISTS edgechain_log_leaves (
    origin   text NOT NULL,
    position bigint NOT NULL,
    chain    bytea NOT NULL,
    height   bigint NOT NULL,
    header   bytea NOT NULL,
    PRIMARY KEY (origin, position)
)

CREATE INDEX IF NOT EXISTS edgechain_log_chains ON edgechain_log_leaves (origin, chain, height)

CREATE TABLE IF NOT EXISTS edgechain_log_nodes (
    origin   text NOT NULL,
    level    integer NOT NULL,
    position bigint NOT NULL,
    hash     bytea NOT NULL,
    PRIMARY KEY (origin, level, position)
)

CREATE TABLE IF NOT EXISTS edgechain_log_checkpoints (
    origin text NOT NULL,
    size   bigint NOT NULL,
    at     bigint NOT NULL,
    note   bytea NOT NULL,
    PRIMARY KEY (origin, size)
)

CREATE TABLE IF NOT EXISTS edgechain_log_waiting (
    chain  bytea PRIMARY KEY,
    height bigint NOT NULL,
    header bytea NOT NULL
)
