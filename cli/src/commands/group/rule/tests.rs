use super::*;

#[test]
fn a_rule_keeps_its_place_unless_it_is_to_be_the_first() {
    let rule = |pattern: &str| TagRule { pattern: pattern.into(), ..TagRule::default() };
    for (pattern, first, expected) in
        [("b", false, "a b c"), ("d", false, "a b c d"), ("b", true, "b a c"), ("d", true, "d a b c")]
    {
        let mut rules = vec![rule("a"), rule("b"), rule("c")];
        put(&mut rules, TagRule { immutable: Some(true), ..rule(pattern) }, first);
        let patterns: Vec<_> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
        assert_eq!(patterns.join(" "), expected);
        assert!(rules.iter().all(|rule| (rule.pattern == pattern) == (rule.immutable == Some(true))));
    }
}
