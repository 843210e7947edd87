//! `wisp-broker store import`: the state of another broker as a data folder.
//!
//! ```text
//! bytes of mosquitto.db --file--> records --plan--> sessions, messages, report --StateBuilder--> objects --> a new store
//! ```

pub(crate) mod file;
pub(crate) mod plan;
pub(crate) mod report;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use wisp_broker::{Key, Object};
use wisp_engine::StateBuilder;
use wisp_store::offline::{self, OfflineError};
use wisp_store::{FlushError, FsFiles, Log, OpenError, Settings};

use self::plan::Plan;
use self::report::Report;

/// The new store is flushed when this many bytes wait.
const PENDING_BYTES: usize = 4 << 20;

/// Why nothing was imported.
#[derive(Debug)]
pub(crate) enum ImportError {
    /// The file cannot be read or is damaged, or the new folder cannot be written.
    Failed(String),
    /// The file is of another kind, or the folder has something already.
    Refused(String),
}

/// Imports the persistence file of mosquitto to a new folder.
pub(crate) fn import_mosquitto(file: &Path, new: &Path) -> Result<Report, ImportError> {
    let name = file.display();
    let bytes = fs::read(file).map_err(|error| ImportError::Refused(format!("{name}: {error}")))?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let plan = Plan::new(&bytes, now_s).map_err(|fault| match fault {
        file::FileFault::Damaged { .. } => ImportError::Failed(format!("{name}: {fault}. Nothing was imported")),
        fault => ImportError::Refused(format!("{name}: {fault}")),
    })?;
    let fill = |log: &Log| plan.write(&mut StateBuilder::new(|key, object: &Object<'_>| put(log, key, object)), now_s);
    match offline::create(FsFiles::new(new), &Settings::default(), fill) {
        Ok(_) => Ok(plan.report),
        Err(OfflineError::Open(error @ OpenError::Io { .. })) => Err(ImportError::Failed(error.to_string())),
        Err(OfflineError::Open(error)) => Err(ImportError::Refused(error.to_string())),
        Err(error) => Err(ImportError::Failed(format!("{}: {error}", new.display()))),
    }
}

fn put(log: &Log, key: Key, object: &Object<'_>) -> Result<(), FlushError> {
    let mut head = Vec::new();
    object.encode_head(&mut head);
    let refers_to = object.refers_to().map(Key::get);
    log.put(key.get(), object.kind(), refers_to, object.is_shared(), &[&head, object.tail()]);
    if log.pending_bytes() >= PENDING_BYTES {
        log.flush()?;
    }
    Ok(())
}
