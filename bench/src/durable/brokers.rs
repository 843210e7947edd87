//! How each broker is started with its storage.

use std::fs;
use std::path::Path;

use wisp_lab::broker::{Broker, Build, Running, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::Scratch;

use super::subject::{Store, Subject, Work};
use crate::args::Durable;

/// The limits for sessions that are away, which would else drop messages beyond 4 MiB each. With and without a folder.
const AWAY_LIMITS: [&str; 6] =
    ["--queue-bytes-max", "268435456", "--queue-messages-max", "1000000", "--stored-bytes-max", "2147483648"];

/// Starts a subject's broker; `folder` is for its data.
pub(super) fn start(
    subject: &Subject,
    folder: &Path,
    options: &Durable,
    scratch: &Scratch,
    interrupt: &Interrupt,
) -> Result<Running, Failure> {
    let unwritable = |error| Failure::Setup(format!("cannot make {}: {error}", folder.display()));
    let mut start = StartOptions::with_workers(machine::processors());
    match subject.broker {
        Broker::NatsServer => {
            start.build = Build::Program(options.nats_server()?);
            let always = if subject.store == Store::SyncedEach { ", sync_interval: always" } else { "" };
            start.settings = vec![format!("jetstream {{ store_dir: \"{}\"{always} }}", folder.display())];
        }
        Broker::Mosquitto => {
            start.build = Build::Program(options.mosquitto()?);
            fs::create_dir_all(folder).map_err(unwritable)?;
            start.settings = vec!["persistence true".to_owned(), format!("persistence_location {}/", folder.display())];
            if rustix::process::getuid().is_root() {
                // Another user could not write there.
                start.settings.push("user root".to_owned());
            }
        }
        _ => {
            if subject.store != Store::Memory {
                start.arguments.extend(["--data-dir".to_owned(), folder.display().to_string()]);
            }
            if matches!(subject.work, Work::Away | Work::OneInFlight) {
                start.arguments.extend(AWAY_LIMITS.map(str::to_owned));
            }
        }
    }
    subject.broker.start(&start, scratch, interrupt)
}
