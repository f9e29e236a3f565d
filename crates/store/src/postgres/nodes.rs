//! What nodes ask the database about each other; the functions are in [`super::schema`].

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::{FromSqlOwned, Type};

use super::{
    PostgresOptions,
    connections::{Connection, Parameters},
    lease::{come, millis},
    member::NodeOptions,
    picture::{Node, Picture},
    placement::{Holders, NodeId, SINGLE_FIRST},
    trouble::Trouble,
    votes::Standing,
};

/// What becomes of a renewal.
pub(super) enum Renewal {
    Renewed(Renewed),
    /// The node has been removed.
    Removed,
    /// The node is to go: these others do not reach it.
    Ousted(Vec<NodeId>),
}

/// What a node that renews its lease is told.
pub(super) struct Renewed {
    /// Grows with each change of who is there and what is whose.
    pub(super) version: i64,
    /// The database's time, if the lease of some node has run out by then.
    pub(super) silent_at: Option<String>,
    /// Grows with each commit to a single shard.
    pub(super) written: i64,
    /// Some node says that it does not reach another, or one is to go for that. What this node itself says is not looked at.
    pub(super) is_one_unreached: bool,
}

/// Comes among the nodes. False: a server has the schema alone.
pub(super) async fn join(options: &PostgresOptions, connection: &Connection, id: &str, node: &NodeOptions) -> Result<bool, Trouble> {
    let statement = format!("SELECT \"{}\".join_2($1::text::uuid, $2, $3, $4, $5, $6, $7, $8)", options.schema);
    let lease = millis(options.lease_of_node());
    let (shards, singles) = (i64::from(node.shards), node.singles.iter().map(|shard| i64::from(*shard)).collect::<Vec<_>>());
    let parameters: &Parameters<'_> = &[
        (&id, Type::TEXT),
        (&node.name, Type::TEXT),
        (&node.address, Type::TEXT),
        (&node.key, Type::TEXT),
        (&node.process.cast_signed(), Type::INT8),
        (&lease, Type::FLOAT8),
        (&shards, Type::INT8),
        (&singles, Type::INT8_ARRAY),
    ];
    come(connection, &statement, parameters).await
}

/// Renews the lease, and writes down which nodes this one does not reach.
pub(super) async fn renew(
    options: &PostgresOptions,
    connection: &Connection,
    id: &str,
    unreached: &BTreeSet<NodeId>,
) -> Result<Renewal, Trouble> {
    let schema = &options.schema;
    let statement = format!(
        "UPDATE \"{schema}\".node SET until = clock_timestamp() + $2 * interval '1 ms', unreached = $3::uuid[]
         WHERE id = $1::text::uuid AND ousted IS NULL
         RETURNING (SELECT version FROM \"{schema}\".cluster),
                   (SELECT clock_timestamp()::text FROM \"{schema}\".node o WHERE o.until < clock_timestamp() AND o.id <> $1::text::uuid LIMIT 1),
                   (SELECT coalesce(sum(seq), 0)::bigint FROM \"{schema}\".shard WHERE id >= {SINGLE_FIRST}),
                   EXISTS (SELECT FROM \"{schema}\".node o WHERE o.ousted IS NOT NULL OR cardinality(o.unreached) > 0)"
    );
    let lease = millis(options.lease_of_node());
    let unreached: Vec<String> = unreached.iter().map(NodeId::to_string).collect();
    let parameters: &Parameters<'_> = &[(&id, Type::TEXT), (&lease, Type::FLOAT8), (&unreached, Type::TEXT_ARRAY)];
    let rows = connection.ask(&statement, parameters).await?;
    if let Some(row) = rows.first() {
        let (version, silent_at, written, is_one_unreached) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        return Ok(Renewal::Renewed(Renewed { version, silent_at, written, is_one_unreached }));
    }
    let by = format!("SELECT ousted::text[] FROM \"{schema}\".node WHERE id = $1::text::uuid");
    let rows = connection.ask(&by, &[(&id, Type::TEXT)]).await?;
    let by = rows.first().map(|row| row.try_get::<_, Option<Vec<String>>>(0)).transpose()?;
    match by {
        None => Ok(Renewal::Removed),
        Some(by) => Ok(Renewal::Ousted(by.unwrap_or_default().iter().filter_map(|id| NodeId::parse(id)).collect())),
    }
}

/// Says that a node is to go, if these do not reach it, and are more than half of the others. False: that is not so by now, or another is
/// to go first.
pub(super) async fn oust(
    options: &PostgresOptions,
    connection: &Connection,
    id: &str,
    victim: NodeId,
    voters: &BTreeSet<NodeId>,
) -> Result<bool, Trouble> {
    let statement = format!("SELECT \"{}\".oust_1($1::text::uuid, $2::text::uuid, $3::uuid[])", options.schema);
    let (victim, voters) = (victim.to_string(), voters.iter().map(NodeId::to_string).collect::<Vec<_>>());
    one(connection, &statement, &[(&id, Type::TEXT), (&victim, Type::TEXT), (&voters, Type::TEXT_ARRAY)]).await
}

/// Goes, with all that it has.
pub(super) async fn go(options: &PostgresOptions, connection: &Connection, id: &str) -> Result<(), Trouble> {
    connection.ask(&format!("SELECT \"{}\".go_1($1::text::uuid)", options.schema), &[(&id, Type::TEXT)]).await.map(drop)
}

/// Removes nodes whose leases had run out at that time and have not been renewed since; what they had is fenced, and free. However
/// late it comes, it removes no others, and nobody once its sender's lease has run out.
pub(super) async fn reap(options: &PostgresOptions, connection: &Connection, id: &str, at: &str) -> Result<(), Trouble> {
    let statement = format!("SELECT \"{}\".reap_1($1::text::uuid, $2::text::timestamptz)", options.schema);
    connection.ask(&statement, &[(&id, Type::TEXT), (&at, Type::TEXT)]).await.map(drop)
}

/// Is given its share from now on.
pub(super) async fn ready(options: &PostgresOptions, connection: &Connection, id: &str) -> Result<(), Trouble> {
    connection.ask(&format!("SELECT \"{}\".ready_2($1::text::uuid)", options.schema), &[(&id, Type::TEXT)]).await.map(drop)
}

/// Is given nothing more.
pub(super) async fn leave(options: &PostgresOptions, connection: &Connection, id: &str) -> Result<(), Trouble> {
    connection.ask(&format!("SELECT \"{}\".leave_1($1::text::uuid)", options.schema), &[(&id, Type::TEXT)]).await.map(drop)
}

/// Gives free shards to nodes. False: the picture was not the newest any more.
pub(super) async fn place(
    options: &PostgresOptions,
    connection: &Connection,
    version: i64,
    free: &[(u32, NodeId)],
) -> Result<bool, Trouble> {
    let (shards, nodes): (Vec<i64>, Vec<String>) = free.iter().map(|(shard, node)| (i64::from(*shard), node.to_string())).unzip();
    let statement = format!("SELECT \"{}\".place_1($1, $2, $3)", options.schema);
    one(connection, &statement, &[(&version, Type::INT8), (&shards, Type::INT8_ARRAY), (&nodes, Type::TEXT_ARRAY)]).await
}

/// By node: what counts of it when it is asked who reaches whom, and what is left of its lease by the database's clock.
pub(super) async fn standings(options: &PostgresOptions, connection: &Connection) -> Result<BTreeMap<NodeId, Standing>, Trouble> {
    let left = "(extract(epoch FROM until - clock_timestamp()) * 1000)::bigint";
    let statement = format!(
        "SELECT id::text, {left}, ready, leaving, ousted IS NOT NULL, unreached::text[] FROM \"{}\".node WHERE NOT alone",
        options.schema
    );
    let wrong = || Trouble::Refused("its tables of nodes hold an id that is none".into());
    let id = |text: &str| NodeId::parse(text).ok_or_else(wrong);
    let standing = |row: &tokio_postgres::Row| {
        let unreached: Option<Vec<String>> = row.try_get(5)?;
        let unreached = unreached.map(|nodes| nodes.iter().map(|node| id(node)).collect::<Result<_, _>>()).transpose()?;
        let (left_ms, is_ready) = (row.try_get(1)?, row.try_get(2)?);
        let (is_leaving, is_ousted) = (row.try_get(3)?, row.try_get(4)?);
        Ok((id(row.try_get(0)?)?, Standing { left_ms, is_ready, is_leaving, is_ousted, unreached }))
    };
    connection.ask(&statement, &[]).await?.iter().map(standing).collect()
}

/// By single shard: the number of its last commit.
pub(super) async fn singles(options: &PostgresOptions, connection: &Connection) -> Result<BTreeMap<u32, i64>, Trouble> {
    let statement = format!("SELECT id, seq FROM \"{}\".shard WHERE id >= {SINGLE_FIRST}", options.schema);
    let wrong = || Trouble::Refused("its tables of nodes hold a shard that is none".into());
    let single = |row: &tokio_postgres::Row| Ok((u32::try_from(row.try_get::<_, i64>(0)?).map_err(|_| wrong())?, row.try_get(1)?));
    connection.ask(&statement, &[]).await?.iter().map(single).collect()
}

/// Who is there and what is whose at one moment.
pub(super) async fn picture(options: &PostgresOptions, connection: &Connection) -> Result<Picture, Trouble> {
    let s = format!("\"{}\"", options.schema);
    let statement = format!(
        "SELECT version, NULL::bigint, n.id::text, n.name, n.address, n.ready, n.leaving, coalesce(n.key, ''), n.process FROM {s}.cluster, {s}.node n
         UNION ALL SELECT version, s.id, s.node::text, NULL, NULL, NULL, NULL, NULL, NULL FROM {s}.cluster c, {s}.shard s
         WHERE s.id < c.shards OR s.id >= {SINGLE_FIRST}"
    );
    let wrong = |what: &str| Trouble::Refused(format!("its tables of nodes hold {what}"));
    let (mut version, mut nodes, mut holders) = (0, Vec::new(), Holders::new());
    for row in connection.ask(&statement, &[]).await? {
        version = row.try_get(0)?;
        let id: Option<&str> = row.try_get(2)?;
        let id = id.map(|id| NodeId::parse(id).ok_or_else(|| wrong("an id that is none"))).transpose()?;
        match row.try_get::<_, Option<i64>>(1)? {
            Some(shard) => drop(holders.insert(u32::try_from(shard).map_err(|_| wrong("a shard that is none"))?, id)),
            None => {
                let id = id.ok_or_else(|| wrong("a node without an id"))?;
                let process = row.try_get::<_, Option<i64>>(8)?.unwrap_or_default().cast_unsigned();
                let (name, address, key) = (row.try_get(3)?, row.try_get(4)?, row.try_get(7)?);
                let (is_ready, is_leaving) = (row.try_get(5)?, row.try_get(6)?);
                nodes.push(Node { id, name, address, key, process, is_ready, is_leaving });
            }
        }
    }
    Ok(Picture::new(version, nodes, holders))
}

async fn one<T: FromSqlOwned>(connection: &Connection, statement: &str, parameters: &Parameters<'_>) -> Result<T, Trouble> {
    let rows = connection.ask(statement, parameters).await?;
    Ok(rows.first().ok_or_else(|| Trouble::Refused("it gave no row".into()))?.try_get(0)?)
}
