//! What is due, and what is owed from before a restart or a failed commit.

use sempre_core::{SlotId, Timestamp, keys::schedules::ScheduleKey};
use sempre_store::StoreError;

use super::{
    round::Round,
    rows,
    runner::{ROUND_BYTES_MAX, Runner},
};
use crate::namespaces::DELETED;

/// Schedules that are due, taken in one round.
const DUE_MAX: usize = 256;

impl Runner {
    /// Takes a part of what is due, and of what is owed from before.
    pub(super) async fn take_due(&mut self, round: &mut Round) -> Result<(), StoreError> {
        let now = self.shared.now();
        if self.retry_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        self.recover(round).await?;
        let slots: Vec<u16> = self.next_due.iter().filter(|(_, at)| **at <= now).map(|(slot, _)| *slot).collect();
        for slot in slots {
            if !self.has_room() || round.bytes > ROUND_BYTES_MAX {
                return Ok(());
            }
            round.slots.insert(slot);
            for (at, key) in rows::due(&*self.shared.store, SlotId(slot), now, DUE_MAX).await? {
                if !self.has_room() || round.bytes > ROUND_BYTES_MAX {
                    return Ok(());
                }
                self.look_at(at, key, now, round).await?;
            }
        }
        Ok(())
    }

    /// A due row says: look at this one.
    async fn look_at(&mut self, at: Timestamp, key: ScheduleKey, now: Timestamp, round: &mut Round) -> Result<(), StoreError> {
        // A row stays when its schedule could not be read.
        let known = self.load_usable(&key).await?;
        let Some(live) = self.live.get_mut(&key).filter(|live| known && live.schedule.state.wake_at == at.0) else {
            round.stray.push((at, key));
            return Ok(());
        };
        let namespace = self.shared.namespaces.by_id(key.namespace);
        let gone = namespace.is_none_or(|namespace| namespace.record.state == DELETED);
        if let Some(why) = live.schedule.unusable() {
            tracing::error!(schedule = key.schedule_id, why, "a schedule cannot be used: nothing of it is due until that is mended");
        }
        if gone || live.schedule.is_over(now) {
            live.is_deleted = true;
        } else {
            live.schedule.advance(now);
        }
        round.bytes += live.bytes;
        round.touched.insert(key);
        Ok(())
    }

    async fn recover(&mut self, round: &mut Round) -> Result<(), StoreError> {
        while self.has_room()
            && round.touched.len() < DUE_MAX
            && let Some((slot, after)) = self.to_recover.pop_front()
        {
            let store = self.shared.store.clone();
            let found = rows::owing(&*store, SlotId(slot), after.as_ref(), DUE_MAX).await;
            let found = found.inspect_err(|_| self.to_recover.push_front((slot, after.clone())))?;
            for key in &found {
                let known = self.load_usable(key).await.inspect_err(|_| self.to_recover.push_front((slot, after.clone())))?;
                if known {
                    round.touched.insert(key.clone());
                }
            }
            if found.len() == DUE_MAX {
                self.to_recover.push_front((slot, found.last().cloned()));
            }
        }
        Ok(())
    }
}
