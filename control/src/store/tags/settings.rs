//! A group's rules for tags, as the JSON they are stored as.

use serde::{Deserialize, Serialize};

use crate::rules::tags::settings::TagRule;
use crate::store::{StoreError, StoreResult, parse};

/// A rule as it is stored; what it does not say is left out.
#[derive(Serialize, Deserialize)]
struct StoredRule {
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_stale_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    immutable: Option<bool>,
}

/// Reads rules.
pub fn read(text: String) -> StoreResult<Vec<TagRule>> {
    let Ok(stored) = serde_json::from_str::<Vec<StoredRule>>(&text) else {
        return Err(StoreError::Corrupt { what: "list of tag rules", value: text });
    };
    stored
        .into_iter()
        .map(|rule| {
            Ok(TagRule {
                pattern: parse("pattern of images", rule.pattern)?,
                max_age_ms: rule.max_age_ms,
                max_stale_ms: rule.max_stale_ms,
                cooldown_ms: rule.cooldown_ms,
                missing_tag: rule.missing_tag.map(|word| parse("meaning of missing tags", word)).transpose()?,
                immutable: rule.immutable,
            })
        })
        .collect()
}

/// Writes rules.
pub fn write(rules: &[TagRule]) -> StoreResult<String> {
    let stored: Vec<_> = rules
        .iter()
        .map(|rule| StoredRule {
            pattern: rule.pattern.to_string(),
            max_age_ms: rule.max_age_ms,
            max_stale_ms: rule.max_stale_ms,
            cooldown_ms: rule.cooldown_ms,
            missing_tag: rule.missing_tag.map(|missing| missing.as_str().to_owned()),
            immutable: rule.immutable,
        })
        .collect();
    serde_json::to_string(&stored)
        .map_err(|error| StoreError::Corrupt { what: "list of tag rules", value: error.to_string() })
}
