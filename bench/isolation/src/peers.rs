//! mosquitto and nats-server: where they are found, how they are set, and their versions.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use wisp_lab::broker::free_address;
use wisp_lab::paths;
use wisp_lab::versions::version_of_program;

/// A broker of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    Mosquitto,
    Nats,
}

/// An installed peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    pub(crate) peer: Peer,
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    /// The name on the command line, in records and on the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats",
        }
    }

    /// The unpacked package of Debian's unstable suite, else the installed one. None if both are missing.
    pub(crate) fn find(self) -> Option<Program> {
        let (path, ask) = match self {
            Self::Mosquitto => (paths::newest_mosquitto(), "-h"),
            Self::Nats => (paths::newest_nats_server(), "--version"),
        };
        let path = path.ok()?;
        let version = version_of_program(&path, &[ask]);
        Some(Program { peer: self, path, version })
    }

    /// The content of its configuration file. `lines` are for mosquitto.
    pub(crate) fn configuration(self, address: SocketAddr, folder: &Path, lines: &[&str]) -> String {
        match self {
            Self::Mosquitto => {
                let listener = format!("listener {} {}", address.port(), address.ip());
                let fixed = ["allow_anonymous true", "log_dest none"];
                [&[listener.as_str()], &fixed[..], lines].concat().join("\n") + "\n"
            }
            // Its MQTT needs a name and JetStream, which keeps sessions and retained messages in files.
            Self::Nats => format!(
                "listen: \"{}\"\nserver_name: isolation\njetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"{address}\" }}\n",
                free_address(),
                folder.join("jetstream").display()
            ),
        }
    }
}
