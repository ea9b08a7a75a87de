//! User agents as they arrive, and who is behind them.

use super::*;

#[test]
fn a_bare_mozilla_is_apples_proxy() {
    let signs = Signs { user_agent: "Mozilla/5.0", ..Signs::default() };
    assert_eq!(judge(&signs), Verdict::Machine("apple_mpp"));
}

#[test]
fn every_rule_can_be_read_and_says_where_it_is_from() {
    let file = rules::RuleFile::built_in().unwrap();
    assert_eq!(file.version, RULES_VERSION);
    for rule in &file.rules {
        assert!(rule.source.len() > 8, "{rule:?}");
    }
}
