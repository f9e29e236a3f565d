//! Who is measured: a server of our own, started anew for each measurement, or one that runs already.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use sempre_bench::{
    api::{self, Client},
    meter::Meter,
    process::{Launch, Server, find_binary, free_port},
};
use sempre_postgres_cluster::Cluster;
use tempfile::TempDir;

use crate::{Failure, options::Options};

/// A server that runs already: `NAME=HOST:PORT[,pid=PID[+PID…]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What the tables call it.
    pub(crate) name: String,
    /// HOST:PORT of its gRPC port.
    pub(crate) address: String,
    /// Its processes, and those of its database: CPU and memory are summed over them and their children.
    pub(crate) pids: Vec<u32>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage =
            || format!("`{text}` is no peer: write NAME=HOST:PORT, or NAME=HOST:PORT,pid=PID+PID for its figures of CPU and memory");
        let (name, rest) = text.split_once('=').ok_or_else(usage)?;
        let (address, pids) = match rest.split_once(",pid=") {
            Some((address, pids)) => (address, pids.split('+').map(str::parse).collect::<Result<_, _>>().map_err(|_| usage())?),
            None => (rest, Vec::new()),
        };
        if name.is_empty() || !address.contains(':') || address.contains(',') {
            return Err(usage());
        }
        Ok(Self { name: name.into(), address: address.into(), pids })
    }
}

/// Where a server of our own has its data.
#[derive(Clone)]
pub(crate) enum Data {
    /// A new folder.
    Empty,
    /// One that there is.
    Folder(PathBuf),
    /// A new schema.
    Postgres(Arc<Cluster>),
}

/// Who is measured.
#[derive(Clone)]
pub(crate) enum Target {
    /// The `sempre` executable.
    Own(Data),
    /// Whatever answers there.
    Peer(Peer),
}

/// A server at work.
pub(crate) struct Running {
    /// HOST:PORT.
    pub(crate) address: String,
    /// Its processes.
    pub(crate) pids: Vec<u32>,
    /// `None`: somebody else's.
    server: Option<Server>,
    /// The schema in which it has its data.
    database: Option<(Arc<Cluster>, String)>,
    folder: TempDir,
}

impl Target {
    /// What the tables call it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(Data::Empty) => "sempre",
            Self::Own(Data::Folder(_)) => "sempre, filled",
            Self::Own(Data::Postgres(_)) => "sempre, PostgreSQL",
            Self::Peer(peer) => &peer.name,
        }
    }

    /// Starts it, if it is ours.
    pub(crate) fn open(&self, options: &Options) -> Result<Running, Failure> {
        let folder = match &options.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let data = match self {
            Self::Peer(peer) => {
                let (address, pids) = (peer.address.clone(), peer.pids.clone());
                return Ok(Running { address, pids, server: None, database: None, folder });
            }
            Self::Own(data) => data,
        };
        let database = match data {
            Data::Postgres(cluster) => Some((cluster.clone(), format!("bench_{:x}", fastrand::u64(..)))),
            _ => None,
        };
        let server = Server::start(Launch {
            binary: find_binary(options.server.as_deref())?,
            data_dir: match data {
                Data::Folder(path) => path.clone(),
                _ => folder.path().join("data"),
            },
            store: database.as_ref().map(|(cluster, schema)| cluster.address_of(schema)),
            port: free_port()?,
            wrapper: options.wrapper.split_whitespace().map(str::to_string).collect(),
            arguments: options.server_args.split_whitespace().map(str::to_string).collect(),
            log: None,
        })?;
        let address = format!("127.0.0.1:{}", server.launch.port);
        Ok(Running { address, pids: vec![server.pid()], server: Some(server), database, folder })
    }
}

impl Running {
    /// A client on a connection of its own.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(api::client(&self.address)?)
    }

    /// A folder on the disk that it uses, if it is ours.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Begins to count what it spends.
    pub(crate) fn meter(&self) -> Result<Meter, Failure> {
        Ok(Meter::begin(&self.pids, self.folder())?)
    }

    /// Stops it and starts it again on its data; how long it took until it accepted connections, ms. `None`: it is not ours.
    pub(crate) fn restart(&mut self) -> Result<Option<f64>, Failure> {
        let Some(server) = self.server.take() else { return Ok(None) };
        let server = Server::start(server.stop()?)?;
        let took = server.started_in.as_secs_f64() * 1000.0;
        self.pids = vec![server.pid()];
        self.server = Some(server);
        Ok(Some(took))
    }

    /// The database that has its data, and the schema.
    pub(crate) fn database(&self) -> Option<(&Cluster, &str)> {
        self.database.as_ref().map(|(cluster, schema)| (&**cluster, schema.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_with_their_address_and_processes() {
        let peer = |text: &str| text.parse::<Peer>();
        let of = |name: &str, address: &str, pids: &[u32]| Peer { name: name.into(), address: address.into(), pids: pids.to_vec() };
        assert_eq!(peer("temporal=127.0.0.1:7233"), Ok(of("temporal", "127.0.0.1:7233", &[])));
        assert_eq!(peer("temporal=localhost:7233,pid=12+345"), Ok(of("temporal", "localhost:7233", &[12, 345])));
        for wrong in ["", "temporal", "=127.0.0.1:7233", "temporal=7233", "t=h:1,pid=x", "t=h:1,pid=", "t=h:1,cpu=3"] {
            let refused = peer(wrong).expect_err(wrong);
            assert!(refused.contains("NAME=HOST:PORT"), "{refused}");
        }
    }
}
