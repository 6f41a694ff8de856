//! The guarantees of every [`BlobStore`], checked for each implementation: a local disk, S3 (a real server of its own, by a
//! link that can be cut) with and without a node cache, and the library's object store in memory.

mod cases;
mod place;

use self::place::Place;

/// Runs every case in a place of its own.
macro_rules! conforms {
    ($place:expr, $($case:ident),+ $(,)?) => {{
        $(
            eprintln!("{}", stringify!($case));
            cases::$case(&$place).await;
        )+
    }};
}

macro_rules! suite {
    ($place:expr) => {
        conforms!(
            $place,
            nothing_is_visible_before_its_commit_and_all_of_it_after,
            what_is_given_up_leaves_nothing_behind,
            a_commit_takes_as_many_bytes_as_it_says,
            ranges_are_exact_to_the_byte,
            commits_of_the_same_blob_at_once_all_succeed,
            a_blob_may_be_deleted_while_it_is_read,
            lists_come_in_pages_in_the_order_of_digests,
            what_is_damaged_is_put_aside_and_can_be_stored_again,
            a_probe_leaves_nothing_behind,
            a_restart_finds_what_was_stored_and_nothing_that_was_half_stored,
            one_process_at_a_time_uses_it,
            trouble_is_never_a_miss,
            other_bytes_never_pass_for_a_blob_where_they_are_fetched,
        )
    };
}

#[tokio::test]
async fn a_local_disk_conforms() {
    suite!(Place::disk());
}

#[tokio::test]
async fn s3_conforms() {
    let s3 = place::S3::start().await;
    suite!(s3.place(1 << 30).await);
}

#[tokio::test]
async fn s3_without_a_node_cache_conforms() {
    let s3 = place::S3::start().await;
    suite!(s3.place(0).await);
}

#[tokio::test]
async fn an_object_store_in_memory_conforms() {
    suite!(Place::memory());
}
