//! Sockets.

use std::net::{IpAddr, TcpStream, ToSocketAddrs};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
pub struct Sockets;

#[workflow_methods]
impl Sockets {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>, host: String) -> WorkflowResult<bool> {
        let known = (host.as_str(), 80).to_socket_addrs(); //~ socket [walk, types] a name that is looked up
        let there = TcpStream::connect((host.as_str(), 80)); //~ socket [walk, types] a connection
        let later = tokio::net::TcpStream::connect((host.as_str(), 80)).await; //~ socket [walk, types] a connection of tokio
        // An address is data.
        let address: Option<IpAddr> = host.parse().ok();
        Ok(known.is_ok() && there.is_ok() && later.is_ok() && address.is_some())
    }
}
