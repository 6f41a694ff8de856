use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use tower::ServiceExt;

use super::*;

async fn get(path: &str, ready: Result<(), &'static str>) -> (StatusCode, String, String) {
    let readiness: Readiness = Arc::new(move || Box::pin(async move { ready.map_err(str::to_owned) }));
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router(Arc::new(registry()), readiness).oneshot(request).await.unwrap();
    let content_type = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let (status, body) = (answer.status(), to_bytes(answer.into_body(), 1 << 20).await.unwrap());
    (status, content_type, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn metrics_are_openmetrics_with_build_and_process() {
    let (status, content_type, page) = get("/metrics", Ok(())).await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, OPENMETRICS));
    assert!(page.contains(concat!("roadstead_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")), "{page}");
    assert!(page.contains("process_resident_memory_bytes "), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test]
async fn not_ready_is_503_with_the_reason_and_alive_all_the_same() {
    let (status, _, reason) = get("/readyz", Err("no snapshot yet")).await;
    assert_eq!((status, reason.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet\n"));
    assert_eq!(get("/readyz", Ok(())).await.0, StatusCode::OK);
    assert_eq!(get("/livez", Err("no snapshot yet")).await.0, StatusCode::OK);
}

#[test]
fn sizes_of_proc_are_in_kibibytes() {
    assert_eq!(kib("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2 << 20));
    assert_eq!(kib("Name:\tx\n", "VmRSS:"), None);
}
