//! Limits of namespaces: calls that are counted, and how much is used.

use sempre_api::sempre::v1::{DescribeNamespaceLimitsRequest, DescribeNamespaceLimitsResponse, NamespaceLimit};
use sempre_core::{NamespaceId, Refusal};

use crate::{CallClass, Engine, LimitUse};

/// Namespaces that metrics tell apart.
const NAMESPACES_MAX: usize = 50;

/// What a namespace uses of what it may.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceUse {
    /// Its name.
    pub namespace: String,
    /// Each limit.
    pub limits: Vec<LimitUse>,
}

impl Engine {
    /// Whether there are rates, so that calls must be counted.
    pub fn has_rates(&self) -> bool {
        self.shared.settings.has_rates()
    }

    /// The namespace of that name, if there is one.
    pub fn namespace_named(&self, name: &str) -> Option<NamespaceId> {
        self.shared.namespaces.named(name)
    }

    /// A call of a namespace comes: counts it, or refuses it because there were too many. Of a namespace that is not known
    /// nothing is counted; the call will be told so.
    pub fn count_call(&self, namespace: &str, class: CallClass) -> Result<(), Refusal> {
        let rates = self.shared.settings.rates_of(namespace);
        let now = self.wall_now();
        self.shared.namespaces.with_usage(namespace, |usage| usage.call(class, rates, now)).unwrap_or(Ok(()))
    }

    /// What namespaces use, of at most 50.
    pub fn namespace_uses(&self) -> Vec<NamespaceUse> {
        let settings = &self.shared.settings;
        let now = self.wall_now();
        let uses = self.shared.namespaces.first(NAMESPACES_MAX).into_iter().map(|namespace| {
            let name = namespace.view.name.clone();
            let usage = self.shared.namespaces.usage(namespace.id());
            NamespaceUse { limits: usage.of_limits(settings.limits_of(&name), settings.rates_of(&name), now), namespace: name }
        });
        uses.collect()
    }

    /// `DescribeNamespaceLimits`.
    pub async fn describe_namespace_limits(
        &self,
        request: DescribeNamespaceLimitsRequest,
    ) -> Result<DescribeNamespaceLimitsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let settings = &self.shared.settings;
        let (limits, rates) = (settings.limits_of(&request.namespace), settings.rates_of(&request.namespace));
        let uses = self.shared.namespaces.usage(namespace.id()).of_limits(limits, rates, self.wall_now());
        let told = |of: LimitUse| NamespaceLimit {
            key: of.of.key().to_owned(),
            used: i64::try_from(of.used).unwrap_or(i64::MAX),
            max: of.max,
            burst: of.burst,
            refused: i64::try_from(of.refused).unwrap_or(i64::MAX),
        };
        Ok(DescribeNamespaceLimitsResponse { limits: uses.into_iter().map(told).collect() })
    }
}
