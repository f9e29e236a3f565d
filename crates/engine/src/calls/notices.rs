//! `AlertService.ListNotices`: the feed, behind a cursor.

use sempre_api::sempre::v1::{ListNoticesRequest, ListNoticesResponse, Notice};
use sempre_core::{Refusal, Timestamp};

use super::named;
use crate::{Engine, namespaces::Namespace, notices, notices::rows::NoticeRecord};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
const OFF: &str = "this server keeps no notices; start it with --notices-kept above 0";

pub(super) fn page_size(size: i32) -> Result<usize, Refusal> {
    match usize::try_from(size) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) if size <= PAGE_MAX => Ok(size),
        _ => Err(Refusal::InvalidArgument(format!("page_size is 0 to {PAGE_MAX}"))),
    }
}

/// As clients see it.
fn shown(namespace: &Namespace, number: u64, notice: &NoticeRecord) -> Option<Notice> {
    let mut notice = notice.to_api(number)?;
    named::shown(namespace, notice.run.as_mut().and_then(|run| run.search_attributes.as_mut()));
    Some(notice)
}

impl Engine {
    /// `AlertService.ListNotices`. Waits no longer than `deadline` allows.
    pub async fn list_notices(&self, request: ListNoticesRequest, deadline: Option<Timestamp>) -> Result<ListNoticesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if !self.shared.notices.are_on() {
            return Err(Refusal::FailedPrecondition(OFF.into()));
        }
        let limit = page_size(request.page_size)?;
        let mut after = u64::try_from(request.after).map_err(|_| Refusal::invalid("after is a number of a notice, or 0"))?;
        let own = self.shared.notices.waiter(namespace.id());
        if request.from_now {
            after = self.shared.notices.shown();
        }
        let until = self.shared.wait_until(self.shared.settings.history_wait, deadline);
        let mut expired = false;
        loop {
            own.mark();
            let page = notices::read::read(&self.shared, Some(namespace.id()), after, limit).await?;
            after = page.next;
            if !request.wait || !page.notices.is_empty() || expired {
                let notices = page.notices.iter().filter_map(|(number, notice)| shown(&namespace, *number, notice)).collect();
                return Ok(ListNoticesResponse { notices, next: page.next as i64, more: page.more });
            }
            if page.more {
                expired = self.shared.wall_now() >= until;
                continue;
            }
            tokio::select! {
                // What only others were told of before may be gone by now.
                before = own.woken() => after = after.max(before),
                () = self.shared.wall.sleep_until(until) => {
                    // What only others were told of is passed over unread.
                    if let Some(next) = self.shared.notices.nothing_up_to(&own) {
                        return Ok(ListNoticesResponse { notices: Vec::new(), next: next as i64, more: false });
                    }
                    expired = true;
                }
            }
            expired |= self.shared.stopping.load(std::sync::atomic::Ordering::Acquire);
        }
    }
}
