//! A connection that leads to a server: bytes both ways, for as long as the server has the role.

use mainstay_core::roles::{Access, Target};

use super::reach::Reached;
use super::{Case, farewell};
use crate::postgres::dialogue::Pause;
use crate::postgres::error;
use crate::splice::{self, Ended, Watch};
use crate::state::Seat;
use crate::stream::{Buffer, Stream};
use crate::{postgres, redis};

/// What is understood of what goes through.
#[derive(Debug)]
pub(super) enum Dialogue {
    /// Nothing: TLS passes through.
    Opaque,
    Postgres(postgres::dialogue::Dialogue),
    Redis(redis::dialogue::Dialogue),
}

struct Session<'a> {
    case: &'a Case<'a>,
    target: Target,
    seat: Seat,
    /// What was known when it was last looked whether the server has the role.
    epoch: u64,
    dialogue: Dialogue,
}

impl Session<'_> {
    /// Where the client could be told something.
    fn pause(&self) -> Pause {
        match &self.dialogue {
            Dialogue::Opaque => Pause::None,
            Dialogue::Postgres(dialogue) => dialogue.pause(),
            Dialogue::Redis(dialogue) if dialogue.is_quiet() => Pause::Quiet,
            Dialogue::Redis(_) => Pause::None,
        }
    }

    /// Nothing is answered any more.
    fn end(&mut self) {
        let took = |duration| self.case.counters().duration.record(duration);
        match &mut self.dialogue {
            Dialogue::Opaque => {}
            Dialogue::Postgres(dialogue) => dialogue.end(self.case.now(), took),
            Dialogue::Redis(dialogue) => dialogue.end(self.case.now(), took),
        }
    }
}

impl Watch for Session<'_> {
    fn up(&mut self, bytes: &[u8]) {
        match &mut self.dialogue {
            Dialogue::Opaque => {}
            Dialogue::Postgres(dialogue) => dialogue.up(bytes, self.case.now()),
            Dialogue::Redis(dialogue) => dialogue.up(bytes, self.case.now()),
        }
    }

    fn down(&mut self, bytes: &[u8]) {
        let took = |duration| self.case.counters().duration.record(duration);
        match &mut self.dialogue {
            Dialogue::Opaque => {}
            Dialogue::Postgres(dialogue) => {
                dialogue.down(bytes, self.case.now(), |key| self.seat.remember(key), took);
            }
            Dialogue::Redis(dialogue) => dialogue.down(bytes, self.case.now(), took),
        }
    }

    fn is_between(&self) -> bool {
        matches!(self.dialogue, Dialogue::Opaque) || self.pause() != Pause::None
    }

    fn is_over(&mut self) -> bool {
        let (group, epoch) = (self.case.group, self.case.group.epoch());
        if self.epoch == epoch {
            return false;
        }
        self.epoch = epoch;
        group.is_left() || !group.roles().keeps(self.case.spec.access, &self.target)
    }
}

/// Carries bytes between a client and the server that was found for it.
pub(super) async fn run(
    case: &Case<'_>,
    client: &mut Stream,
    reached: Reached,
    (input, output): (&mut Buffer, &mut Buffer),
    dialogue: Dialogue,
) {
    let Reached { mut stream, target, seat, epoch } = reached;
    let mut session = Session { case, target, seat, epoch, dialogue };
    let buffers = (input, &mut *output);
    let idle = case.spec.idle_timeout;
    let moved = splice::run(case.worker, case.slot, client, &mut stream, buffers, idle, &mut session).await;
    let pause = if output.is_empty() { session.pause() } else { Pause::None };
    session.end();
    let told = match moved.ended {
        Ended::Closed => return,
        ended => last_words(case, &session, ended, pause),
    };
    if moved.ended == Ended::Over {
        let counters = case.counters();
        if told.is_some() {
            counters.cut_told.add(1)
        } else {
            counters.cut_reset.add(1)
        }
        // What the old server still has for the client is not to look like all there is.
        stream.reset_on_close();
    }
    drop(stream);
    drop(session);
    match told {
        Some(told) => farewell::say(case, client, &told).await,
        None if moved.ended == Ended::Over => client.reset_on_close(),
        None => {}
    }
}

/// What a client is told at the end of a connection that neither side has ended.
fn last_words(case: &Case<'_>, session: &Session<'_>, ended: Ended, pause: Pause) -> Option<Vec<u8>> {
    let is_redis = match &session.dialogue {
        Dialogue::Opaque => return None,
        Dialogue::Postgres(_) => false,
        Dialogue::Redis(_) => true,
    };
    let group = &case.spec.group;
    let why = match (ended, case.spec.access) {
        (Ended::Over, Access::Write) => format!("the primary of database group {group} changes"),
        (Ended::Over, Access::Read { .. }) => format!("this server of database group {group} is not for readers now"),
        (Ended::Idle, _) => "nothing has moved for too long".to_owned(),
        (Ended::Draining | Ended::Closed, _) => "the gateway leaves".to_owned(),
    };
    if is_redis {
        // Said at another end, it would only be taken for the answer to a command that may have been carried out.
        let is_due = pause == Pause::Quiet && ended == Ended::Over;
        return is_due.then(|| redis::error("READONLY", &format!("{why}; connect again")));
    }
    let (code, message) = match (pause, ended) {
        (Pause::None, _) => return None,
        (Pause::Quiet, Ended::Idle) => (error::IDLE_TIMEOUT, format!("terminating connection: {why}")),
        (Pause::Quiet, _) => (error::ADMIN_SHUTDOWN, format!("terminating connection: {why}")),
        (Pause::Busy, _) => {
            let unknown = "whether what was under way has been carried out is not known";
            (error::RESOLUTION_UNKNOWN, format!("terminating connection: {why}; {unknown}"))
        }
    };
    Some(error::fatal(code, &message, "Connect again; new connections are led to the server that has the role now."))
}
