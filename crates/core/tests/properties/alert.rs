use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::alert::{
    Alerts, Condition, Delivery, Fingerprint, Labels, Matcher, Millis, Phase, Policy, Receiver, Severity, Silences,
    State, Times,
};
use mainstay_core::backoff;
use mainstay_core::random::Rng;
use proptest::prelude::*;

const T0: Millis = 1_700_000_000_000;
const SECOND: Millis = 1000;
const TIMES: Times = Times { wait: 3 * SECOND, interval: 12 * SECOND, repeat: 30 * SECOND };

/// What goes on for some seconds.
#[derive(Clone, Debug)]
struct Stretch {
    seconds: u64,
    /// Which of the eight conditions hold.
    so: u8,
    /// Which of the two receivers work.
    works: [bool; 2],
    /// Messages that are under way are lost with the process, and another goes on from what was kept last.
    takeover: bool,
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let stretch = (1u64..16, any::<u8>(), prop::array::uniform2(prop::bool::weighted(0.7)), prop::bool::weighted(0.2));
    let stretch = stretch.prop_map(|(seconds, so, works, takeover)| Stretch { seconds, so, works, takeover });
    prop::collection::vec(stretch, 1..9)
}

fn policy() -> Policy {
    let receiver = |name: &str, severities: &[Severity]| Receiver {
        name: name.to_owned(),
        severities: severities.to_vec(),
        matchers: Vec::new(),
        group_by: vec!["alertname".to_owned(), "severity".to_owned()],
        times: TIMES,
        resolved: true,
    };
    let receivers = vec![receiver("a", &Severity::ALL), receiver("b", &[Severity::P1, Severity::P3])];
    let retry = backoff::Policy { base: Duration::from_secs(1), cap: Duration::from_secs(5) };
    Policy { receivers, dead_man: None, retry }
}

/// Eight conditions of two names and four severities; none explains another.
fn condition(index: u8) -> Condition {
    let severity = Severity::ALL[usize::from(index % 4)];
    let labels = Labels::new().with("thing", &index.to_string());
    let hold = if index.is_multiple_of(3) { 3 * SECOND } else { 0 };
    let keep = if index.is_multiple_of(2) { 2 * SECOND } else { 0 };
    Condition { hold, keep, ..Condition::new(["X", "Y"][usize::from(index / 4)], severity, labels, "") }
}

fn conditions(so: u8) -> Vec<Condition> {
    (0..8).filter(|index| so & (1 << index) != 0).map(condition).collect()
}

/// Which alerts a message says fire, since when, and whether they still do.
type Said = BTreeSet<(Fingerprint, Millis, bool)>;

/// What receivers were told.
#[derive(Default)]
struct Mailbox {
    told: BTreeMap<String, BTreeSet<Fingerprint>>,
    /// Of each group, when the last message arrived and what it said of which alerts fire.
    last: BTreeMap<String, (Millis, Said)>,
    /// Groups whose last message the sender has forgotten, and may send again.
    forgotten: BTreeSet<String>,
}

impl Mailbox {
    fn take(&mut self, now: Millis, message: &Delivery) -> Result<(), TestCaseError> {
        let forgotten = self.forgotten.remove(&message.group);
        let told = self.told.entry(message.receiver.clone()).or_default();
        told.extend(message.items.iter().map(|item| item.id));
        let says: Said = message.items.iter().map(|it| (it.id, it.since, it.ended.is_none())).collect();
        if let Some((at, said)) = self.last.insert(message.group.clone(), (now, says.clone())) {
            let least = TIMES.of(message.severity()).interval.min(TIMES.of(Severity::P1).interval);
            prop_assert!(forgotten || now - at >= least, "{} after {} ms", message.group, now - at);
            prop_assert!(forgotten || said != says || now - at >= TIMES.repeat, "repeated after {} ms", now - at);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn every_alert_arrives_and_repeats_keep_their_distance(stretches in stretches(), seed in any::<u64>()) {
        let mut rng = Rng::seeded(seed);
        let silences = Silences::new();
        let mut alerts = Alerts::new(policy(), State::default());
        let mut mailbox = Mailbox::default();
        let mut fired: BTreeSet<Fingerprint> = BTreeSet::new();
        let mut now = T0;
        let last = stretches.last().map_or(0, |stretch| stretch.so);
        // In the end everything works for long enough, and nothing changes.
        let heals = Stretch { seconds: 35, so: last, works: [true, true], takeover: false };
        for stretch in stretches.iter().chain([&heals]) {
            let so = conditions(stretch.so);
            for second in 0..stretch.seconds {
                alerts.observe(now, &so, &silences);
                // What is kept is kept before anything is sent.
                let kept = alerts.state().clone();
                fired.extend(kept.alerts.iter().filter(|(_id, it)| it.is_firing()).map(|(id, _it)| *id));
                let dies = stretch.takeover && second == stretch.seconds / 2;
                while let Some(message) = alerts.next(now) {
                    let works = stretch.works[usize::from(message.receiver == "b")];
                    if works {
                        mailbox.take(now, &message)?;
                    }
                    alerts.settled(now, message.id, works, &mut rng);
                }
                alerts.check_invariants();
                if dies {
                    alerts = Alerts::new(policy(), kept);
                    let lost = mailbox.last.iter().filter(|(_group, (at, _said))| *at == now);
                    mailbox.forgotten.extend(lost.map(|(group, _last)| group.clone()));
                }
                now += SECOND;
            }
        }
        // Everybody was told of everything that fired and is for them, and knows how it stands.
        for receiver in &policy().receivers {
            let told = mailbox.told.get(&receiver.name).cloned().unwrap_or_default();
            for index in 0..8 {
                let condition = condition(index);
                let id = condition.labels.fingerprint();
                if !fired.contains(&id) || !receiver.takes(condition.severity, &condition.labels) {
                    continue;
                }
                prop_assert!(told.contains(&id), "{} was never told of {}", receiver.name, condition.labels);
            }
            for group in alerts.state().groups.values().filter(|group| group.receiver == receiver.name) {
                for (id, told) in &group.told {
                    let Some(alert) = alerts.state().alerts.get(id) else { continue };
                    prop_assert_eq!(told.firing, alert.is_firing(), "{} at {}", &alert.labels, &group.receiver);
                    prop_assert_eq!(Some(told.since), alert.fired());
                }
            }
        }
        for alert in alerts.state().alerts.values() {
            prop_assert!(!matches!(alert.phase, Phase::Pending), "nothing waits for ever");
        }
    }

    #[test]
    fn matchers_take_any_text_and_read_what_they_write(name in "[a-z_]{1,8}", value in ".{0,40}", other in ".{0,40}") {
        use mainstay_core::alert::Comparison::{Is, IsNot, Matches, MatchesNot};
        let labels = Labels::new().with(&name, &other);
        for comparison in [Is, IsNot, Matches, MatchesNot] {
            if let Ok(matcher) = Matcher::new(&name, comparison, &value) {
                let matches = matcher.matches(&labels);
                let opposite = match comparison { Is => IsNot, IsNot => Is, Matches => MatchesNot, MatchesNot => Matches };
                prop_assert_eq!(matches, !Matcher::new(&name, opposite, &value).unwrap().matches(&labels));
            }
        }
        let _any_text = Matcher::parse(&value);
        let plain = Matcher::new(&name, Is, "a \"quoted\" value").unwrap();
        prop_assert_eq!(Matcher::parse(&plain.to_string()), Ok(plain));
    }
}
