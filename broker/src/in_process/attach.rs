//! Attaches a client in the process to a running broker, as the acceptor does with a socket.

use std::sync::{Arc, Weak};

use wisp_engine::Origin;
use wisp_net::{Event, Host, Registrar};

use super::broker_half::BrokerHalf;
use super::client::InProcessClient;
use super::doorbell::Bell;
use super::error::{ClientEnd, ClientError};
use super::options::ClientOptions;
use crate::listener::token;
use crate::mailbox::{NewConnection, WorkerMessage};
use crate::output::SendHalf;
use crate::state::Server;
use crate::transport::Transport;

impl<H: Host> Bell for Server<H> {
    fn ring(&self, worker: usize, event: Event) {
        if self.in_process.doorbells[worker].ring(event) {
            // A worker that cannot be woken looks by itself at the host's next tick.
            self.mailboxes[worker].registrar.wake();
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping()
    }
}

/// Connects a client and waits until the broker has accepted it.
///
/// # Errors
/// If the broker has stopped, has as many connections as it may, or refuses the client.
pub(crate) fn attach<H: Host>(
    server: &Arc<Server<H>>,
    options: &ClientOptions,
) -> Result<InProcessClient, ClientError> {
    let open = server.client_connections();
    if !server.engine.admits_connection(open, true) {
        server.log.refusing(open, server.now_ms());
        return Err(ClientError::TooManyConnections);
    }
    let (worker, place) = server.in_process.next();
    let id = server.connections.reserve();
    let server_of_client = Arc::downgrade(server);
    let bell: Weak<dyn Bell> = server_of_client;
    let (half, program, messages) = BrokerHalf::new((token(id), worker), bell, options);
    let transport = Arc::new(Transport::InProcess(Box::new(half)));
    let half = Arc::new(SendHalf::new(id, server.engine.new_outbox(id, worker), Arc::clone(&transport)));
    server.connections.insert(Arc::clone(&half));
    let connection = NewConnection { half, transport, origin: Origin::IN_PROCESS, place };
    if !server.mailboxes[worker].send(WorkerMessage::NewConnection(connection)) {
        server.connections.remove(id);
        return Err(ClientEnd::BrokerStopped.into());
    }
    let accepted = program.wait_accepted()?;
    Ok(InProcessClient::new(program, messages, &options.client_id, accepted))
}
