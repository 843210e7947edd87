//! Listeners that nothing guards.

use std::net::SocketAddr;

/// The refusal of a listener that lets everyone do anything, with the ways out.
pub(crate) fn open_listener(address: SocketAddr) -> String {
    format!(
        "other machines reach {address}, and every client may do anything there: make users with \"wisp passwd -c users NAME\" \
         and add --password-file users, or say that it shall be so with --allow-anonymous true"
    )
}
