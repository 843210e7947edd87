//! Starting a broker.

use std::path::Path;
use std::time::Duration;

use super::files::{free_address, own_folder};
use super::kinds::Broker;
use super::options::StartOptions;
use super::running::Running;
use super::transport::{Entrance, Transport};
use crate::failure::{Failure, Interrupt};
use crate::paths::Scratch;

/// How long a broker may take until it answers. A runtime may have to compile a large module first, and a launcher to
/// build a small program of its own.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(120);

impl Broker {
    /// Checks that it is installed, without starting it.
    ///
    /// # Errors
    /// If something is missing, with the command that installs it.
    pub fn look_for(&self, options: &StartOptions, scratch: &Scratch) -> Result<(), Failure> {
        let address = free_address();
        let folder = own_folder(scratch, address)?;
        let entrance = self.entrance(options, &folder)?;
        self.command(address, entrance.as_ref(), options, &folder).map(drop)
    }

    /// Starts it on a free port, and waits until it answers a client.
    ///
    /// # Errors
    /// If it is missing or does not come up, with advice; or if interrupted.
    pub fn start(&self, options: &StartOptions, scratch: &Scratch, interrupt: &Interrupt) -> Result<Running, Failure> {
        self.start_within(START_TIMEOUT, options, scratch, interrupt)
    }

    pub(super) fn start_within(
        &self,
        timeout: Duration,
        options: &StartOptions,
        scratch: &Scratch,
        interrupt: &Interrupt,
    ) -> Result<Running, Failure> {
        let address = free_address();
        let folder = own_folder(scratch, address)?;
        let entrance = self.entrance(options, &folder)?;
        // The scripts that are asked get the terminal's signals, too, and then fail.
        let command = self
            .command(address, entrance.as_ref(), options, &folder)
            .or_else(|failure| interrupt.check().and(Err(failure)))?;
        Running::start(self.clone(), command, address, entrance, folder, timeout, interrupt)
    }

    /// The listener for clients of another transport than plain TCP.
    fn entrance(&self, options: &StartOptions, folder: &Path) -> Result<Option<Entrance>, Failure> {
        if options.transport == Transport::Tcp {
            return Ok(None);
        }
        // The other launchers hand listeners in, and are not tried with two of them.
        if !matches!(self, Self::Native | Self::Wasmer | Self::Mosquitto) {
            let (name, transport) = (self.name(), options.transport);
            return Err(Failure::Setup(format!("{name} is started with plain TCP only, not {transport}")));
        }
        Entrance::new(options.transport, free_address(), folder).map(Some)
    }
}
