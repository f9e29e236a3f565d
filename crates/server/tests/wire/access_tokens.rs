//! JWTs of issuers whose keys are in a file or at a URL: believed, forged, and after the keys have changed.
#![expect(clippy::disallowed_methods, reason = "an issuer answers beside the test")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use sempre_api::v1::{taskqueue::TaskQueue, workflowservice::PollWorkflowTaskQueueRequest};
use sempre_server::{AuthSettings, ServerSettings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{TestServer, raw_call_as, read, until};

const LIST: &str = "/temporal.api.workflowservice.v1.WorkflowService/ListNamespaces";

/// A key of an issuer's.
struct Signer {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("chance");
        Self { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key"), id }
    }

    fn set(&self) -> String {
        let point = self.pair.public_key().as_ref();
        let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": text(&point[1..33]), "y": text(&point[33..]) });
        json!({ "keys": [key] }).to_string()
    }

    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": self.id })), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    json!({ "iss": "https://id.example", "sub": "me", "aud": ["sempre"], "exp": now + 600, "permissions": ["*:read"], "groups": ["ops"] })
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("sempre-jwt-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).expect("writable");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// A server that believes the issuer whose keys are there.
    async fn server(&self, keys: &str) -> TestServer {
        let rules = format!(
            "[[jwt]]\nissuer = 'https://id.example'\naudiences = ['sempre']\nkeys = '{keys}'\n\
             [[jwt.claims]]\nclaim = 'groups'\nvalue = 'admins'\ngrants = ['*:admin']\n"
        );
        let auth = Some(AuthSettings { admin_key_file: None, rules_file: Some(self.write("rules.toml", &rules)) });
        TestServer::start_with(ServerSettings { auth, ..ServerSettings::default() }).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Nothing, or why the token was not believed.
async fn ask(server: &TestServer, token: &str) -> Result<(), String> {
    let answer = raw_call_as(&server.channel, LIST, b"", false, Some(&format!("Bearer {token}"))).await;
    answer.map(drop).map_err(|status| {
        let (_, text, detail) = read(&status);
        assert_eq!(text, "Request unauthorized.");
        let detail: sempre_api::v1::errordetails::PermissionDeniedFailure =
            prost::Message::decode(detail.expect("a detail").1).expect("decodes");
        detail.reason
    })
}

#[tokio::test]
async fn tokens_are_believed_or_told_why_not() {
    let (folder, signer, thief) = (Folder::new(), Signer::new("one"), Signer::new("one"));
    let keys = folder.write("keys.json", &signer.set());
    let server = folder.server(keys.to_str().expect("text")).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signer.token(&claims)
    };
    let good = signer.token(&claims());
    assert_eq!(ask(&server, &good).await, Ok(()));
    assert_eq!(ask(&server, &good).await, Ok(()), "again, as it is known now");
    assert_eq!(ask(&server, &with("permissions", json!([]))).await, Err(String::new()), "believed, and may nothing");
    let mut admin = claims();
    (admin["permissions"], admin["groups"]) = (json!([]), json!(["users", "admins"]));
    assert_eq!(ask(&server, &signer.token(&admin)).await, Ok(()), "by another claim");
    let unsigned = {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(json!({ "alg": "none" })), part(claims()))
    };
    for (token, why) in [
        (thief.token(&claims()), "the token's signature is wrong"),
        (unsigned, "the token is not signed in a way that is taken here"),
        (with("exp", json!(1)), "the token has expired"),
        (with("nbf", json!(1e12)), "the token is not valid yet"),
        (with("aud", json!("else")), "the token is for somebody else"),
        (with("iss", json!("https://other.example")), "the token is of an issuer that is not believed here"),
        (format!("{good}x"), "the credentials are neither a key nor a token of this server"),
        (Signer::new("two").token(&claims()), "the token is signed by a key that its issuer does not have"),
    ] {
        assert_eq!(ask(&server, &token).await, Err(why.to_owned()));
    }
}

#[tokio::test]
async fn keys_of_a_file_change() {
    let (folder, old, new) = (Folder::new(), Signer::new("old"), Signer::new("new"));
    let keys = folder.write("keys.json", &old.set());
    let server = folder.server(keys.to_str().expect("text")).await;
    let (before, after) = (old.token(&claims()), new.token(&claims()));
    assert_eq!(ask(&server, &before).await, Ok(()));
    assert!(ask(&server, &after).await.is_err());
    folder.write("keys.json", "no set of keys");
    assert!(ask(&server, &after).await.is_err());
    assert_eq!(ask(&server, &before).await, Ok(()), "the old ones stay");
    folder.write("keys.json", &new.set());
    assert_eq!(ask(&server, &after).await, Ok(()));
    assert!(ask(&server, &before).await.is_err(), "what was known by the old key is forgotten");
}

#[tokio::test]
async fn keys_of_a_url_change() {
    let (folder, old, new) = (Folder::new(), Signer::new("old"), Signer::new("new"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
    let (set, asked) = (Arc::new(Mutex::new(old.set())), Arc::new(AtomicUsize::new(0)));
    let (given, counted) = (set.clone(), asked.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("asked");
            assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
            let body = given.lock().expect("no panic").clone();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
    });
    let server = folder.server(&url).await;
    let (before, after) = (old.token(&claims()), new.token(&claims()));
    while ask(&server, &before).await.is_err() {
        tokio::task::yield_now().await;
    }
    // A token of an unknown key makes the issuer be asked, but not each time.
    let sofar = asked.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(ask(&server, &after).await.is_err());
    }
    assert!(asked.load(Ordering::Relaxed) <= sofar + 1, "{asked:?}");
    *set.lock().expect("no panic") = new.set();
    while ask(&server, &after).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(ask(&server, &before).await.is_err());
}

#[tokio::test]
async fn open_calls_end_when_their_caller_may_not_make_them_any_more() {
    let (folder, signer) = (Folder::new(), Signer::new("one"));
    let keys = folder.write("keys.json", &signer.set());
    let rules = |grants: &str| {
        format!(
            "[[jwt]]\nissuer = 'https://id.example'\naudiences = ['sempre']\nkeys = '{}'\n\
             [[jwt.claims]]\nclaim = 'groups'\nvalue = 'ops'\ngrants = [{grants}]\n",
            keys.to_str().expect("text")
        )
    };
    let rules_file = Some(folder.write("rules.toml", &rules("'default:worker', 'other:worker'")));
    let auth = Some(AuthSettings { admin_key_file: None, rules_file });
    let namespaces = vec!["default".into(), "other".into()];
    let server = TestServer::start_with(ServerSettings { auth, namespaces, ..ServerSettings::default() }).await;
    let mut claims = claims();
    claims["permissions"] = json!([]);
    let bearer = format!("Bearer {}", signer.token(&claims));
    let poll = |namespace: &str| {
        let task_queue = Some(TaskQueue { name: "q".into(), ..TaskQueue::default() });
        let mut request =
            tonic::Request::new(PollWorkflowTaskQueueRequest { namespace: namespace.into(), task_queue, ..Default::default() });
        request.set_timeout(std::time::Duration::from_secs(60));
        request.metadata_mut().insert("authorization", bearer.parse().expect("a header"));
        let mut client = server.workflow();
        tokio::spawn(async move { client.poll_workflow_task_queue(request).await })
    };
    let (kept, lost) = (poll("default"), poll("other"));
    until(|| server.engine.stats().pollers.get() == 2).await;
    folder.write("rules.toml", &rules("'default:worker'"));
    let ended = lost.await.expect("no panic").expect_err("it may not poll there any more");
    assert_eq!((ended.code(), ended.message()), (tonic::Code::PermissionDenied, "Request unauthorized."));
    assert!(!kept.is_finished(), "what is still allowed goes on");
    assert_eq!(server.engine.stats().pollers.get(), 1);
}
