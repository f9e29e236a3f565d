//! Reads: the overlay that takes commits, the one being written down, the cold store; the newer one wins.
//!
//! A view holds both overlays. Rows only move from the first to the second to the cold store, so whatever a view does not find in
//! its overlays is in the cold store by the time it looks there.

use std::{
    iter::Peekable,
    ops::{
        Bound::{Excluded, Included},
        ControlFlow,
    },
    sync::Arc,
};

use bytes::Bytes;

use crate::{StoreError, Table, split_stream_key, stream_key};

use super::{
    cold::ColdReader,
    overlay::{Entry, Overlay},
};

/// Rows that are fetched from the cold store at once.
const SCAN_PAGE_ROWS: usize = 256;
const STREAM_PAGE_ROWS: usize = 16;

pub(crate) struct View<'a> {
    pub(crate) active: Arc<Overlay>,
    pub(crate) swapped: Option<Arc<Overlay>>,
    pub(crate) cold: &'a ColdReader,
}

impl View<'_> {
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        for overlay in self.overlays() {
            if let Some(entry) = overlay.table(table).get(key) {
                return Ok(entry.value.clone());
            }
        }
        self.cold.get(table, key)
    }

    pub(crate) fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<crate::Rows, StoreError> {
        let mut rows = Vec::new();
        if from >= to || limit == 0 {
            return Ok(rows);
        }
        self.visit(table, from, to, limit.saturating_add(1).min(SCAN_PAGE_ROWS), |key, value| {
            rows.push((key.clone(), value.clone()));
            if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    pub(crate) fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let low = stream_key(prefix, 0);
        let start = self.stream_floor(&low, stream_key(prefix, from))?.unwrap_or_else(|| Bytes::copy_from_slice(&low));
        // The first key behind all ordinals of the stream.
        let mut end = stream_key(prefix, u64::MAX);
        end.push(0);
        let mut rows = Vec::new();
        let mut bytes = 0;
        self.visit(Table::History, &start, &end, STREAM_PAGE_ROWS, |key, value| {
            let Some((_, ordinal)) = split_stream_key(key).filter(|_| key.len() == low.len()) else { return ControlFlow::Continue(()) };
            rows.push((ordinal, value.clone()));
            bytes += value.len();
            if bytes > max_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    /// The greatest key of a live row of the stream that is not behind `wanted`.
    fn stream_floor(&self, low: &[u8], mut wanted: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
        loop {
            let mut floor = self.cold.history_floor(low, &wanted)?;
            let mut live = true;
            for overlay in self.overlays().rev() {
                let rows = overlay.table(Table::History);
                let range = rows.range::<[u8], _>((Included(low), Included(&wanted[..])));
                let found = range.rev().find(|(key, _)| key.len() == low.len());
                if let Some((key, entry)) = found
                    && floor.as_ref().is_none_or(|floor| key >= floor)
                {
                    (floor, live) = (Some(key.clone()), entry.value.is_some());
                }
            }
            let Some(floor) = floor else { return Ok(None) };
            if live {
                return Ok(Some(floor));
            }
            let ordinal = split_stream_key(&floor).map_or(0, |(_, ordinal)| ordinal);
            let Some(before) = ordinal.checked_sub(1) else { return Ok(None) };
            wanted = stream_key(&low[..low.len() - 8], before);
        }
    }

    /// Shows live rows with `from <= key < to` in key order until told to stop.
    fn visit(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        page_rows: usize,
        mut show: impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut from = Bytes::copy_from_slice(from);
        loop {
            let page = self.cold.page(table, &from, to, page_rows)?;
            // What lies behind the last row of a full page is not known yet.
            let last = if page.len() == page_rows { page.last().map(|(key, _)| key.clone()) } else { None };
            if self.merge(table, &from, to, last.as_ref(), page, &mut show).is_break() {
                return Ok(());
            }
            let Some(last) = last else { return Ok(()) };
            from = [&last[..], &[0]].concat().into();
        }
    }

    fn merge(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        last: Option<&Bytes>,
        page: crate::Rows,
        show: &mut impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if from >= to {
            return ControlFlow::Continue(());
        }
        let end = last.map_or(Excluded(to), |last| Included(&last[..]));
        let active = self.active.table(table);
        let swapped = self.swapped.as_ref().map(|overlay| overlay.table(table));
        let mut active = active.range::<[u8], _>((Included(from), end)).peekable();
        let mut swapped = swapped.iter().flat_map(|rows| rows.range::<[u8], _>((Included(from), end))).peekable();
        let mut cold = page.iter().peekable();
        loop {
            let keys = [active.peek().map(|(key, _)| *key), swapped.peek().map(|(key, _)| *key), cold.peek().map(|(key, _)| key)];
            let Some(key) = keys.into_iter().flatten().min() else { return ControlFlow::Continue(()) };
            let newest = take(&mut active, key);
            let newer = take(&mut swapped, key);
            let old = cold.next_if(|(cold_key, _)| cold_key == key).map(|(_, value)| value);
            let value = match newest.or(newer) {
                Some(entry) => entry.value.as_ref(),
                None => old,
            };
            if let Some(value) = value {
                show(key, value)?;
            }
        }
    }

    fn overlays(&self) -> impl DoubleEndedIterator<Item = &Arc<Overlay>> {
        [Some(&self.active), self.swapped.as_ref()].into_iter().flatten()
    }
}

/// The next entry if it is of this key.
fn take<'a>(rows: &mut Peekable<impl Iterator<Item = (&'a Bytes, &'a Entry)>>, key: &Bytes) -> Option<&'a Entry> {
    rows.next_if(|(next, _)| *next == key).map(|(_, entry)| entry)
}
