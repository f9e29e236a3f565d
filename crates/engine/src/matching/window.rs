//! A bounded window of one line of offers; what is behind it is in the store.
//!
//! A queue has a line of offers in the order of their age, and may have one of those that have ranks (see [`super::fair`]).
//! While a queue's work goes to two versions of workers, a window keeps what goes to the one apart from what goes to the
//! other: where an offer goes is asked once, when it comes in or the route changes, and never by a poll.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use sempre_core::{
    Route, RunId, Timestamp,
    transition::{Offer, OfferKey, RANKED},
};

use super::{held::Queued, levels::Levels, routes};

/// Times the window that a queue may hold in memory while the tasks of one side of a ramp wait and those of the other are
/// asked for.
const WINDOWS_MAX: usize = 16;

/// An offer's place in the line: priority, then age or rank. Independent of the queue, so that an offer keeps its place
/// when it moves from a sticky to a normal queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) priority: u8,
    pub(crate) time: Timestamp,
    pub(crate) run: RunId,
    pub(crate) scheduled_event_id: i64,
}

impl Place {
    pub(crate) fn of(key: &OfferKey) -> Self {
        Self { priority: key.priority, time: key.time, run: key.run, scheduled_event_id: key.scheduled_event_id }
    }

    /// Before all of a priority.
    pub(super) fn first(priority: u8) -> Self {
        Self { priority, time: Timestamp(i64::MIN), run: RunId::default(), scheduled_event_id: i64::MIN }
    }

    /// 1 (first) to 5 (last).
    pub(super) fn level(&self) -> u8 {
        self.priority & !RANKED
    }

    pub(super) fn is_ranked(&self) -> bool {
        self.priority & RANKED != 0
    }
}

/// Which of the two versions that a route sends tasks to; all are on the first side when there is one or no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Current,
    Ramp,
}

/// Who pages a window: several may page the windows of a queue, also of one that was put away and came again, and none ends what
/// another has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(pub(super) u64);

/// Stamps of a run count up, and begin again behind the last.
fn is_newer(stamp: u32, other: u32) -> bool {
    stamp != other && stamp.wrapping_sub(other) < u32::MAX / 2
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    /// By side.
    offers: [BTreeMap<Place, Queued>; 2],
    /// Of ranked offers, by level, when they were offered: their order says nothing of it.
    ages: Option<BTreeSet<(u8, Timestamp, RunId, i64)>>,
    /// Set when the store holds offers that are not in memory: all of them come after this place.
    loaded_to: Option<Place>,
    /// Offers behind the window that the store does not have (tasks in memory only). They come in when the window does; none
    /// while all offers are in memory.
    volatile: BTreeMap<Place, Queued>,
    /// The claim for which a page is being read.
    paging: Option<Claim>,
    /// Offers behind the window that came while a page was read: the read may have missed them.
    late: Vec<Queued>,
    /// Windows that it may hold in memory.
    windows: usize,
}

impl Window {
    pub(super) fn new(ranked: bool) -> Self {
        Self {
            offers: [BTreeMap::new(), BTreeMap::new()],
            ages: ranked.then(BTreeSet::new),
            loaded_to: None,
            volatile: BTreeMap::new(),
            paging: None,
            late: Vec::new(),
            windows: 1,
        }
    }

    /// Offers in memory.
    pub(super) fn len(&self) -> usize {
        self.offers.iter().map(BTreeMap::len).sum()
    }

    /// Offers in memory of one side.
    pub(super) fn len_of(&self, side: Side) -> usize {
        self.offers[side as usize].len()
    }

    /// Offers in memory of one side and level, and when the oldest of them was offered.
    pub(super) fn level_of(&self, side: Side, level: u8) -> (u64, Option<Timestamp>) {
        let here = self.offers[side as usize].iter().filter(|(place, _)| place.level() == level);
        here.fold((0, None), |(count, oldest), (_, queued)| (count + 1, oldest.into_iter().chain([queued.offer.offered]).min()))
    }

    /// Neither here nor in the store is anything.
    pub(super) fn is_empty(&self) -> bool {
        self.loaded_to.is_none() && self.offers.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn is_paging(&self) -> bool {
        self.paging.is_some()
    }

    pub(super) fn is_paged_for(&self, claim: Claim) -> bool {
        self.paging == Some(claim)
    }

    /// Where the window ends, if the store holds more.
    pub(super) fn end(&self) -> Option<Place> {
        self.loaded_to
    }

    /// All in memory has gone while the store has more: what is first is not known. At best it is of this level.
    pub(super) fn unread_level(&self) -> Option<u8> {
        self.loaded_to.filter(|_| self.offers.iter().all(BTreeMap::is_empty)).map(|to| to.level())
    }

    pub(super) fn first(&self, side: Side) -> Option<(&Place, &Queued)> {
        self.offers[side as usize].first_key_value()
    }

    fn contains(&self, place: &Place) -> bool {
        self.offers.iter().any(|offers| offers.contains_key(place))
    }

    fn age_of(place: &Place, queued: &Queued) -> (u8, Timestamp, RunId, i64) {
        (place.level(), queued.offer.offered, place.run, place.scheduled_event_id)
    }

    fn left(&mut self, place: &Place, queued: &Queued, levels: &mut Levels) {
        levels.leave(place.level());
        if let Some(ages) = &mut self.ages {
            ages.remove(&Self::age_of(place, queued));
        }
    }

    /// The last place in memory.
    fn last(&self) -> Option<(Side, Place)> {
        let last = |side: Side| self.offers[side as usize].last_key_value().map(|(place, _)| (side, *place));
        [last(Side::Current), last(Side::Ramp)].into_iter().flatten().max_by_key(|(_, place)| *place)
    }

    /// Adds an offer in its place. One behind the window stays in the store only; the window may push its last out. Of those
    /// that no store has as many are kept as the window holds: one more is left to its timeout.
    pub(super) fn insert(&mut self, queued: Queued, side: Side, window_max: usize, levels: &mut Levels, now: Timestamp) {
        let window_max = window_max * self.windows;
        let place = Place::of(&queued.row);
        if self.loaded_to.is_some_and(|to| place > to) {
            if queued.offer.volatile {
                self.keep_volatile(place, queued, window_max, levels, now);
                return;
            }
            levels.store(place.level(), queued.offer.offered, now);
            if self.is_paging() {
                self.late.push(queued);
            }
            return;
        }
        let age = Self::age_of(&place, &queued);
        match self.offers[side as usize].entry(place) {
            // One that comes back late: the task's next attempt has its place.
            Entry::Occupied(known) if is_newer(known.get().offer.stamp, queued.offer.stamp) => return,
            Entry::Occupied(mut known) => {
                let before = known.insert(queued);
                if let Some(ages) = &mut self.ages {
                    ages.remove(&Self::age_of(&place, &before));
                    ages.insert(age);
                }
            }
            Entry::Vacant(free) => {
                free.insert(queued);
                levels.enter(place.level(), now);
                if let Some(ages) = &mut self.ages {
                    ages.insert(age);
                }
            }
        }
        while self.len() > window_max {
            if let Some((side, place)) = self.last()
                && let Some(queued) = self.offers[side as usize].remove(&place)
            {
                self.left(&place, &queued, levels);
                if queued.offer.volatile {
                    self.keep_volatile(place, queued, window_max, levels, now);
                } else {
                    levels.store(place.level(), queued.offer.offered, now);
                }
            }
            self.loaded_to = self.last().map(|(_, place)| place);
        }
    }

    fn keep_volatile(&mut self, place: Place, queued: Queued, window_max: usize, levels: &mut Levels, now: Timestamp) {
        let offered = queued.offer.offered;
        if self.volatile.len() < window_max && self.volatile.insert(place, queued).is_none() {
            levels.store(place.level(), offered, now);
        }
    }

    /// Takes in what was read from the store, which reaches to `read_to` (`None`: to the end).
    pub(super) fn take_page(
        &mut self,
        page: impl Iterator<Item = Queued>,
        read_to: Option<Place>,
        route: Option<&Route>,
        window_max: usize,
        levels: &mut Levels,
        now: Timestamp,
    ) {
        self.loaded_to = read_to;
        let late = std::mem::take(&mut self.late);
        let behind = read_to.map(|to| self.volatile.split_off(&to)).unwrap_or_default();
        let reached = std::mem::replace(&mut self.volatile, behind);
        for queued in page.chain(late).chain(reached.into_values()) {
            let place = Place::of(&queued.row);
            if !self.contains(&place) {
                levels.unstore(place.level());
            }
            let side = routes::side(route, &queued.offer);
            self.insert(queued, side, window_max, levels, now);
        }
    }

    /// Takes an offer out of memory.
    pub(super) fn pop(&mut self, side: Side, place: &Place, levels: &mut Levels) -> Option<Queued> {
        let queued = self.offers[side as usize].remove(place)?;
        self.left(place, &queued, levels);
        if self.offers.iter().all(BTreeMap::is_empty) {
            self.windows = 1;
        }
        Some(queued)
    }

    /// Forgets an offer. True when it was in memory.
    pub(super) fn remove(&mut self, place: &Place, levels: &mut Levels) -> bool {
        for side in [Side::Current, Side::Ramp] {
            if let Some(queued) = self.offers[side as usize].remove(place) {
                self.left(place, &queued, levels);
                return true;
            }
        }
        self.volatile.remove(place);
        if self.loaded_to.is_some_and(|to| *place > to) {
            levels.unstore(place.level());
        }
        false
    }

    /// Forgets the offers that are not to stay, as far as they are in memory; those that are in the store only are left out when they
    /// are read. Gives how many were in the window.
    pub(super) fn retain(&mut self, stays: impl Fn(&Offer) -> bool, levels: &mut Levels) -> usize {
        let mut gone = 0;
        for side in [Side::Current, Side::Ramp] {
            let leaving: Vec<Place> =
                self.offers[side as usize].iter().filter(|(_, queued)| !stays(&queued.offer)).map(|(place, _)| *place).collect();
            for place in leaving {
                gone += usize::from(self.pop(side, &place, levels).is_some());
            }
        }
        self.volatile.retain(|place, queued| {
            let stays = stays(&queued.offer);
            if !stays {
                levels.unstore(place.level());
            }
            stays
        });
        self.late.retain(|queued| {
            let stays = stays(&queued.offer);
            if !stays {
                levels.unstore(queued.row.level());
            }
            stays
        });
        gone
    }

    /// When the oldest in memory of a level was offered.
    pub(super) fn oldest(&self, level: u8) -> Option<Timestamp> {
        if let Some(ages) = &self.ages {
            let first = ages.range((level, Timestamp(i64::MIN), RunId::default(), i64::MIN)..).next();
            return first.filter(|(of, ..)| *of == level).map(|(_, offered, ..)| *offered);
        }
        let first = |offers: &BTreeMap<Place, Queued>| {
            let (place, _) = offers.range(Place::first(level)..).next()?;
            (place.priority == level).then_some(place.time)
        };
        self.offers.iter().filter_map(first).min()
    }

    /// The route is another now.
    pub(super) fn split(&mut self, route: Option<&Route>) {
        self.windows = 1;
        let [mut current, ramp] = std::mem::take(&mut self.offers);
        current.extend(ramp);
        for (place, queued) in current {
            self.offers[routes::side(route, &queued.offer) as usize].insert(place, queued);
        }
    }

    /// All that is in memory only or as well.
    pub(super) fn into_offers(self) -> impl Iterator<Item = Queued> {
        let [current, ramp] = self.offers;
        current.into_values().chain(ramp.into_values()).chain(self.volatile.into_values())
    }

    /// One side of a ramp fills the window, and the other may be behind it: the window grows.
    fn starves(&mut self, has_two_sides: bool, window_max: usize) -> bool {
        let full = self.loaded_to.is_some() && self.len() >= self.windows * window_max;
        let grows = has_two_sides && full && self.offers.iter().any(BTreeMap::is_empty) && self.windows < WINDOWS_MAX;
        self.windows += usize::from(grows);
        grows
    }

    /// Whether it runs low while the store has more; marks it as being paged, for this claim.
    pub(super) fn claim_page(&mut self, claim: Claim, has_two_sides: bool, window_max: usize) -> bool {
        let low = self.len() < (window_max / 4).max(1) || self.starves(has_two_sides, window_max);
        let claimed = low && self.loaded_to.is_some() && self.paging.is_none();
        if claimed {
            self.paging = Some(claim);
        }
        claimed
    }

    /// The page that was claimed has been read, or could not be. True: it begins where the window still ends. One of another claim, of
    /// before the queue was put away and came again, is nothing to this window.
    pub(super) fn page_read(&mut self, claim: Claim, start: Option<Place>, failed: bool) -> bool {
        if !self.is_paged_for(claim) {
            return false;
        }
        self.paging = None;
        let usable = !failed && self.loaded_to == start;
        if !usable {
            self.late.clear();
        }
        usable
    }
}
