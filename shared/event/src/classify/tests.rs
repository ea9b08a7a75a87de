//! Real-looking answers of the world's mail servers, and what they mean.

use super::*;

#[test]
fn suppressed_sends_are_never_tried() {
    let fields = BounceFields { bounce_type: "Permanent", sub_type: "Suppressed", ..BounceFields::default() };
    assert_eq!(bounce(&fields).suppression, Some(Suppression::Other));
}

#[test]
fn every_rule_can_be_read_and_says_where_it_is_from() {
    let file = rules::RuleFile::built_in().unwrap();
    for rule in &file.rules {
        assert!(rule.source.len() > 8, "{rule:?}");
    }
}
