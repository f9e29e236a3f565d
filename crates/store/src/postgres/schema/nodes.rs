//! Who uses the schema, and which shard is whose: tables and functions. `docs/cluster.md` tells the rules and their races.
//!
//! Every function is one statement for who calls it: whoever stops in the middle holds no lock. Those that change who is there or
//! what is whose first lock the row of `cluster`, so they come one after the other, and raise its version; then rows of `node`, then those of
//! `shard`, always in this order.

/// The tables of format 1.
pub(super) fn tables(s: &str) -> String {
    format!(
        "CREATE TABLE {s}.cluster (one boolean PRIMARY KEY DEFAULT true CHECK (one), version bigint NOT NULL, shards bigint)
                                  WITH (fillfactor = 10);
         INSERT INTO {s}.cluster (version) VALUES (0);
         CREATE TABLE {s}.node (id uuid PRIMARY KEY, name text NOT NULL, address text NOT NULL, alone boolean NOT NULL,
                               leaving boolean NOT NULL DEFAULT false, until timestamptz NOT NULL) WITH (fillfactor = 10);
         CREATE TABLE {s}.shard (id bigint PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL, base bigint NOT NULL, node uuid)
                                WITH (fillfactor = 10);\n"
    )
}

/// The functions of format 1.
pub(super) fn functions(s: &str) -> String {
    [bury(s), alone(s), join(s), acquire(s), place(s), give(s), part(s)].concat()
}

/// Format 2: a node comes first, with the hash of its key and the number of its process, and is given its share when it says that it is ready.
pub(super) fn format_2(s: &str) -> String {
    let (join, give) = (join_2(s), give_2(s));
    format!(
        "-- Who is there already is ready.
         ALTER TABLE {s}.node ADD COLUMN ready boolean NOT NULL DEFAULT true, ADD COLUMN key text, ADD COLUMN process bigint;
         {join}{give}
         CREATE FUNCTION {s}.ready_2(p_node uuid) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           UPDATE {s}.node SET ready = true WHERE id = p_node AND NOT ready;
           IF FOUND THEN UPDATE {s}.cluster SET version = version + 1; END IF;
         END $$;"
    )
}

/// Format 3: a node says which others it does not reach, and one that most of the others do not reach is to go.
///
/// Who goes is not removed: it may answer from memory until its lease has run out. It is marked, and its renewal finds the mark.
pub(super) fn format_3(s: &str) -> String {
    format!(
        "-- Who is there already says nothing, and would not see the mark.
         ALTER TABLE {s}.node ADD COLUMN unreached uuid[], ADD COLUMN ousted uuid[];
         CREATE FUNCTION {s}.oust_1(p_node uuid, p_victim uuid, p_voters uuid[]) RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE others bigint; voters bigint;
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           IF NOT EXISTS (SELECT FROM {s}.node WHERE id = p_node AND until > clock_timestamp()) THEN RETURN false; END IF;
           -- One at a time: when it has gone the others may be reached.
           IF EXISTS (SELECT FROM {s}.node WHERE ousted IS NOT NULL AND until > clock_timestamp()) THEN RETURN false; END IF;
           SELECT count(*), count(*) FILTER (WHERE id = ANY (p_voters) AND p_victim = ANY (unreached)) INTO others, voters
           FROM {s}.node WHERE id <> p_victim AND ready AND NOT leaving AND until > clock_timestamp();
           IF voters <> cardinality(p_voters) OR voters * 2 <= others THEN RETURN false; END IF;
           -- It is given nothing more, also by those who know nothing of marks.
           UPDATE {s}.node SET ousted = p_voters, leaving = true
           WHERE id = p_victim AND ready AND NOT leaving AND unreached IS NOT NULL AND until > clock_timestamp();
           IF NOT FOUND THEN RETURN false; END IF;
           UPDATE {s}.cluster SET version = version + 1;
           RETURN true;
         END $$;"
    )
}

/// Comes among the nodes, unless a server is here alone. Its shards come by `place_1`, once it is ready; at once if there is nobody who is, so
/// that somebody can make what all wait for.
fn join_2(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.join_2(p_node uuid, p_name text, p_address text, p_key text, p_process bigint, p_lease double precision,
                                    p_shards bigint, p_singles bigint[])
         RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE spread bigint;
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           DELETE FROM {s}.node WHERE alone AND until < clock_timestamp();
           IF FOUND THEN PERFORM {s}.bury_1(); END IF;
           IF EXISTS (SELECT FROM {s}.node WHERE alone) THEN RETURN false; END IF;
           -- Who is the first says how many there are: nobody has any.
           UPDATE {s}.cluster SET version = version + 1,
             shards = CASE WHEN EXISTS (SELECT FROM {s}.node) THEN coalesce(shards, p_shards) ELSE p_shards END RETURNING shards INTO spread;
           INSERT INTO {s}.shard (id, epoch, seq, base)
           SELECT id, 0, 0, 0 FROM generate_series(0, spread - 1) id UNION SELECT id, 0, 0, 0 FROM unnest(p_singles) id
           ON CONFLICT (id) DO NOTHING;
           INSERT INTO {s}.node (id, name, address, key, process, alone, ready, until)
           VALUES (p_node, p_name, p_address, p_key, p_process, false,
             NOT EXISTS (SELECT FROM {s}.node WHERE id <> p_node AND ready AND NOT leaving AND until >= clock_timestamp()),
             clock_timestamp() + p_lease * interval '1 ms')
           ON CONFLICT (id) DO UPDATE SET until = excluded.until;
           RETURN true;
         END $$;\n"
    )
}

/// Hands a shard to another node, or to nobody if that one is not there. Done twice, or late, it does nothing, and says so: the epoch is
/// another.
fn give_2(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.give_2(p_node uuid, p_shard bigint, p_epoch bigint, p_to uuid) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           UPDATE {s}.shard SET epoch = epoch + 1, base = seq, node = (SELECT id FROM {s}.node WHERE id = p_to AND ready AND NOT leaving)
           WHERE id = p_shard AND node = p_node AND epoch = p_epoch;
           IF NOT FOUND THEN RETURN false; END IF;
           UPDATE {s}.cluster SET version = version + 1;
           RETURN true;
         END $$;\n"
    )
}

/// What nobody who is there has any more: it is fenced, and free.
fn bury(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.bury_1() RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           -- The caller has locked the row of `cluster`. Giving out a shard holds the row of its node, so it is over when that row is gone, and
           -- this statement sees what was given.
           UPDATE {s}.shard SET node = NULL, epoch = epoch + 1, base = seq
           WHERE node IS NOT NULL AND node NOT IN (SELECT id FROM {s}.node);
           UPDATE {s}.cluster SET version = version + 1;
         END $$;
         CREATE FUNCTION {s}.reap_1(p_node uuid, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           IF NOT EXISTS (SELECT FROM {s}.node WHERE id = p_node AND until > clock_timestamp()) THEN RETURN; END IF;
           DELETE FROM {s}.node WHERE until < p_at;
           IF FOUND THEN PERFORM {s}.bury_1(); END IF;
         END $$;\n"
    )
}

/// Takes everything for one server, unless others are there.
fn alone(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.alone_1(p_node uuid, p_name text, p_lease double precision) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           IF EXISTS (SELECT FROM {s}.node WHERE id <> p_node AND until >= clock_timestamp()) THEN RETURN false; END IF;
           DELETE FROM {s}.node WHERE until < clock_timestamp();
           IF FOUND THEN PERFORM {s}.bury_1(); END IF;
           IF EXISTS (SELECT FROM {s}.node WHERE id <> p_node) THEN RETURN false; END IF;
           INSERT INTO {s}.node (id, name, address, alone, until)
           VALUES (p_node, p_name, '', true, clock_timestamp() + p_lease * interval '1 ms')
           ON CONFLICT (id) DO UPDATE SET until = excluded.until;
           -- Nobody has any: what is left behind is fenced when it is left.
           UPDATE {s}.shard SET node = p_node;
           UPDATE {s}.cluster SET version = version + 1;
           RETURN true;
         END $$;\n"
    )
}

/// Comes among the nodes, unless a server is here alone. Its shards come by `place_1`.
fn join(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.join_1(p_node uuid, p_name text, p_address text, p_lease double precision, p_shards bigint, p_singles bigint[])
         RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE spread bigint;
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           DELETE FROM {s}.node WHERE alone AND until < clock_timestamp();
           IF FOUND THEN PERFORM {s}.bury_1(); END IF;
           IF EXISTS (SELECT FROM {s}.node WHERE alone) THEN RETURN false; END IF;
           -- Who is the first says how many there are: nobody has any.
           UPDATE {s}.cluster SET version = version + 1,
             shards = CASE WHEN EXISTS (SELECT FROM {s}.node) THEN coalesce(shards, p_shards) ELSE p_shards END RETURNING shards INTO spread;
           INSERT INTO {s}.shard (id, epoch, seq, base)
           SELECT id, 0, 0, 0 FROM generate_series(0, spread - 1) id UNION SELECT id, 0, 0, 0 FROM unnest(p_singles) id
           ON CONFLICT (id) DO NOTHING;
           INSERT INTO {s}.node (id, name, address, alone, until)
           VALUES (p_node, p_name, p_address, false, clock_timestamp() + p_lease * interval '1 ms')
           ON CONFLICT (id) DO UPDATE SET until = excluded.until;
           RETURN true;
         END $$;\n"
    )
}

/// Gives an epoch. `o_member`: the node is there; without an epoch, the shard is another's.
fn acquire(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.acquire_1(p_shard bigint, p_node uuid, OUT o_epoch bigint, OUT o_seq bigint, OUT o_member boolean)
         LANGUAGE plpgsql AS $$
         DECLARE is_alone boolean;
         BEGIN
           IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
           -- It stays until this is done: with it goes what it was given.
           SELECT alone INTO is_alone FROM {s}.node WHERE id = p_node FOR KEY SHARE;
           o_member := FOUND;
           IF NOT o_member THEN RETURN; END IF;
           IF is_alone THEN
             INSERT INTO {s}.shard AS mine (id, epoch, seq, base, node) VALUES (p_shard, 1, 0, 0, p_node)
             ON CONFLICT (id) DO UPDATE SET epoch = mine.epoch + 1, base = mine.seq, node = p_node
             RETURNING epoch, seq INTO o_epoch, o_seq;
           ELSE
             UPDATE {s}.shard SET epoch = epoch + 1, base = seq WHERE id = p_shard AND node = p_node
             RETURNING epoch, seq INTO o_epoch, o_seq;
           END IF;
         END $$;\n"
    )
}

/// Places free shards, if the picture by which that was decided is still the newest.
fn place(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.place_1(p_version bigint, p_shards bigint[], p_nodes text[]) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster WHERE version = p_version FOR UPDATE;
           IF NOT FOUND THEN RETURN false; END IF;
           UPDATE {s}.shard AS s SET node = n.id FROM unnest(p_shards, p_nodes) u(shard, node) JOIN {s}.node n ON n.id = u.node::uuid
           WHERE s.id = u.shard AND s.node IS NULL;
           UPDATE {s}.cluster SET version = version + 1;
           RETURN true;
         END $$;\n"
    )
}

/// Hands a shard to another node, or to nobody if that one is not there. Done twice, or late, it does nothing: the epoch is another.
fn give(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.give_1(p_node uuid, p_shard bigint, p_epoch bigint, p_to uuid) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           UPDATE {s}.shard SET epoch = epoch + 1, base = seq, node = (SELECT id FROM {s}.node WHERE id = p_to AND NOT leaving)
           WHERE id = p_shard AND node = p_node AND epoch = p_epoch;
           IF FOUND THEN UPDATE {s}.cluster SET version = version + 1; END IF;
         END $$;\n"
    )
}

/// A node that is about to go is given nothing more; one that goes leaves all it has.
fn part(s: &str) -> String {
    format!(
        "CREATE FUNCTION {s}.leave_1(p_node uuid) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           UPDATE {s}.node SET leaving = true WHERE id = p_node AND NOT leaving;
           IF FOUND THEN UPDATE {s}.cluster SET version = version + 1; END IF;
         END $$;
         CREATE FUNCTION {s}.go_1(p_node uuid) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM 1 FROM {s}.cluster FOR UPDATE;
           DELETE FROM {s}.node WHERE id = p_node;
           IF FOUND THEN PERFORM {s}.bury_1(); END IF;
         END $$;\n"
    )
}
