//! Retention: links that nobody has pulled by for as long as their group says are removed, by the rule of
//! [`purge`](crate::purge), one repository a transaction, so that pulls never wait long.

use std::sync::atomic::Ordering;

use super::{
    Plane, PlaneResult,
    purge::{remove, void_links},
};
use crate::{
    audit::Entry,
    group::Group,
    purge::Filter,
    store::{audit, groups, inventory},
};

/// How often it is done, in milliseconds: an hour, which is little against the shortest retention, a day.
const EVERY_MS: i64 = 3600 * 1000;

impl Plane {
    /// Does it for all groups, if it is time.
    pub(super) async fn retain(&self) -> PlaneResult<()> {
        let now_ms = self.clock.now_ms();
        if now_ms - self.retained_at_ms.load(Ordering::Relaxed) < EVERY_MS {
            return Ok(());
        }
        let groups = groups::with_retention(&mut *self.store.read().await?).await?;
        for group in groups {
            self.retain_group(&group, now_ms).await?;
        }
        self.retained_at_ms.store(now_ms, Ordering::Relaxed);
        Ok(())
    }

    async fn retain_group(&self, group: &Group, now_ms: i64) -> PlaneResult<()> {
        let used_before_ms = now_ms.saturating_sub(group.settings.retention_ms);
        let mut tx = self.store.read().await?;
        let places = inventory::repositories_unused_since(&mut tx, &group.id, used_before_ms).await?;
        drop(tx);
        for place in places {
            let filter = Filter { used_before_ms: Some(used_before_ms), ..Filter::default() };
            // Looked at without keeping writers out: mostly there is nothing to do.
            let held = inventory::load(&mut *self.store.read().await?, &place).await?;
            if crate::purge::select(&held, &filter).digests.is_empty() {
                continue;
            }
            let mut tx = self.store.write().await?;
            let unchanged = groups::by_id(&mut tx, &group.id).await?;
            let Some(group) = unchanged.filter(|now| now.settings.retention_ms == group.settings.retention_ms) else {
                // Deleted, or changed in between: the next round looks anew.
                return Ok(());
            };
            let image = place.to_string();
            let held = inventory::load(&mut tx, &place).await?;
            let purged = remove(&mut tx, &place, &held, &crate::purge::select(&held, &filter), now_ms).await?;
            void_links(&mut tx, &group.id, now_ms).await?;
            let done = Entry::by_server("cache.expire", image).of_group(&group.path).detail(purged.to_string());
            audit::record(&mut tx, &done, now_ms).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
