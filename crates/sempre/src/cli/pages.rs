//! Lists and counts of executions of all kinds: page after page, groups after the total.

use bytes::Bytes;
use clap::Args;
use prost::{Message, Name};
use sempre_api::v1::common::Payload;

use crate::cli::{
    Failure,
    output::{Cell, Table, bare},
    session::Session,
};

/// How much of a list is told.
#[derive(Args)]
pub(crate) struct Extent {
    /// Stop after this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
    /// How many to ask for at once
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    page_size: i32,
}

/// What is counted.
#[derive(Args)]
pub(crate) struct Count {
    /// List filter; GROUP BY ExecutionStatus counts each status
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub(crate) query: String,
}

/// Tells a list. `page` asks for a page of a size behind a token, and gives what is on it and the token of the next one.
pub(crate) async fn list<T: Message + Name>(
    session: &mut Session,
    extent: &Extent,
    columns: &'static [&'static str],
    mut page: impl AsyncFnMut(i32, Bytes) -> Result<(Vec<T>, Bytes), Failure>,
    row: impl Fn(&Session, &T) -> Vec<Cell>,
) -> Result<(), Failure> {
    let (mut left, mut token) = (if extent.limit == 0 { usize::MAX } else { extent.limit }, Bytes::new());
    let page_size = extent.page_size.min(i32::try_from(left).unwrap_or(i32::MAX));
    let mut table = Table::new(columns);
    session.out.begin_list()?;
    loop {
        let (mut entries, next) = page(page_size, token).await?;
        entries.truncate(left);
        left -= entries.len();
        for entry in &entries {
            session.out.message(entry)?;
        }
        let rows: Vec<_> = entries.iter().map(|entry| row(session, entry)).collect();
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = next;
        if token.is_empty() || left == 0 {
            return session.out.end_list();
        }
    }
}

/// The type of an indexed value is no news in a count, and without it a value has its short form.
pub(crate) fn without_types<'a>(values: impl IntoIterator<Item = &'a mut Payload>) {
    for value in values {
        value.metadata.remove("type");
    }
}

/// Tells a count, and how many are in each group, which has these values.
pub(crate) fn count<'a>(
    session: &mut Session,
    total: i64,
    groups: impl IntoIterator<Item = (i64, &'a Vec<Payload>)>,
) -> Result<(), Failure> {
    session.out.line(format!("Total: {total}"))?;
    for (count, values) in groups {
        let values: Vec<_> = values.iter().map(|value| bare(&session.out.json_of(value))).collect();
        session.out.line(format!("Group total: {count}, values: {}", values.join(", ")))?;
    }
    Ok(())
}
