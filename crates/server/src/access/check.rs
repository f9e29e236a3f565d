//! What a request's message must not name: a namespace in which its caller may not do this, one that it reaches beyond.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use sempre_engine::LeadsTo;
use tonic::Status;

use super::{
    Access, Caller, Roles, Seen, scan,
    table::{Need, Other, Rule},
};

/// See the module.
pub(crate) struct Check {
    access: Access,
    rule: Arc<Rule>,
    caller: Arc<Caller>,
    /// Where the message is kept, to be looked at again when the caller's grants change.
    seen: Seen,
}

impl Check {
    pub(super) fn new(access: Access, rule: Arc<Rule>, caller: Arc<Caller>, seen: Seen) -> Self {
        Self { access, rule, caller, seen }
    }

    /// Refuses a message (without the prefix of its frame).
    pub(crate) fn message(&self, message: &Bytes) -> Result<(), Status> {
        match self.allows(message) {
            Ok(true) => {
                // A call that sends a second one is the codec's to refuse.
                let _ = self.seen.set(message.clone());
                Ok(())
            }
            // What cannot be read cannot be allowed.
            Ok(false) | Err(scan::Malformed) => Err(self.access.refuse("")),
        }
    }

    pub(super) fn allows(&self, message: &[u8]) -> Result<bool, scan::Malformed> {
        let Need::Namespace(roles) = self.rule.need else { return Ok(true) };
        let grants = &self.caller.grants;
        let everywhere = grants.everywhere(roles);
        if everywhere && (self.rule.reaching.is_empty() || grants.everywhere(Roles::WRITE)) {
            return Ok(true);
        }
        let own = self.named(message)?;
        if !everywhere && (own.is_empty() || !own.iter().all(|namespace| grants.within(namespace, roles))) {
            return Ok(false);
        }
        for (path, other) in &self.rule.reaching {
            let mut allowed = true;
            scan::strings(message, path, &mut |name| {
                let name = String::from_utf8_lossy(name);
                let is_own = own.contains(&name);
                let reachable = match other {
                    // An empty name is the request's own namespace.
                    Other::Namespace => name.is_empty() || is_own || grants.within(&name, Roles::WRITE),
                    Other::Endpoint => grants.endpoint(&name) || self.may_call(&name, &own),
                };
                allowed &= reachable;
            })?;
            if !allowed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An endpoint that leads out of this server, or nowhere, reaches no namespace here.
    fn may_call(&self, endpoint: &str, own: &[Cow<'_, str>]) -> bool {
        match self.access.0.engine.endpoint_named(endpoint) {
            Some(LeadsTo::Namespace(namespace)) => {
                own.iter().any(|own| *own == namespace) || self.caller.grants.within(&namespace, Roles::WRITE)
            }
            Some(LeadsTo::Elsewhere) | None => true,
        }
    }

    /// All namespaces that the message can be read as being about; none, if one of them cannot be found out.
    fn named<'m>(&self, message: &'m [u8]) -> Result<Vec<Cow<'m, str>>, scan::Malformed> {
        let engine = &self.access.0.engine;
        let (mut named, mut left_out, mut unknown) = (Vec::new(), true, false);
        if let Some(path) = &self.rule.name {
            let mut last_is_empty = true;
            scan::strings(message, path, &mut |name| {
                last_is_empty = name.is_empty();
                named.extend((!name.is_empty()).then(|| String::from_utf8_lossy(name)));
            })?;
            left_out = last_is_empty;
        }
        if let Some(path) = &self.rule.id {
            scan::strings(message, path, &mut |id| {
                if !id.is_empty() {
                    let name = std::str::from_utf8(id).ok().and_then(|id| engine.namespace_with_id(id));
                    unknown |= name.is_none();
                    named.extend(name.map(Cow::Owned));
                }
            })?;
        }
        if let Some(path) = self.rule.token.as_ref().filter(|_| left_out) {
            scan::strings(message, path, &mut |token| {
                let names = engine.namespaces_of_token(&Bytes::copy_from_slice(token));
                unknown |= names.is_empty();
                named.extend(names.into_iter().map(Cow::Owned));
            })?;
        }
        if unknown {
            named.clear();
        }
        Ok(named)
    }
}
