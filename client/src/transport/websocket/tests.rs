use super::*;

fn open() -> WebSocket<()> {
    WebSocket::opened(())
}

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    header.format(payload.len() as u64, &mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// The payloads come out the same whatever the pieces that the frames arrive in.
#[test]
fn frames_may_be_cut_anywhere() {
    let long: Vec<u8> = (0..70_000u32).map(|index| index as u8).collect();
    let frames = [
        frame(BINARY, true, b"one"),
        frame(BINARY, true, b""),
        frame(BINARY, false, b"two"),
        frame(PING, true, b"are you there"),
        frame(CONTINUE, false, &long[..300]),
        frame(CONTINUE, true, &long),
        frame(OpCode::Control(Control::Pong), true, b"unasked"),
        frame(BINARY, true, b"last"),
    ];
    let expected = [b"onetwo", &long[..300], &long, b"last"].concat();
    let all = frames.concat();
    for piece in [1, 2, 3, 7, 64, 1000, 65_536, all.len()] {
        let (mut stream, mut payloads) = (open(), Vec::new());
        for arrived in all.chunks(piece) {
            let mut arrived = arrived.to_vec();
            let kept = stream.unframe(&mut arrived).unwrap();
            payloads.extend_from_slice(&arrived[..kept]);
        }
        assert!(payloads == expected, "pieces of {piece} bytes");
        assert!(!stream.is_ended);
        let mut pong = stream.output.bytes;
        assert_eq!(pong[..2], [0x8A, 0x80 | 13], "a masked pong");
        let mask = pong[2..6].try_into().unwrap();
        apply_mask(&mut pong[6..], mask);
        assert_eq!(&pong[6..], b"are you there");
    }
}

#[test]
fn a_closing_frame_is_answered_and_ends_the_stream() {
    for (payload, shown) in [
        (&b""[..], None),
        (&b"\x03\xE8bye"[..], None),
        (&b"\x03\xEAbad\nframe"[..], Some("code 1002 (bad\\nframe)")),
        (&b"\x03\xF0"[..], Some("code 1008")),
    ] {
        let mut stream = open();
        let mut arrived = [frame(BINARY, true, b"x"), frame(CLOSE, true, payload), frame(BINARY, true, b"y")].concat();
        match (stream.unframe(&mut arrived), shown) {
            (Ok(kept), None) => assert_eq!(kept, 1, "nothing after the end counts"),
            (Err(error), Some(shown)) => assert!(error.to_string().contains(shown), "{error}"),
            other => panic!("{payload:?}: {other:?}"),
        }
        assert!(stream.is_ended && stream.is_closed);
        assert_eq!(stream.output.bytes[0], 0x88);
        let sent = stream.output.bytes.len();
        stream.queue(BINARY, b"late");
        assert_eq!(stream.output.bytes.len(), sent, "nothing follows a closing frame");
    }
}

#[test]
fn violations_end_the_connection() {
    let masked = |length: usize| {
        let header = FrameHeader { opcode: BINARY, mask: Some([1; 4]), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(length as u64, &mut bytes).unwrap();
        [bytes, vec![0; length]].concat()
    };
    let reserved = |bit: u8| {
        let mut bytes = frame(BINARY, true, b"x");
        bytes[0] |= bit;
        bytes
    };
    for (bytes, shown) in [
        (frame(OpCode::Data(Data::Text), true, b"text"), "text frame"),
        (frame(CONTINUE, true, b"x"), "continued"),
        ([frame(BINARY, false, b"x"), frame(BINARY, true, b"x")].concat(), "within a message"),
        (frame(PING, false, b"x"), "control frame"),
        (frame(PING, true, &[0; 126]), "control frame"),
        (masked(1), "masked"),
        (masked(126), "masked"),
        (masked(65_536), "masked"),
        (reserved(0x40), "reserved"),
        (reserved(0x20), "reserved"),
        (reserved(0x10), "reserved"),
        (vec![0x83, 0], "0x3"),
    ] {
        for piece in [1, bytes.len()] {
            let mut stream = open();
            let results: Vec<_> = bytes.chunks(piece).map(|piece| stream.unframe(&mut piece.to_vec())).collect();
            let error = results.into_iter().find_map(Result::err).expect(shown).to_string();
            assert!(error.contains(shown) || shown == "0x3", "{shown}: {error}");
            assert!(!error.contains('\n'));
        }
    }
}

#[test]
fn masks_apply_to_payloads_of_any_length() {
    for length in 0..40 {
        let plain: Vec<u8> = (0..length).collect();
        let mut masked = plain.clone();
        apply_mask(&mut masked, [1, 2, 3, 4]);
        let expected: Vec<u8> = plain.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(masked, expected);
    }
}
