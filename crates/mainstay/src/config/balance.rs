//! `service.balance` and `service.hash`: how requests spread.

use mainstay_core::balance;
use mainstay_gateway::spec::{Balance, HashKey};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{keys, words};

/// How loaded an endpoint may be with bounded loads, in percent of the mean, unless the configuration says otherwise.
const BOUNDED_PERCENT: u32 = 125;

/// The ways to balance, by their names.
pub(super) const BALANCE: &[(&str, balance::Policy)] = &[
    ("least-request", balance::Policy::LeastRequest),
    ("peak-ewma", balance::Policy::PeakEwma),
    ("round-robin", balance::Policy::RoundRobin),
    ("random", balance::Policy::Random),
    ("hash", balance::Policy::Hash),
];

/// How requests spread.
pub(super) fn read(section: &Section<'_>) -> Balance {
    let policy = section.field("balance", balance::Policy::LeastRequest, |item| item.one_of(BALANCE));
    let hash = section.item("hash");
    let mut bounded_percent = None;
    if let Some(hash) = &hash
        && policy.is_good
        && policy.value != balance::Policy::Hash
    {
        hash.error(Fault::new("`hash` has no effect without balance = \"hash\""));
    }
    let key = hash.and_then(|item| read_hash(&item, &mut bounded_percent)).unwrap_or(HashKey::Source);
    Balance { policy: policy.value, key, bounded_percent }
}

fn read_hash(item: &Item<'_>, bounded_percent: &mut Option<u32>) -> Option<HashKey> {
    if !item.is_table() {
        return match item.word() {
            Some("source") => Some(HashKey::Source),
            Some(_) | None => {
                let hint = "write \"source\", { header = \"x-user\" } or { cookie = \"sid\" }";
                item.error(Fault::new("this is nothing to hash by").hint(hint));
                None
            }
        };
    }
    let section = item.section(&keys::HASH)?;
    *bounded_percent = section.field("bounded_load", None, read_bound).value;
    let header = section.field("header", None, |item| item.parsed(words::header_name).map(Some));
    // The name of a cookie is a token, as that of a header is, but case counts.
    let cookie = section.field("cookie", None, |item| {
        item.parsed(|text| words::header_name(text).map(|_lower| text.to_owned())).map(Some)
    });
    let source = section.flag("source", false);
    let given = [header.is_given, cookie.is_given, source.value].iter().filter(|given| **given).count();
    if given != 1 {
        let fault = Fault::new("one of `header`, `cookie` and `source = true` is needed here");
        section.reader.error_if_whole(&section.place, fault);
    }
    let named = header.value.map(HashKey::Header).or(cookie.value.map(HashKey::Cookie));
    named.or(source.value.then_some(HashKey::Source))
}

/// `true`, or how loaded an endpoint may be.
fn read_bound(item: &Item<'_>) -> Option<Option<u32>> {
    match item.as_flag() {
        Some(true) => Some(Some(BOUNDED_PERCENT)),
        Some(false) => Some(None),
        // Between 100 and 1000 percent, so that nothing is cut off.
        None => item.share(&(1.0..=10.0)).map(|share| Some((share * 100.0).round() as u32)),
    }
}
