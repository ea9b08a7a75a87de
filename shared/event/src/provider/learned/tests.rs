//! Tests of learning: majorities, moves, votes, bounds, and what an attacker can reach.

use super::*;

const GOOGLE: &str = "google-workspace";
const MICROSOFT: &str = "microsoft-365";

fn evidence(entries: &[(&str, &str, u32)]) -> EvidenceCounts {
    let mut evidence = EvidenceCounts::default();
    for (domain, provider, count) in entries {
        evidence.add(domain, provider, *count);
    }
    evidence
}

fn learned(domain: &str, provider: &'static str, outcomes: u32) -> LearnedDomain {
    LearnedDomain { domain: domain.into(), provider, outcomes }
}

#[test]
fn merging_evidence_adds_and_does_not_depend_on_the_order() {
    let one = evidence(&[("a.example", MICROSOFT, 1), ("b.example", GOOGLE, 2)]);
    let other = evidence(&[("a.example", GOOGLE, 3), ("a.example", MICROSOFT, u32::MAX)]);
    let (mut left, mut right) = (one.clone(), other.clone());
    left.merge(&other);
    right.merge(&one);
    assert_eq!(left, right);
    let expected = [("a.example", GOOGLE, 3), ("a.example", MICROSOFT, u32::MAX), ("b.example", GOOGLE, 2)];
    assert!(left.iter().eq(expected));
}

#[test]
fn bounded_evidence_keeps_the_domains_with_the_most() {
    let mut many = evidence(&[("big.example", GOOGLE, 9)]);
    for number in 0..EvidenceCounts::MAX_DOMAINS + 50 {
        many.add(&format!("d{number}.example"), GOOGLE, 1);
    }
    let kept = many.clone().bounded();
    assert_eq!(kept.counts.len(), EvidenceCounts::MAX_DOMAINS);
    assert!(kept.iter().any(|(domain, ..)| domain == "big.example"));
    assert_eq!(kept.clone().bounded(), kept);
}

#[test]
fn majority_of_a_tenants_outcomes_decides_and_a_move_is_followed() {
    let mut tenant = LearnedProviders::default();
    assert_eq!(tenant.learn(&evidence(&[("a.example", GOOGLE, 2), ("a.example", MICROSOFT, 2)])), []);
    assert_eq!(tenant.get("a.example"), None);
    let news = tenant.learn(&evidence(&[("a.example", GOOGLE, 1000)]));
    assert_eq!(news, [learned("a.example", GOOGLE, 16)]);
    // The domain moves: as many outcomes as the largest lead, and one more.
    assert_eq!(tenant.learn(&evidence(&[("a.example", MICROSOFT, 16)])), []);
    assert_eq!(tenant.get("a.example"), Some(GOOGLE));
    assert_eq!(tenant.learn(&evidence(&[("a.example", MICROSOFT, 1)])), [learned("a.example", MICROSOFT, 1)]);
    assert_eq!(tenant.get("a.example"), Some(MICROSOFT));
    // Providers that this version does not list teach nothing.
    assert_eq!(tenant.learn(&evidence(&[("b.example", "a-provider-of-tomorrow", 9)])), []);
}

#[test]
fn third_outcome_is_news_for_the_shared_table() {
    let mut tenant = LearnedProviders::default();
    let once = evidence(&[("a.example", GOOGLE, 1)]);
    assert_eq!(tenant.learn(&once), [learned("a.example", GOOGLE, 1)]);
    assert_eq!(tenant.learn(&once), []);
    assert_eq!(tenant.learn(&once), [learned("a.example", GOOGLE, 3)]);
    assert_eq!(tenant.learn(&once), []);
}

#[test]
fn table_of_a_tenant_is_bounded_and_keeps_what_is_best_proven() {
    let mut tenant = LearnedProviders::default();
    tenant.learn(&evidence(&[("z.example", GOOGLE, 5)]));
    for part in 0..12 {
        let mut batch = EvidenceCounts::default();
        for number in 0..1000 {
            batch.add(&format!("d{part}-{number}.example"), MICROSOFT, 1);
        }
        tenant.learn(&batch);
    }
    let bytes: usize =
        tenant.leaders.iter().map(|(domain, leader)| entry_bytes(domain, &leader.provider)).sum();
    assert!((LearnedProviders::MAX_BYTES - 60..=LearnedProviders::MAX_BYTES).contains(&bytes), "{bytes}");
    assert_eq!(tenant.get("z.example"), Some(GOOGLE));
}

#[test]
fn shared_table_takes_a_domain_after_two_tenants_agree() {
    let mut shared = SharedProviders::default();
    assert!(shared.vote(1, false, [&learned("a.example", GOOGLE, 16)]));
    assert_eq!(shared.get("a.example"), None, "one tenant, however many outcomes it reports");
    let again = shared.vote(1, false, [&learned("a.example", GOOGLE, 16)]);
    assert!(!again, "a second vote of the same tenant changes nothing");
    assert!(shared.vote(2, false, [&learned("a.example", GOOGLE, 1)]));
    assert_eq!(shared.get("a.example"), Some(GOOGLE));
}

#[test]
fn shared_table_takes_a_domain_after_three_outcomes_of_the_only_tenant() {
    let mut shared = SharedProviders::default();
    shared.vote(1, true, [&learned("a.example", GOOGLE, 2)]);
    assert_eq!(shared.get("a.example"), None);
    shared.vote(1, true, [&learned("a.example", GOOGLE, 3)]);
    assert_eq!(shared.get("a.example"), Some(GOOGLE));
    // It stays when there are more tenants, and then it takes two of them to displace it.
    shared.vote(2, false, [&learned("a.example", MICROSOFT, 9)]);
    assert_eq!(shared.get("a.example"), Some(GOOGLE));
}

#[test]
fn adopted_provider_gives_way_to_the_tenants_own_evidence() {
    let mut tenant = LearnedProviders::default();
    tenant.adopt("a.example", GOOGLE);
    assert_eq!(tenant.get("a.example"), Some(GOOGLE));
    assert_eq!(tenant.learn(&evidence(&[("a.example", MICROSOFT, 1)])), [learned("a.example", MICROSOFT, 1)]);
    tenant.adopt("a.example", GOOGLE);
    assert_eq!(tenant.get("a.example"), Some(MICROSOFT));
    // What was adopted is not the tenant's own vote until its own outcomes say the same.
    tenant.adopt("b.example", GOOGLE);
    assert_eq!(tenant.learn(&evidence(&[("b.example", GOOGLE, 1)])), [learned("b.example", GOOGLE, 1)]);
}

#[test]
fn one_tenant_cannot_displace_what_two_agree_on() {
    let mut shared = SharedProviders::default();
    shared.vote(1, false, [&learned("a.example", GOOGLE, 3)]);
    shared.vote(2, false, [&learned("a.example", GOOGLE, 3)]);
    for _ in 0..10 {
        shared.vote(9, false, [&learned("a.example", MICROSOFT, 16)]);
        assert_eq!(shared.get("a.example"), Some(GOOGLE));
    }
    // A second attacker draws level, which is not enough.
    shared.vote(8, false, [&learned("a.example", MICROSOFT, 16)]);
    assert_eq!(shared.get("a.example"), Some(GOOGLE));
    // The domain does move: the tenants that named the old provider name the new one.
    shared.vote(1, false, [&learned("a.example", MICROSOFT, 1)]);
    shared.vote(2, false, [&learned("a.example", MICROSOFT, 1)]);
    assert_eq!(shared.get("a.example"), Some(MICROSOFT));
}

#[test]
fn invented_domains_do_not_displace_agreed_ones() {
    let mut shared = SharedProviders::default();
    for voter in [1, 2] {
        shared.vote(voter, false, [&learned("z.example", GOOGLE, 3)]);
    }
    let invented: Vec<LearnedDomain> =
        (0..12_000).map(|number| learned(&format!("d{number}.example"), MICROSOFT, 3)).collect();
    shared.vote(9, false, &invented);
    assert!(shared.candidates.len() < 12_000);
    assert_eq!(shared.get("z.example"), Some(GOOGLE));
}

#[test]
fn part_of_a_domain_never_changes() {
    let parts = ["a.example", "b.example", "acme.test", ""].map(SharedProviders::part_of);
    assert_eq!(parts, [10, 23, 15, 25]);
}

#[test]
fn markers_resolve_to_what_is_known() {
    let mut known = LearnedProviders::default();
    known.adopt("a.example", GOOGLE);
    let marker = |domain| format!("{}{domain}", super::super::UNRESOLVED);
    assert_eq!(known.resolve(&marker("a.example")), GOOGLE);
    assert_eq!(known.resolve(&marker("b.example")), OTHER);
    assert_eq!(known.resolve_known(&marker("b.example")), "?b.example");
    for value in ["gmail", "(none)", "(several)", ""] {
        assert_eq!((known.resolve(value), known.resolve_known(value)), (value, value));
    }
}
