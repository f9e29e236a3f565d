//! Workflows over the ingress, on connections that are kept: as many as there are workflows in flight.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::drive::{Failure, Plan, Workload, drive};

type Connection = SendRequest<Full<Bytes>>;

pub(crate) async fn run(address: &str, plan: &Plan) -> Result<(), Failure> {
    let (address, workload) = (Arc::new(address.to_owned()), plan.workload);
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    drive(plan, move |key| {
        let (address, idle) = (address.clone(), idle.clone());
        async move {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&address).await?,
            };
            one(&mut connection, &address, workload, &key).await?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(())
        }
    })
    .await
}

async fn connect(address: &str) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Starts a workflow and waits for its result.
async fn one(connection: &mut Connection, address: &str, workload: Workload, key: &str) -> Result<(), Failure> {
    let (service, body) = match workload {
        Workload::Short => ("Short", Bytes::new()),
        Workload::Steps(steps) => ("Steps", Bytes::from(steps.to_string())),
    };
    let mut request = Request::post(format!("/{service}/{key}/run")).header("host", address);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    connection.ready().await?;
    let response = connection.send_request(request.body(Full::new(body))?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status.is_success() && body == "\"done\"" {
        return Ok(());
    }
    Err(format!("a workflow of {service} answered {status}: {}", String::from_utf8_lossy(&body)).into())
}
