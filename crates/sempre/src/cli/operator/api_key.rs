//! `operator api-key …` and `operator whoami`.

use clap::{Args, Subcommand};
use sempre_api::{
    Duration, Timestamp,
    sempre::v1::{ApiKeyInfo, CreateApiKeyRequest, DescribeCallerRequest, ListApiKeysRequest, RevokeApiKeyRequest},
};

use crate::cli::{
    Failure,
    output::{Hue, Table},
    session::Session,
    values,
};

#[derive(Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Make a key; it is shown once
    Create(Create),
    /// List all keys, without what their owners hold
    List,
    /// Forget a key; who has it is refused from then on
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct Create {
    /// What the key is for
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it allows: NAMESPACE:ROLE with the role read, worker, write or admin, the namespace * being all of them and the server
    /// itself; ENDPOINT:nexus to call a Nexus endpoint. May be given several times
    #[arg(long, value_name = "GRANT", required = true)]
    grant: Vec<String>,
    /// How long it is good for [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    /// Until when it is good
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    expires_at: Option<Timestamp>,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// Id of the key, as `list` shows it
    id: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(session: &mut Session, command: ApiKeyCommand) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::Create(create) => {
            let expire_time = match create.expires_in {
                None => create.expires_at,
                Some(span) => Some(after(session.environment.now_millis(), &span)?),
            };
            let request = CreateApiKeyRequest { name: create.name, grants: create.grant, expire_time };
            let answer = session.client().await?.access.create_api_key(request).await?.into_inner();
            session.out.message(&answer)?;
            if session.out.is_text() {
                card(session, &answer.key.unwrap_or_default())?;
                session.out.line("")?;
                session.out.line_in(Hue::Good, format!("Key: {}", answer.secret))?;
                session.out.line("It is shown this once. Its owner sends it with --api-key or TEMPORAL_API_KEY.")?;
            }
            Ok(())
        }
        ApiKeyCommand::List => {
            let answer = session.client().await?.access.list_api_keys(ListApiKeysRequest {}).await?.into_inner();
            session.out.message(&answer)?;
            let mut rows = Vec::new();
            for key in &answer.keys {
                let (created, expires) = (session.out.time(key.create_time.as_ref()), session.out.time(key.expire_time.as_ref()));
                let (id, name, by) = (key.id.as_str(), key.name.as_str(), key.created_by.as_str());
                rows.push(vec![id.into(), name.into(), key.grants.join(" ").into(), created.into(), by.into(), expires.into()]);
            }
            session.out.table(&mut Table::new(&["Id", "Name", "Grants", "Created", "CreatedBy", "Expires"]), &rows)
        }
        ApiKeyCommand::Revoke(revoke) => {
            session.confirm(&format!("Revoke the API key {}?", revoke.id), revoke.yes).await?;
            let request = RevokeApiKeyRequest { id: revoke.id };
            let answer = session.client().await?.access.revoke_api_key(request).await?.into_inner();
            session.out.message(&answer)?;
            let key = answer.key.unwrap_or_default();
            session.out.line_in(Hue::Good, format!("Key {} ({}) has been revoked", key.id, key.name))
        }
    }
}

/// Who the caller is to the server.
pub(super) async fn who_am_i(session: &mut Session) -> Result<(), Failure> {
    let answer = session.client().await?.access.describe_caller(DescribeCallerRequest {}).await?.into_inner();
    session.out.message(&answer)?;
    if !answer.authenticated {
        return session.out.line("The server asks nobody who he is.");
    }
    let expires = session.out.time(answer.expire_time.as_ref());
    session.out.card(&[("Caller", answer.caller.into()), ("Grants", answer.grants.join(" ").into()), ("Expires", expires.into())])
}

fn card(session: &mut Session, key: &ApiKeyInfo) -> Result<(), Failure> {
    let expires = session.out.time(key.expire_time.as_ref());
    session.out.card(&[
        ("Id", key.id.as_str().into()),
        ("Name", key.name.as_str().into()),
        ("Grants", key.grants.join(" ").into()),
        ("Expires", expires.into()),
    ])
}

/// The end of a span that begins now.
fn after(now_millis: i64, span: &Duration) -> Result<Timestamp, Failure> {
    let wrong = || Failure::usage("--expires-in is not a length of time");
    let span = std::time::Duration::try_from(*span).ok().filter(|span| !span.is_zero()).ok_or_else(wrong)?;
    let millis = i64::try_from(span.as_millis()).ok().and_then(|span| now_millis.checked_add(span)).ok_or_else(wrong)?;
    Ok(Timestamp { seconds: millis.div_euclid(1000), nanos: (millis.rem_euclid(1000) * 1_000_000) as i32 })
}
