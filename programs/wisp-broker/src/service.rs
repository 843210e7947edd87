//! What a service manager is told: systemd's protocol of `sd_notify(3)`, over the socket that `NOTIFY_SOCKET` names.
//! Without that variable, and on hosts without service managers, nothing is told.

/// A change of the broker's state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// It accepts connections, and the configuration is read.
    Ready,
    /// It reads the configuration again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells the service manager, if there is one.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn tell(state: State) {
    use sd_notify::NotifyState;

    let told = match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        State::Reloading => {
            NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
        }
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, ?state, "the service manager was not told");
    }
}

#[cfg(target_family = "wasm")]
pub(crate) fn tell(_: State) {}
