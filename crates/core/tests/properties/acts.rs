//! What can happen to a world, as data: small numbers pick among what is there, so that cases shrink well.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, any},
    prop_oneof,
    strategy::Strategy,
};

/// Which options a start, a child or a successor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    Plain,
    Cron,
    Retry,
    Delay,
    RunTimeout,
    ExecutionTimeout,
    RetryAndRunTimeout,
    Eager,
    /// Skips time.
    Skips,
    /// Goes fast forward by 20 seconds.
    FastForward,
    Bad,
}

/// Which timeouts and retries an activity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Plain,
    Retried,
    RetriedTwice,
    Heartbeats,
    Queued,
    Hurried,
    Eager,
    Bad,
}

/// A command of a completion.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Activity { id: u8, work: Work },
    CancelActivity(Option<u8>),
    Timer { id: u8, seconds: u8 },
    CancelTimer(u8),
    Child { id: u8, policy: u8, reuse: u8, flavor: Flavor },
    SignalExternal { id: u8, child_only: bool, known_run: bool },
    CancelExternal { id: u8, child_only: bool },
    Marker,
    Memo,
    Search,
    Broken,
    Complete,
    Fail { retryable: bool },
    Cancel,
    ContinueAsNew { flavor: Flavor },
}

/// How a completion is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub sticky: bool,
    pub more: bool,
    pub inline: bool,
    pub answers: bool,
    pub updates: Verdict,
}

/// What a worker says of the updates that its task brings, and of those accepted before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Verdict {
    #[default]
    Silence,
    Rejected,
    Accepted,
    Completed,
    /// Completes what it never accepted.
    Confused,
}

/// How an activity's worker names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Token(u8),
    Id { workflow: u8, id: u8 },
}

/// What a worker says about an activity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Done,
    Failed { retryable: bool },
    Canceled,
    Alive,
}

/// What an operator does to activities.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Pause,
    Unpause { reset: bool },
    Reset { keep_paused: bool },
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Heard,
    Unheard,
    Twice,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Start {
        id: u8,
        flavor: Flavor,
        reuse: u8,
        conflict: u8,
        request: Option<u8>,
    },
    SignalWithStart {
        id: u8,
        flavor: Flavor,
        conflict: u8,
        request: Option<u8>,
        signal: Option<u8>,
    },
    Signal {
        id: u8,
        request: Option<u8>,
    },
    RequestCancel {
        id: u8,
    },
    Terminate {
        id: u8,
    },
    PollWorkflow(u8),
    PollObsolete(u8),
    PollAgain(u8),
    Complete {
        task: u8,
        orders: Vec<Order>,
        close: Option<Order>,
        manner: Manner,
    },
    /// Poll and complete at once.
    Serve {
        offer: u8,
        orders: Vec<Order>,
        close: Option<Order>,
        manner: Manner,
    },
    FailTask(u8),
    PollActivity(u8),
    Activity {
        named: Named,
        said: Said,
    },
    Deliver {
        message: u8,
        fate: Fate,
    },
    Query {
        id: u8,
        reject: u8,
    },
    DropQuery(u8),
    Update {
        id: u8,
        update: u8,
    },
    /// Sets how the run skips time: not at all, on, off, fast forward.
    Skip {
        id: u8,
        how: u8,
    },
    /// Sets the run's priority, or takes it away (0).
    Prioritize {
        id: u8,
        level: u8,
    },
    Pause {
        id: u8,
    },
    Unpause {
        id: u8,
    },
    /// An operator's call about activities.
    Operate {
        id: u8,
        which: Option<u8>,
        how: Operation,
    },
    /// `run` counts the runs of the workflow from the latest, `back` its completed tasks (even) or events (odd) from the end.
    Reset {
        id: u8,
        run: u8,
        back: u8,
    },
    ResetSticky {
        id: u8,
    },
    Advance {
        millis: u32,
    },
    Sleep {
        millis: u32,
    },
    WakeEarly(u8),
    Restart,
}

fn flavor() -> impl Strategy<Value = Flavor> {
    prop_oneof![
        6 => Just(Flavor::Plain),
        1 => Just(Flavor::Cron),
        1 => Just(Flavor::Retry),
        1 => Just(Flavor::Delay),
        2 => Just(Flavor::RunTimeout),
        1 => Just(Flavor::ExecutionTimeout),
        1 => Just(Flavor::RetryAndRunTimeout),
        1 => Just(Flavor::Eager),
        2 => Just(Flavor::Skips),
        1 => Just(Flavor::FastForward),
    ]
}

fn any_flavor() -> impl Strategy<Value = Flavor> {
    prop_oneof![9 => flavor(), 1 => Just(Flavor::Bad)]
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        3 => Just(Work::Plain),
        2 => Just(Work::Retried),
        1 => Just(Work::RetriedTwice),
        1 => Just(Work::Heartbeats),
        1 => Just(Work::Queued),
        1 => Just(Work::Hurried),
        2 => Just(Work::Eager),
        1 => Just(Work::Bad),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        6 => (0..3u8, work()).prop_map(|(id, work)| Order::Activity { id, work }),
        4 => option::weighted(0.95, 0..3u8).prop_map(Order::CancelActivity),
        4 => (0..3u8, 1..20u8).prop_map(|(id, seconds)| Order::Timer { id, seconds }),
        5 => (0..3u8).prop_map(Order::CancelTimer),
        4 => (0..5u8, 0..4u8, 0..5u8, any_flavor()).prop_map(|(id, policy, reuse, flavor)| Order::Child { id, policy, reuse, flavor }),
        2 => (0..5u8, any::<bool>(), any::<bool>())
            .prop_map(|(id, child_only, known_run)| Order::SignalExternal { id, child_only, known_run }),
        2 => (0..5u8, any::<bool>()).prop_map(|(id, child_only)| Order::CancelExternal { id, child_only }),
        1 => Just(Order::Marker),
        1 => Just(Order::Memo),
        1 => Just(Order::Search),
        1 => Just(Order::Broken),
    ]
}

fn close() -> impl Strategy<Value = Order> {
    prop_oneof![
        3 => Just(Order::Complete),
        2 => any::<bool>().prop_map(|retryable| Order::Fail { retryable }),
        1 => Just(Order::Cancel),
        2 => any_flavor().prop_map(|flavor| Order::ContinueAsNew { flavor }),
    ]
}

fn manner() -> impl Strategy<Value = Manner> {
    let one_in_four = || prop_oneof![3 => Just(false), 1 => Just(true)];
    (one_in_four(), one_in_four(), one_in_four(), any::<bool>(), verdict()).prop_map(|(sticky, more, inline, answers, updates)| Manner {
        sticky,
        more,
        inline,
        answers,
        updates,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        2 => Just(Verdict::Silence),
        2 => Just(Verdict::Rejected),
        3 => Just(Verdict::Accepted),
        4 => Just(Verdict::Completed),
        1 => Just(Verdict::Confused),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::Pause),
        2 => any::<bool>().prop_map(|reset| Operation::Unpause { reset }),
        1 => any::<bool>().prop_map(|keep_paused| Operation::Reset { keep_paused }),
    ]
}

fn named() -> impl Strategy<Value = Named> {
    prop_oneof![4 => recent().prop_map(Named::Token), 1 => (0..5u8, 0..3u8).prop_map(|(workflow, id)| Named::Id { workflow, id })]
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => Just(Said::Done),
        3 => any::<bool>().prop_map(|retryable| Said::Failed { retryable }),
        4 => Just(Said::Canceled),
        2 => Just(Said::Alive),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![5 => Just(Fate::Heard), 2 => Just(Fate::Unheard), 1 => Just(Fate::Twice)]
}

/// Mostly the latest of something.
fn recent() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0u8), 2 => Just(1u8), 1 => 0..12u8]
}

/// One thing that happens.
pub(crate) fn act() -> impl Strategy<Value = Act> {
    let request = || option::weighted(0.5, 0..3u8);
    prop_oneof![
        5 => (0..3u8, any_flavor(), 0..5u8, 0..4u8, request())
            .prop_map(|(id, flavor, reuse, conflict, request)| Act::Start { id, flavor, reuse, conflict, request }),
        2 => (0..3u8, any_flavor(), 0..4u8, request(), request())
            .prop_map(|(id, flavor, conflict, request, signal)| Act::SignalWithStart { id, flavor, conflict, request, signal }),
        5 => (0..5u8, request()).prop_map(|(id, request)| Act::Signal { id, request }),
        2 => (0..5u8).prop_map(|id| Act::RequestCancel { id }),
        1 => (0..5u8).prop_map(|id| Act::Terminate { id }),
        10 => any::<u8>().prop_map(Act::PollWorkflow),
        1 => any::<u8>().prop_map(Act::PollObsolete),
        1 => recent().prop_map(Act::PollAgain),
        10 => (recent(), vec(order(), 0..4), option::weighted(0.2, close()), manner())
            .prop_map(|(task, orders, close, manner)| Act::Complete { task, orders, close, manner }),
        18 => (any::<u8>(), vec(order(), 0..4), option::weighted(0.2, close()), manner())
            .prop_map(|(offer, orders, close, manner)| Act::Serve { offer, orders, close, manner }),
        2 => recent().prop_map(Act::FailTask),
        8 => any::<u8>().prop_map(Act::PollActivity),
        8 => (named(), said()).prop_map(|(named, said)| Act::Activity { named, said }),
        12 => (any::<u8>(), fate()).prop_map(|(message, fate)| Act::Deliver { message, fate }),
        2 => (0..5u8, 0..4u8).prop_map(|(id, reject)| Act::Query { id, reject }),
        1 => any::<u8>().prop_map(Act::DropQuery),
        6 => (0..5u8, 0..4u8).prop_map(|(id, update)| Act::Update { id, update }),
        2 => (0..5u8, 0..4u8).prop_map(|(id, how)| Act::Skip { id, how }),
        1 => (0..5u8, 0..4u8).prop_map(|(id, level)| Act::Prioritize { id, level }),
        1 => (0..5u8).prop_map(|id| Act::Pause { id }),
        2 => (0..5u8).prop_map(|id| Act::Unpause { id }),
        3 => (0..5u8, option::weighted(0.8, 0..3u8), operation()).prop_map(|(id, which, how)| Act::Operate { id, which, how }),
        3 => (0..3u8, 0..2u8, 0..8u8).prop_map(|(id, run, back)| Act::Reset { id, run, back }),
        1 => (0..5u8).prop_map(|id| Act::ResetSticky { id }),
        5 => (1..20_000u32).prop_map(|millis| Act::Advance { millis }),
        1 => (1..90_000u32).prop_map(|millis| Act::Advance { millis }),
        2 => (1..20_000u32).prop_map(|millis| Act::Sleep { millis }),
        1 => any::<u8>().prop_map(Act::WakeEarly),
        1 => Just(Act::Restart),
    ]
}
