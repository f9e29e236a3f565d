//! AccessService: API keys, and who the caller is (`crates/api/proto/sempre/v1/access.proto`).

use std::sync::Arc;

use sempre_api::sempre::v1::{
    ApiKeyInfo, CreateApiKeyRequest, CreateApiKeyResponse, DescribeCallerRequest, DescribeCallerResponse, ListApiKeysRequest,
    ListApiKeysResponse, RevokeApiKeyRequest, RevokeApiKeyResponse, access_service_server::AccessService,
};
use sempre_core::{Refusal, Timestamp};
use sempre_engine::ApiKey;
use tonic::Request;

use crate::{
    access::{Caller, Grants, keys},
    client_version,
    frontend::{Answer, Frontend, answer},
};

/// Characters of a key's name.
const NAME_MAX: usize = 200;
/// Grants of one key.
const GRANTS_MAX: usize = 100;
const OFF: &str = "this server asks nobody who he is, so a key would change nothing; start it with --admin-key-file or --auth-file";

fn info(id: String, key: &ApiKey) -> ApiKeyInfo {
    ApiKeyInfo {
        id,
        name: key.name.clone(),
        grants: key.grants.clone(),
        created_by: key.created_by.clone(),
        create_time: Some(Timestamp(key.created_at).to_api()),
        expire_time: (key.expires_at != 0).then(|| Timestamp(key.expires_at).to_api()),
    }
}

impl Frontend {
    /// Keys are managed where they count: whoever could make one beforehand would have it afterwards.
    fn manages_keys<R>(&self, request: &Request<R>) -> Result<String, tonic::Status> {
        client_version::check(request.metadata().as_ref())?;
        if self.access.is_none() {
            return Err(crate::status::from_refusal(Refusal::FailedPrecondition(OFF.into())));
        }
        Ok(request.extensions().get::<Arc<Caller>>().map_or_else(String::new, |caller| caller.name.to_string()))
    }

    async fn create_key(&self, request: CreateApiKeyRequest, created_by: String) -> Result<CreateApiKeyResponse, Refusal> {
        if request.name.chars().count() > NAME_MAX || request.name.chars().any(char::is_control) {
            return Err(Refusal::invalid(format!("the name of a key has at most {NAME_MAX} characters, and is one line")));
        }
        if request.grants.is_empty() || request.grants.len() > GRANTS_MAX {
            return Err(Refusal::invalid(format!("a key needs a grant, such as orders:write, and has at most {GRANTS_MAX}")));
        }
        let grants = Grants::of(&request.grants).map_err(|error| Refusal::invalid(error.to_string()))?.texts();
        let now = self.engine.wall_now();
        let expires_at = request.expire_time.as_ref().map_or(0, |time| Timestamp::from_api(time).0);
        if request.expire_time.is_some() && Timestamp(expires_at) <= now {
            return Err(Refusal::invalid("the key would have expired already"));
        }
        let secret = keys::new_key().ok_or_else(|| Refusal::Unavailable("the system gives no random bits".into()))?;
        let key = ApiKey { name: request.name, grants, created_by, created_at: now.0, expires_at };
        let id = self.engine.create_api_key(keys::hash(&secret), key.clone()).await?;
        Ok(CreateApiKeyResponse { key: Some(info(id, &key)), secret })
    }
}

#[tonic::async_trait]
impl AccessService for Frontend {
    async fn create_api_key(&self, request: Request<CreateApiKeyRequest>) -> Answer<CreateApiKeyResponse> {
        let by = self.manages_keys(&request)?;
        answer(self.create_key(request.into_inner(), by).await)
    }

    async fn list_api_keys(&self, request: Request<ListApiKeysRequest>) -> Answer<ListApiKeysResponse> {
        self.manages_keys(&request)?;
        let keys = self.engine.api_keys().into_iter().map(|(id, key)| info(id, &key)).collect();
        answer(Ok(ListApiKeysResponse { keys }))
    }

    async fn revoke_api_key(&self, request: Request<RevokeApiKeyRequest>) -> Answer<RevokeApiKeyResponse> {
        self.manages_keys(&request)?;
        let id = request.into_inner().id;
        let revoked = self.engine.revoke_api_key(&id).await;
        answer(revoked.map(|key| RevokeApiKeyResponse { key: Some(info(id, &key)) }))
    }

    async fn describe_caller(&self, request: Request<DescribeCallerRequest>) -> Answer<DescribeCallerResponse> {
        client_version::check(request.metadata().as_ref())?;
        let caller = request.extensions().get::<Arc<Caller>>();
        answer(Ok(DescribeCallerResponse {
            authenticated: caller.is_some(),
            caller: caller.map(|caller| caller.name.to_string()).unwrap_or_default(),
            grants: caller.map(|caller| caller.grants.texts()).unwrap_or_default(),
            expire_time: caller.and_then(|caller| caller.expires).map(Timestamp::to_api),
        }))
    }
}
