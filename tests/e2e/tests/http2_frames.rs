//! HTTP/2 frame by frame: what a client must not do, and what it may. Every case names the section that asks for its
//! verdict; after each of them another client is served.

#[path = "http2_frames/bodies.rs"]
mod bodies;
#[path = "http2_frames/case.rs"]
mod case;
#[path = "http2_frames/connection.rs"]
mod connection;
#[path = "http2_frames/floods.rs"]
mod floods;
#[path = "http2_frames/messages.rs"]
mod messages;
#[path = "http2_frames/stand.rs"]
mod stand;
#[path = "http2_frames/streams.rs"]
mod streams;

use case::Case;
use stand::Stand;

const CONNECTIONS: &[&[Case]] = &[
    connection::PREFACE,
    connection::SETTINGS,
    connection::SIZES,
    connection::PADDING,
    connection::STREAM_ZERO,
    connection::HARMLESS,
    connection::WINDOWS,
];
const STREAMS: &[&[Case]] = &[streams::IDS, streams::IDLE, streams::HALF_CLOSED, streams::OVER, streams::CONTINUATIONS];
const MESSAGES: &[&[Case]] = &[messages::COMPRESSED, messages::PSEUDO, messages::FIELDS, bodies::BODIES];

#[test]
fn connections() {
    Stand::start().run(&CONNECTIONS.concat());
}

#[test]
fn streams_and_blocks() {
    Stand::start().run(&STREAMS.concat());
}

#[test]
fn messages_and_compression() {
    Stand::start().run(&MESSAGES.concat());
}

/// The same engine is behind TLS, so every seventh case shows that its verdicts arrive there too.
#[test]
fn some_of_each_over_tls() {
    let all = [CONNECTIONS, STREAMS, MESSAGES].concat().concat();
    let some: Vec<Case> = all.into_iter().filter(|(section, ..)| *section != "3.4").step_by(7).collect();
    assert!(some.len() >= 20, "{}", some.len());
    Stand::start_tls().run(&some);
}

#[test]
fn there_are_at_least_a_hundred_cases_and_no_name_comes_twice() {
    let all = [CONNECTIONS, STREAMS, MESSAGES].concat().concat();
    let mut names: Vec<&str> = all.iter().map(|(_, name, ..)| *name).collect();
    assert!(names.len() >= 100, "{}", names.len());
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
