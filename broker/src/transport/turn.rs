//! Bounds and news of the transports in one turn of a worker.

use wisp_engine::TransportNote;

/// Steps of handshakes that a worker takes in one turn. Each may take a signature, a tenth of a millisecond natively and many
/// times that in a sandbox; the other connections wait meanwhile.
const HANDSHAKES_PER_TURN: u32 = if cfg!(target_family = "wasm") { 2 } else { 8 };

/// The work that transports may do in one turn of a worker, and the news of the last receive besides its bytes.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    handshakes: u32,
    /// There are bytes that were not handled, and no event announces them.
    pub(crate) again: bool,
    pub(crate) note: Option<TransportNote>,
    /// Actions that an operator asks for, whose results the connection waits for.
    #[cfg(feature = "admin")]
    pub(crate) orders: Vec<wisp_engine::Order>,
}

impl Turn {
    /// A new turn begins.
    pub(crate) fn begin(&mut self) {
        self.handshakes = HANDSHAKES_PER_TURN;
    }

    /// Whether one more step of a handshake fits into this turn.
    #[cfg(feature = "tls")]
    pub(super) fn take_handshake(&mut self) -> bool {
        let fits = self.handshakes > 0;
        self.handshakes = self.handshakes.saturating_sub(1);
        fits
    }
}
