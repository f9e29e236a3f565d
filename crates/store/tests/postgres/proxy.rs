//! Somebody between the store and the database, who loses things on the way.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::support::postgres::runtime;

/// What happens to the next commit that comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It arrives, its answer does not.
    Answer,
    /// It does not arrive.
    Request,
    /// It arrives when who sent it has long given the connection up.
    Late,
}

/// See the module.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: u16,
    /// What happens to the next call of which function.
    loss: Mutex<Option<(Loss, &'static str)>>,
    late: Mutex<Vec<JoinHandle<()>>>,
    /// Grows with each cut of all connections.
    cuts: watch::Sender<u64>,
    /// Nothing gets through.
    frozen: watch::Sender<bool>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub fn start(target: u16) -> Self {
        let shared = Arc::new(Shared {
            target,
            loss: Mutex::default(),
            late: Mutex::default(),
            cuts: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
        });
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = shared.clone();
        let task = runtime().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move {
                    let mut cuts = shared.cuts.subscribe();
                    tokio::select! {
                        () = shared.connection(client) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Proxy { port, shared, task }
    }

    /// Loses the next commit in this way.
    pub fn lose_next(&self, loss: Loss) {
        self.lose_next_of("commit_1", loss);
    }

    /// Loses the next call of a function.
    pub fn lose_next_of(&self, function: &'static str, loss: Loss) {
        *self.shared.loss.lock().unwrap() = Some((loss, function));
    }

    /// Whether what was to be lost has been.
    pub fn has_lost(&self) -> bool {
        self.shared.loss.lock().unwrap().is_none()
    }

    /// Waits until what was late has arrived and was answered, or its connection ended.
    pub fn wait_for_late(&self) {
        let late = std::mem::take(&mut *self.shared.late.lock().unwrap());
        assert!(!late.is_empty());
        late.into_iter().for_each(|task| runtime().block_on(task).unwrap());
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Shared {
    async fn connection(&self, mut client: TcpStream) {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", self.target)).await else { return };
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut frozen = self.frozen.subscribe();
        loop {
            frozen.wait_for(|frozen| !frozen).await.unwrap();
            let done = tokio::select! {
                read = client.read(&mut from_client) => match read {
                    Ok(len) if len > 0 => {
                        let data = &from_client[..len];
                        frozen.wait_for(|frozen| !frozen).await.unwrap();
                        match self.loss_of(data) {
                            None => server.write_all(data).await.is_err(),
                            Some(Loss::Request) => true,
                            Some(Loss::Answer) => {
                                server.write_all(data).await.unwrap();
                                // The commit is through before the connection ends.
                                let _ = server.read(&mut from_server).await;
                                true
                            }
                            Some(Loss::Late) => return self.deliver_late(server, data.to_vec()),
                        }
                    }
                    _ => true,
                },
                read = server.read(&mut from_server) => match read {
                    Ok(len) if len > 0 => {
                        frozen.wait_for(|frozen| !frozen).await.unwrap();
                        client.write_all(&from_server[..len]).await.is_err()
                    }
                    _ => true,
                },
            };
            if done {
                return;
            }
        }
    }

    fn loss_of(&self, data: &[u8]) -> Option<Loss> {
        let mut loss = self.loss.lock().unwrap();
        let (_, function) = (*loss)?;
        let is_called = data.windows(function.len()).any(|window| window == function.as_bytes());
        if is_called { loss.take().map(|(loss, _)| loss) } else { None }
    }

    fn deliver_late(&self, mut server: TcpStream, data: Vec<u8>) {
        let task = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.write_all(&data).await.unwrap();
            let mut answer = vec![0; 1 << 16];
            assert!(server.read(&mut answer).await.unwrap() > 0, "it was answered, to nobody");
        });
        self.late.lock().unwrap().push(task);
    }
}
