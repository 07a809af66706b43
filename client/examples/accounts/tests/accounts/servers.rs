//! Servers of others, started for a test where they are installed, and ended with it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use accounts::publish;
use quorate_app::redis;
use tempfile::TempDir;

use super::in_time;

/// A process with a folder of its own; both end with the test.
struct Server {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts a program; returns `None`, with a loud message, if it is not installed.
    fn start(program: &str, arguments: impl FnOnce(&TempDir) -> Vec<String>) -> Option<Server> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(arguments(&folder)).stdout(Stdio::null()).stderr(Stdio::null());
        match command.current_dir(folder.path()).spawn() {
            Ok(child) => Some(Server { child, folder }),
            Err(_) => {
                // Written past the capture of the test's output: the person who runs the tests must see it.
                let message = format!("SKIPPED: `{program}` is not installed\n");
                let _ = std::fs::write("/dev/stderr", message);
                None
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis.
pub(crate) struct Redis {
    pub(crate) url: String,
    _server: Server,
}

impl Redis {
    pub(crate) async fn start() -> Option<Redis> {
        let arguments = ["--port", "0", "--unixsocket", "socket", "--save", ""];
        let server = Server::start("redis-server", |_| arguments.map(str::to_owned).to_vec())?;
        let url = format!("redis+unix://{}/socket", server.folder.path().display());
        let answers = async {
            let client = redis::Client::open(url.as_str()).expect("an address");
            while client.get_multiplexed_async_connection().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        in_time("Redis answers", answers).await;
        Some(Redis { url, _server: server })
    }
}

/// NATS with JetStream.
pub(crate) struct Nats {
    pub(crate) url: String,
    _server: Server,
}

impl Nats {
    pub(crate) async fn start() -> Option<Nats> {
        let port = free_port();
        let server = Server::start("nats-server", |folder| {
            let folder = folder.path().display().to_string();
            let port = port.to_string();
            ["-js", "-a", "127.0.0.1", "-p", &port, "-sd", &folder].map(str::to_owned).to_vec()
        })?;
        let url = format!("nats://127.0.0.1:{port}");
        let answers = async { while async_nats::connect(&url).await.is_err() {} };
        in_time("NATS answers", answers).await;
        Some(Nats { url, _server: server })
    }
}

/// The number of partitions of the topic in Kafka.
pub(crate) const PARTITIONS: i32 = 3;

/// A broker that speaks Kafka's protocol, keeps everything in memory, and has the topic for the events.
pub(crate) struct Kafka {
    pub(crate) address: String,
    pub(crate) client: rskafka::client::Client,
    _server: Server,
}

impl Kafka {
    pub(crate) async fn start() -> Option<Kafka> {
        let address = format!("127.0.0.1:{}", free_port());
        let server = Server::start("tansu", |_| {
            let url = format!("tcp://{address}");
            let storage = "memory://tansu/";
            let own = ["broker", "--storage-engine", storage, "--listener-url", &url];
            own.iter()
                .chain(&["--advertised-listener-url", &url])
                .map(|one| one.to_string())
                .collect()
        })?;
        let answers = async {
            loop {
                let client = rskafka::client::ClientBuilder::new(vec![address.clone()]);
                let client = client.backoff_config(rskafka::BackoffConfig {
                    deadline: Some(std::time::Duration::from_secs(1)),
                    ..rskafka::BackoffConfig::default()
                });
                if let Ok(client) = client.build().await {
                    return client;
                }
            }
        };
        let client = in_time("the broker answers", answers).await;
        let controller = client.controller_client().expect("a controller");
        controller.create_topic(publish::TOPIC, PARTITIONS, 1, 5_000).await.expect("a topic");
        Some(Kafka { address, client, _server: server })
    }
}

/// Returns a port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
