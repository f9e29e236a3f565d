//! Conditions on what is not a fact of a run but of its task queue, now: whether workers poll it, how old its backlog is.
//!
//! Such facts change while the run does not, so no record has them. A filter that asks for them is turned into one that
//! asks for the task queues of which it is true at this moment; only open runs have them. A queue that nobody polls and
//! nothing waits on has no pollers, and no age.
//!
//! | of a run whose queue says | the condition becomes |
//! |---|---|
//! | true | open, and one of the queues |
//! | false or neither, where only true counts | the same: false |
//! | false or neither, inside of NOT | true, false or neither, each by the queues for which it is so |

use std::collections::BTreeMap;

use bytes::Bytes;
use sempre_api::{
    sempre::v1::{ListPolledQueuesRequest, ListPolledQueuesResponse, PolledQueue},
    v1::common::Payload,
};
use sempre_core::{
    NamespaceId, Refusal, Span, Timestamp,
    transition::{QueueKind, QueueName},
    visibility::{AttributeType, Comparison, Field, Filter, QUEUE_BACKLOG_AGE, QUEUE_POLLERS, Query, Record, SystemField, Value},
};

use crate::Engine;

/// How long a queue's oldest task waits before describe shows it: a run that is well has no such attributes.
const HURTS_AFTER: Span = Span::seconds(60);

/// The attributes of one queue.
fn attributes(pollers: usize, oldest: Option<Timestamp>, now: Timestamp) -> BTreeMap<String, Payload> {
    let number = |n: i64| Payload {
        metadata: [("encoding", "json/plain"), ("type", AttributeType::Int.name())]
            .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())))
            .into(),
        data: n.to_string().into_bytes().into(),
        ..Payload::default()
    };
    let mut all = BTreeMap::from([(QUEUE_POLLERS.to_owned(), number(i64::try_from(pollers).unwrap_or(i64::MAX)))]);
    if let Some(oldest) = oldest {
        all.insert(QUEUE_BACKLOG_AGE.to_owned(), number(now.since(oldest).0.max(0) / 1_000_000_000));
    }
    all
}

/// What the queues of a namespace say, as records that filters can look at.
struct Facts {
    queues: BTreeMap<String, Record>,
    /// Any other queue.
    other: Record,
}

fn field(filter: &Filter) -> Option<&Field> {
    match filter {
        Filter::And(_) | Filter::Or(_) | Filter::Not(_) => None,
        Filter::Compare(field, ..)
        | Filter::In { field, .. }
        | Filter::Between { field, .. }
        | Filter::IsNull { field, .. }
        | Filter::StartsWith { field, .. } => Some(field),
    }
}

fn is_live(filter: &Filter) -> bool {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().any(is_live),
        Filter::Not(inner) => is_live(inner),
        predicate => field(predicate).is_some_and(|field| [QUEUE_POLLERS, QUEUE_BACKLOG_AGE].contains(&field.name())),
    }
}

fn evaluate(predicate: &Filter, record: &Record) -> Option<bool> {
    if predicate.matches(record) {
        return Some(true);
    }
    Filter::Not(Box::new(predicate.clone())).matches(record).then_some(false)
}

impl Facts {
    /// Open runs for whose queue the predicate is `wanted`.
    fn those(&self, predicate: &Filter, wanted: bool) -> Filter {
        let others = evaluate(predicate, &self.other) == Some(wanted);
        let named = self.queues.iter().filter(|(_, facts)| (evaluate(predicate, facts) == Some(wanted)) != others);
        let values: Vec<Value> = named.map(|(name, _)| Value::Keyword(name.clone())).collect();
        let queues = match (values.is_empty(), others) {
            (true, true) => Filter::And(Vec::new()),
            (true, false) => Filter::Or(Vec::new()),
            (false, negated) => Filter::In { field: Field::System(SystemField::TaskQueue), values, negated },
        };
        Filter::And(vec![Filter::IsNull { field: Field::System(SystemField::CloseTime), negated: false }, queues])
    }

    /// The filter without live conditions. `only_true`: false and neither are the same to who asks.
    fn fixed(&self, filter: Filter, only_true: bool) -> Filter {
        match filter {
            Filter::And(all) => Filter::And(all.into_iter().map(|filter| self.fixed(filter, only_true)).collect()),
            Filter::Or(any) => Filter::Or(any.into_iter().map(|filter| self.fixed(filter, only_true)).collect()),
            Filter::Not(inner) => Filter::Not(Box::new(self.fixed(*inner, false))),
            predicate if !is_live(&predicate) => predicate,
            Filter::IsNull { field, negated: false } => {
                // True of closed runs, too.
                Filter::Not(Box::new(self.those(&Filter::IsNull { field, negated: true }, true)))
            }
            predicate if only_true || matches!(predicate, Filter::IsNull { .. }) => self.those(&predicate, true),
            predicate => {
                // An attribute that no run has.
                let neither = Field::Attribute { name: String::new(), kind: AttributeType::Keyword };
                let neither = Filter::Compare(neither, Comparison::Equal, Value::Keyword(String::new()));
                let (yes, no) = (self.those(&predicate, true), self.those(&predicate, false));
                let known = Filter::Or(vec![yes.clone(), no]);
                Filter::Or(vec![yes, Filter::And(vec![Filter::Not(Box::new(known)), neither])])
            }
        }
    }
}

impl Engine {
    /// `InspectService.ListPolledQueues`.
    pub fn list_polled_queues(&self, request: &ListPolledQueuesRequest) -> Result<ListPolledQueuesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let queues = self.shared.matching.workflow_queues(namespace.id()).into_iter().filter(|(_, pollers, _)| *pollers > 0);
        let queues = queues.map(|(name, pollers, _)| PolledQueue { name, pollers: i32::try_from(pollers).unwrap_or(i32::MAX) });
        Ok(ListPolledQueuesResponse { queues: queues.collect() })
    }

    /// A query whose live conditions are those of this moment.
    pub(super) fn as_of_now(&self, namespace: NamespaceId, mut query: Query) -> Query {
        query.filter = query.filter.map(|filter| {
            if !is_live(&filter) {
                return filter;
            }
            let now = self.shared.now();
            let record = |pollers, oldest| Record { search_attributes: attributes(pollers, oldest, now), ..Record::default() };
            let queues = self.shared.matching.workflow_queues(namespace).into_iter();
            let queues = queues.map(|(name, pollers, oldest)| (name, record(pollers, oldest))).collect();
            Facts { queues, other: record(0, None) }.fixed(filter, true)
        });
        query
    }

    /// What the workflow task queue of an open run says, as search attributes, when its tasks have waited for long.
    pub(super) fn queue_attributes(&self, namespace: NamespaceId, queue: &str) -> BTreeMap<String, Payload> {
        let now = self.shared.now();
        let name = QueueName { namespace, name: queue.to_owned(), kind: QueueKind::Workflow, sticky: false, version: None };
        let Some(view) = self.shared.matching.view(&name) else { return BTreeMap::new() };
        let oldest = view.levels.iter().filter_map(|level| level.oldest).min();
        match oldest {
            Some(oldest) if now.since(oldest) >= HURTS_AFTER => attributes(view.pollers.len(), Some(oldest), now),
            _ => BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sempre_core::visibility::{ParseOptions, parse};

    /// Of a run on one of three queues, open or closed: the fixed filter says what the plain one says of a record that has
    /// the facts.
    #[test]
    fn a_fixed_filter_says_what_the_facts_say() {
        let now = Timestamp(1_000_000_000_000);
        let facts = [("polled", 2, None), ("behind", 1, Some(Timestamp(400_000_000_000))), ("lost", 0, Some(Timestamp(990_000_000_000)))];
        let record = |pollers, oldest| Record { search_attributes: attributes(pollers, oldest, now), ..Record::default() };
        let queues: BTreeMap<_, _> = facts.iter().map(|(name, pollers, oldest)| ((*name).to_owned(), record(*pollers, *oldest))).collect();
        let facts = Facts { queues, other: record(0, None) };
        for text in [
            "SempreTaskQueuePollers = 0",
            "SempreTaskQueuePollers != 0",
            "NOT SempreTaskQueuePollers = 0",
            "SempreTaskQueueBacklogAge > 60",
            "NOT SempreTaskQueueBacklogAge > 60",
            "SempreTaskQueueBacklogAge NOT BETWEEN 5 AND 20",
            "NOT (SempreTaskQueueBacklogAge IN (10, 600) OR TaskQueue = 'polled')",
            "SempreTaskQueueBacklogAge IS NULL",
            "SempreTaskQueueBacklogAge IS NOT NULL AND SempreTaskQueuePollers = 0",
            "NOT (SempreTaskQueueBacklogAge IS NULL) OR WorkflowId = 'w'",
            "NOT (SempreTaskQueuePollers IS NOT NULL AND NOT SempreTaskQueueBacklogAge < 100)",
        ] {
            let filter = parse(text, &(), ParseOptions::default()).unwrap().filter.unwrap();
            let fixed = facts.fixed(filter.clone(), true);
            assert!(is_live(&filter) && !is_live(&fixed), "{text}");
            for queue in ["polled", "behind", "lost", "unknown"] {
                for close_time in [0, 7] {
                    let bare = Record { task_queue: queue.into(), close_time, ..Record::default() };
                    let says = facts.queues.get(queue).unwrap_or(&facts.other);
                    let search_attributes = if close_time == 0 { says.search_attributes.clone() } else { BTreeMap::new() };
                    let whole = Record { search_attributes, ..bare.clone() };
                    assert_eq!(fixed.matches(&bare), filter.matches(&whole), "{text} of {queue}, closed at {close_time}");
                }
            }
        }
    }
}
