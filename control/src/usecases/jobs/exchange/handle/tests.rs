use std::{collections::HashMap, sync::Arc};

use super::*;
use crate::{jobs::Progress, store::jobs::job::JobRow};

fn row(is_offered: bool, reports: i64, report: &Report) -> Jobs {
    let report = serde_json::to_string(report).unwrap();
    Arc::new(HashMap::from([("1".to_owned(), JobRow { id: "1".into(), is_offered, reports, report })]))
}

fn progress(fetched_bytes: i64) -> Report {
    Report::Progress(Progress { fetched_bytes, ..Progress::default() })
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_five_seconds_for_a_node_and_fifteen_for_its_next_report() {
    let jobs = watch::Sender::<Jobs>::default();
    let started = Instant::now();
    assert_eq!(Wait::new("1", jobs.subscribe()).next().await, Err(JobError::NoNode));
    assert_eq!(started.elapsed(), CLAIM_TIMEOUT);
    let mut wait = Wait::new("1", jobs.subscribe());
    for reports in 1..=3 {
        tokio::time::advance(Duration::from_secs(4)).await;
        jobs.send_replace(row(false, reports, &progress(reports)));
        assert_eq!(wait.next().await, Ok(progress(reports)));
    }
    let heard = Instant::now();
    assert_eq!(wait.next().await, Err(JobError::Silent));
    assert_eq!(heard.elapsed(), REPORT_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn each_report_is_told_once_and_of_several_the_last() {
    let jobs = watch::Sender::new(row(true, 0, &progress(0)));
    let mut wait = Wait::new("1", jobs.subscribe());
    assert!(wait.look().is_none());
    jobs.send_replace(row(false, 1, &progress(1)));
    jobs.send_replace(row(false, 2, &progress(2)));
    assert_eq!(wait.next().await, Ok(progress(2)));
    jobs.send_replace(row(false, 2, &progress(2)));
    assert!(wait.look().is_none(), "another job changed");
    jobs.send_replace(row(false, 3, &Report::CredentialGood));
    assert_eq!(wait.next().await, Ok(Report::CredentialGood));
    jobs.send_replace(Jobs::default());
    assert_eq!(wait.next().await, Err(JobError::Silent), "it was not kept in time");
}
