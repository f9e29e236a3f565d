//! What a caller may do: roles in namespaces, in all of them, and Nexus endpoints that may be called.
//!
//! | role | may | includes |
//! |---|---|---|
//! | `read` | look at everything, change nothing | |
//! | `worker` | take tasks, complete them, read the histories of its runs | |
//! | `write` | start, signal, cancel, reset, schedule … | `read`, `worker` |
//! | `admin` | change the namespace: settings, search attributes, rates of its task queues | all |

use std::collections::{BTreeMap, BTreeSet};

/// The namespace that stands for all of them and for the server itself, and what Temporal's server calls it.
const EVERYWHERE: &str = "*";
const SYSTEM: &str = "temporal-system";
const NEXUS: &str = "nexus";

/// A set of things that a caller may do; one bit for each kind of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles(u8);

impl Roles {
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WORKER: Self = Self(2);
    pub(crate) const WRITE: Self = Self(4);
    pub(crate) const ADMIN: Self = Self(8);
    pub(crate) const READ_OR_WORKER: Self = Self(1 | 2);

    /// All that a role of this name includes.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::READ,
            "worker" => Self::WORKER,
            "write" => Self(1 | 2 | 4),
            "admin" => Self(1 | 2 | 4 | 8),
            _ => return None,
        })
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if any of the others is among these.
    pub(crate) fn any_of(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// The fewest names that say the same.
    fn names(self) -> &'static [&'static str] {
        match self.0 {
            0 => &[],
            1 => &["read"],
            2 => &["worker"],
            3 => &["read", "worker"],
            bits if bits & 8 != 0 => &["admin"],
            _ => &["write"],
        }
    }
}

/// Why a text is no grant. For who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no grant; write NAMESPACE:ROLE with the role read, worker, write or admin, *:ROLE for all namespaces and the server, or ENDPOINT:nexus"
)]
pub(crate) struct NoGrant(String);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// In every namespace, and for the server itself.
    everywhere: Roles,
    namespaces: BTreeMap<String, Roles>,
    /// Nexus endpoints that may be called whatever namespace they lead to.
    endpoints: BTreeSet<String>,
}

impl Grants {
    /// Adds one grant.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), NoGrant> {
        let no_grant = || NoGrant(text.to_owned());
        // A namespace can have colons in its name.
        let (subject, role) = text.rsplit_once(':').filter(|(subject, _)| !subject.is_empty()).ok_or_else(no_grant)?;
        if role == NEXUS && subject != EVERYWHERE {
            self.endpoints.insert(subject.to_owned());
            return Ok(());
        }
        let roles = Roles::named(role).ok_or_else(no_grant)?;
        let known = match subject {
            EVERYWHERE | SYSTEM => &mut self.everywhere,
            namespace => self.namespaces.entry(namespace.to_owned()).or_default(),
        };
        *known = known.union(roles);
        Ok(())
    }

    /// All of these.
    pub(crate) fn of<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, NoGrant> {
        let mut grants = Self::default();
        texts.into_iter().try_for_each(|text| grants.add(text.as_ref()))?;
        Ok(grants)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.everywhere = self.everywhere.union(other.everywhere);
        for (namespace, roles) in &other.namespaces {
            let known = self.namespaces.entry(namespace.clone()).or_default();
            *known = known.union(*roles);
        }
        self.endpoints.extend(other.endpoints.iter().cloned());
    }

    /// True if the caller may do any of these to the server itself, and so in every namespace.
    pub(crate) fn everywhere(&self, any_of: Roles) -> bool {
        self.everywhere.any_of(any_of)
    }

    /// True if the caller may do any of these in a namespace.
    pub(crate) fn within(&self, namespace: &str, any_of: Roles) -> bool {
        self.everywhere(any_of) || self.namespaces.get(namespace).is_some_and(|roles| roles.any_of(any_of))
    }

    /// True if the caller may call a Nexus endpoint; what it leads to is for the caller to have looked at.
    pub(crate) fn endpoint(&self, name: &str) -> bool {
        self.endpoints.contains(name)
    }

    /// As texts, each once.
    pub(crate) fn texts(&self) -> Vec<String> {
        let in_namespaces = self.namespaces.iter().map(|(namespace, roles)| (namespace.as_str(), *roles));
        let roles = std::iter::once((EVERYWHERE, self.everywhere)).chain(in_namespaces);
        let texts = roles.flat_map(|(subject, roles)| roles.names().iter().map(move |role| format!("{subject}:{role}")));
        texts.chain(self.endpoints.iter().map(|endpoint| format!("{endpoint}:{NEXUS}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_others() {
        let may = |role: &str| {
            let roles = Roles::named(role).unwrap();
            [Roles::READ, Roles::WORKER, Roles::WRITE, Roles::ADMIN, Roles::READ_OR_WORKER].map(|other| roles.any_of(other))
        };
        assert_eq!(may("read"), [true, false, false, false, true]);
        assert_eq!(may("worker"), [false, true, false, false, true]);
        assert_eq!(may("write"), [true, true, true, false, true]);
        assert_eq!(may("admin"), [true; 5]);
        assert_eq!(Roles::named("owner"), None);
    }

    #[test]
    fn grants_are_of_a_namespace_or_of_all() {
        let grants = Grants::of(["orders:write", "a:b:read", "billing:nexus", "temporal-system:read"]).unwrap();
        assert!(grants.within("orders", Roles::WRITE) && !grants.within("orders", Roles::ADMIN));
        assert!(grants.within("a:b", Roles::READ) && grants.within("other", Roles::READ) && grants.everywhere(Roles::READ));
        assert!(!grants.within("a:b", Roles::WRITE) && !grants.within("billing", Roles::WRITE) && !grants.everywhere(Roles::WRITE));
        assert!(grants.endpoint("billing") && !grants.endpoint("orders"));
        assert_eq!(grants.texts(), ["*:read", "a:b:read", "orders:write", "billing:nexus"]);
        let mut more = Grants::of(["orders:read", "x:worker", "x:read"]).unwrap();
        more.join(&grants);
        assert_eq!(more.texts(), ["*:read", "a:b:read", "orders:write", "x:read", "x:worker", "billing:nexus"]);
        for text in ["", "orders", "orders:", ":read", "orders:owner", "*:nexus", "orders:READ"] {
            assert!(Grants::of([text]).is_err(), "{text}");
        }
    }
}
