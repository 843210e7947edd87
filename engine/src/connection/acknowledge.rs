//! PUBACK, PUBREC, PUBREL and PUBCOMP in (MQTT 5 sections 3.4 to 3.7).

use wisp_wire::{PacketId, Properties, PubComp, PubRel, ReasonCode};

use super::context::Context;
use super::disconnect::{End, EndReason};
use super::protocol::{Next, Phase, Protocol, reply};
use crate::state::session::NotOwner;
use crate::state::session::outgoing::Acknowledged;
use crate::store::key::incoming_key;

impl Protocol {
    pub(super) fn puback(&mut self, id: PacketId, context: &mut Context<'_>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        client.can_send_more = true;
        let acknowledged = client.session.puback(self.outbox.connection(), id, context.recorder());
        self.acknowledged(acknowledged, context)
    }

    pub(super) fn pubrec(&mut self, id: PacketId, code: ReasonCode, context: &mut Context<'_>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        client.can_send_more = true;
        let (session, version) = (&client.session, client.version);
        let acknowledged = session.pubrec(self.outbox.connection(), id, code, context.recorder());
        if !code.is_error() && matches!(acknowledged, Acknowledged::Known | Acknowledged::Unknown) {
            // Before MQTT 5 there is no code for an unknown identifier, so PUBREL is sent anyway.
            let known = acknowledged == Acknowledged::Known || !version.is_v5();
            let code = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
            reply(PubRel { packet_id: id, code, properties: Properties::EMPTY }.encode(version, context.replies));
        }
        self.acknowledged(acknowledged, context)
    }

    pub(super) fn pubcomp(&mut self, id: PacketId, context: &mut Context<'_>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        client.can_send_more = true;
        let acknowledged = client.session.pubcomp(self.outbox.connection(), id, context.recorder());
        self.acknowledged(acknowledged, context)
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged, context: &mut Context<'_>) -> Result<Next, End> {
        match acknowledged {
            // An unknown identifier is ignored: the acknowledgement may belong to an earlier connection.
            Acknowledged::Known | Acknowledged::Unknown => Ok(Next::Continue),
            Acknowledged::Mismatch => Err(self.end(EndReason::AcknowledgementMismatch, context.replies)),
            Acknowledged::Stale => Err(End::silent(EndReason::TakenOver)),
        }
    }

    /// PUBREL: the client will not repeat the message, and its identifier is free. An unknown one is answered alike: its
    /// message was routed with its PUBLISH, before PUBREC, and for many clients the code 0x92 means that it was not.
    pub(super) fn pubrel(&mut self, packet_id: PacketId, context: &mut Context<'_>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let mut incoming = match client.session.incoming(self.outbox.connection()) {
            Ok(incoming) => incoming,
            Err(NotOwner) => return Err(End::silent(EndReason::TakenOver)),
        };
        if incoming.release(packet_id)
            && let Some(session) = client.session.key()
        {
            context.recorder().delete(incoming_key(session, packet_id));
        }
        drop(incoming);
        let code = ReasonCode::Success;
        reply(PubComp { packet_id, code, properties: Properties::EMPTY }.encode(client.version, context.replies));
        Ok(Next::Continue)
    }
}
