//! What holds of whatever clients and servers send.

use mainstay_core::time::Moment;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use super::dialogue::{Dialogue, Pause};
use super::startup::{self, Packet, Progress};
use crate::redis;

const NOW: Moment = Moment::ZERO;

fn config() -> Config {
    Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    }
}

/// Bytes that are near a packet: the right codes and lengths come up often.
fn near_packet() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        Just(80_877_102u32),
        Just(80_877_103),
        Just(80_877_104),
        Just(3 << 16),
        Just((3 << 16) + 2),
        any::<u32>()
    ];
    let text = prop::collection::vec(prop_oneof![3 => Just(0u8), 5 => b'a'..=b'c'], 0..40);
    (code, text, 0usize..12, any::<bool>()).prop_map(|(code, text, off, is_right)| {
        let length = if is_right { 8 + text.len() } else { (8 + text.len() + off).saturating_sub(6) };
        [&(length as u32).to_be_bytes()[..], &code.to_be_bytes(), &text].concat()
    })
}

/// Messages of PostgreSQL, and now and then something else.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(b'Q'), Just(b'S'), Just(b'Z'), Just(b'D'), Just(b'K'), Just(b'P')];
    let message = (letter, prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(letter, content)| {
        let length = (content.len() + 4) as u32;
        [&[letter][..], &length.to_be_bytes(), &content].concat()
    });
    let any = prop_oneof![20 => message, 1 => prop::collection::vec(any::<u8>(), 0..8)];
    prop::collection::vec(any, 0..12).prop_map(|all| all.concat())
}

/// Values of Redis, and now and then something else.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(b"+OK\r\n".to_vec()),
        Just(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".to_vec()),
        Just(b"%1\r\n+a\r\n*2\r\n:1\r\n_\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b">1\r\n+x\r\n".to_vec()),
        Just(b"PING\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(value, 0..12).prop_map(|all| all.concat())
}

/// `bytes` in pieces whose lengths are `cuts`, over and over.
fn pieces<'a>(bytes: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_packet_settles_at_one_point_however_it_goes_on(bytes in near_packet(), more in prop::collection::vec(any::<u8>(), 0..9)) {
        let bytes = [bytes, more].concat();
        let mut settled = Ok(Progress::Partial);
        for end in 0..=bytes.len() {
            let now = startup::parse(&bytes[..end]);
            if settled == Ok(Progress::Partial) {
                if let Ok(Progress::Complete(_, length)) = now {
                    prop_assert_eq!(length, end);
                }
                settled = now;
            }
            prop_assert_eq!(&settled, &now, "at {}", end);
        }
        if let Ok(Progress::Complete(packet, length)) = settled {
            prop_assert!((8..=startup::MAX_BYTES).contains(&length));
            prop_assert!(packet != Packet::Ssl || bytes[..8] == startup::SSL_REQUEST);
        }
    }

    #[test]
    fn where_a_client_stands_does_not_depend_on_how_bytes_came(
        up in messages(),
        down in messages(),
        cuts in prop::collection::vec(1usize..30, 1..6),
    ) {
        let (mut whole, mut cut) = (Dialogue::new(), Dialogue::new());
        let (mut keys, mut keys_cut) = (Vec::new(), Vec::new());
        whole.up(&up, NOW);
        whole.down(&down, NOW, |key| keys.push(key.to_vec()), |_took| {});
        pieces(&up, &cuts).for_each(|piece| cut.up(piece, NOW));
        pieces(&down, &cuts).for_each(|piece| cut.down(piece, NOW, |key| keys_cut.push(key.to_vec()), |_took| {}));
        prop_assert_eq!(whole.pause(), cut.pause());
        prop_assert_eq!(keys, keys_cut);
        // Nothing can be said in the middle of a message.
        let mut within = Dialogue::new();
        within.down(&down, NOW, |_key| {}, |_took| {});
        if within.pause() != Pause::None {
            within.down(b"D\0\0\0", NOW, |_key| {}, |_took| {});
            prop_assert_eq!(within.pause(), Pause::None);
        }
    }

    #[test]
    fn where_a_client_of_redis_stands_does_not_depend_on_how_bytes_came(
        up in values(),
        down in values(),
        cuts in prop::collection::vec(1usize..30, 1..6),
    ) {
        let (mut whole, mut cut) = (redis::dialogue::Dialogue::new(), redis::dialogue::Dialogue::new());
        whole.up(&up, NOW);
        whole.down(&down, NOW, |_took| {});
        pieces(&up, &cuts).for_each(|piece| cut.up(piece, NOW));
        pieces(&down, &cuts).for_each(|piece| cut.down(piece, NOW, |_took| {}));
        prop_assert_eq!(whole.is_quiet(), cut.is_quiet());
        whole.up(b"*1\r\n$4\r\nPING\r\n", NOW);
        prop_assert!(!whole.is_quiet(), "a command is under way");
    }
}
