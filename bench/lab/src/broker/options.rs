//! How a broker is to be started.

use super::build::Build;
use super::kinds::Mode;
use super::transport::Transport;
use crate::machine;

/// How a broker is to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartOptions {
    /// Which build of Wisp to start, or which mosquitto or nats-server; other brokers ignore it.
    pub build: Build,
    /// Workers of a broker that has such a setting.
    pub workers: usize,
    /// The transport of its clients.
    pub transport: Transport,
    /// How a runtime is to run the module; none for its usual one, which is ahead of time. Of a broker under no runtime it
    /// has to be none.
    pub mode: Option<Mode>,
    /// Further arguments, in which `{port}` and `{address}` stand for where it is to listen.
    pub arguments: Vec<String>,
    /// Further lines of its configuration file, if it is one that is started with a file.
    pub settings: Vec<String>,
}

impl Default for StartOptions {
    fn default() -> Self {
        Self {
            build: Build::Own,
            workers: machine::processors(),
            transport: Transport::Tcp,
            mode: None,
            arguments: Vec::new(),
            settings: Vec::new(),
        }
    }
}

impl StartOptions {
    /// The given number of workers, and defaults for the rest.
    #[must_use]
    pub fn with_workers(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }
}
