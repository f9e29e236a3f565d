//! What commands about other workflows have in common.

use alloc::{format, string::String};

use crate::{RunId, state::ExternalKind, step::Step};

/// The text for a namespace that is not the run's own; an empty one is.
pub(super) fn own_namespace(step: &Step<'_, '_>, namespace: &str) -> Result<(), &'static str> {
    if namespace.is_empty() || namespace == step.cx.namespace.name {
        Ok(())
    } else if step.cx.limits.cross_namespace_commands {
        // The setting is known, delivery to other namespaces is not built.
        Err("commands to other namespaces are not supported by this server")
    } else {
        Err("cross namespace commands are not allowed")
    }
}

/// Empty (the current run) or a UUID.
pub(super) fn is_run_id(run_id: &str) -> bool {
    run_id.is_empty() || RunId::parse(run_id).is_some()
}

/// Pending requests of a kind without those whose answer waits in the buffer.
pub(super) fn pending(step: &Step<'_, '_>, kind: ExternalKind) -> usize {
    let state = &step.run.state;
    let of_kind = state.derived.externals.values().filter(|e| e.kind() == kind);
    if state.progress.buffer.is_empty() {
        return of_kind.count();
    }
    of_kind.filter(|e| !state.progress.buffer.answers_external(e.initiated_event_id)).count()
}

/// Name and id of the run's namespace, for events.
pub(super) fn namespace(step: &Step<'_, '_>) -> (String, String) {
    (step.cx.namespace.name.clone(), format!("{}", step.cx.namespace.id))
}
