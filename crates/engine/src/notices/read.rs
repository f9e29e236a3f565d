//! Reads notices behind a cursor.

use prost::Message as _;
use sempre_core::{NamespaceId, Refusal};
use sempre_store::StoreError;

use super::rows::{self, NoticeRecord};
use crate::shared::{STOPPING, Shared, give_way};

/// Rows read at once.
const ROWS: usize = 16;
/// Bytes of a page, unless its only notice has more.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Notices looked at in one call: those of other namespaces are passed over.
const LOOKS_MAX: usize = 20_000;

/// What was found.
pub(crate) struct Page {
    pub(crate) notices: Vec<(u64, NoticeRecord)>,
    /// Up to here everything was seen.
    pub(crate) next: u64,
    /// It stopped before the end.
    pub(crate) more: bool,
}

fn too_old(after: u64, gone: u64, kept: u64) -> Refusal {
    Refusal::OutOfRange(format!(
        "the cursor {after} is too old: notices up to {gone} are gone, {kept} are kept; list the runs anew, then go on after {gone}, or \
         after 0 for the oldest that there is; a server that is started with a greater --notices-kept keeps more"
    ))
}

/// Notices with numbers above `after`, in order, at most so many: of one namespace, or of all. 0: from the oldest that is kept.
pub(crate) async fn read(shared: &Shared, namespace: Option<NamespaceId>, after: u64, limit: usize) -> Result<Page, Refusal> {
    let notices = &shared.notices;
    let shown = notices.shown();
    let after = match after {
        0 => notices.gone(),
        after if after < notices.gone() => return Err(too_old(after, notices.gone(), notices.kept)),
        after if after > shown => {
            return Err(Refusal::OutOfRange(format!(
                "the cursor {after} is of no notice, the last one is {shown}: the data may be that of an older backup; list the runs anew, \
                 then go on after {shown}"
            )));
        }
        after => after,
    };
    let mut page = Page { notices: Vec::new(), next: after, more: false };
    let (mut looked, mut bytes) = (0, 0);
    'rows: while page.next < shown {
        let found = rows::page(&*shared.store, page.next, shown, ROWS).await.map_err(refused)?;
        let is_last = found.len() < ROWS;
        for read in found {
            for (number, notice) in (read.first..).zip(read.row.notices).filter(|(number, _)| *number > after) {
                if page.notices.len() >= limit || looked >= LOOKS_MAX {
                    page.more = true;
                    break 'rows;
                }
                looked += 1;
                let wanted = notice.namespace().filter(|of| namespace.is_none_or(|wanted| wanted == *of));
                if wanted.is_some() {
                    bytes += notice.encoded_len();
                    if bytes > PAGE_BYTES_MAX && !page.notices.is_empty() {
                        page.more = true;
                        break 'rows;
                    }
                    page.notices.push((number, notice));
                }
                page.next = number;
            }
            page.next = read.last;
        }
        if is_last {
            page.next = shown;
        }
        give_way().await;
    }
    // What was read may have been taken away meanwhile.
    match after < notices.gone() && after > 0 {
        true => Err(too_old(after, notices.gone(), notices.kept)),
        false => Ok(page),
    }
}

fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Closed => Refusal::Unavailable(STOPPING.into()),
        error => {
            tracing::error!(%error, "notices could not be read");
            Refusal::Unavailable(format!("notices could not be read: {error}"))
        }
    }
}
