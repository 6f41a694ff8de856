use http::StatusCode;

use super::*;

fn anybody(last: u8) -> Origin {
    Origin::Anybody(Some([192, 0, 2, last].into()))
}

#[test]
fn sign_ins_of_many_clients_leave_places_for_callers_who_signed_in_and_those_leave_some_for_warm_pulls() {
    let places = Places::new(32);
    let mut held = Vec::new();
    for client in 0..255 {
        held.extend(places.enter(anybody(client), Work::Cold).ok());
    }
    assert_eq!(held.len(), 16);
    while let Ok(place) = places.enter(Origin::SignedIn, Work::Cold) {
        held.push(place);
    }
    assert_eq!(held.len(), 28);
    while let Ok(place) = places.enter(Origin::SignedIn, Work::Warm) {
        held.push(place);
    }
    assert_eq!(held.len(), 32);
    held.clear();
    assert!(places.enter(anybody(1), Work::Cold).is_ok());
}

#[test]
fn one_client_that_has_not_signed_in_takes_only_its_part() {
    let places = Places::new(64);
    let held: Vec<_> = std::iter::from_fn(|| places.enter(anybody(1), Work::Warm).ok()).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(places.enter(anybody(1), Work::Warm).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
    assert!(places.enter(anybody(2), Work::Warm).is_ok());
    assert!(places.enter(Origin::SignedIn, Work::Warm).is_ok());
    drop(held);
    assert!(places.enter(anybody(1), Work::Warm).is_ok());
}

#[test]
fn arriving_forms_are_counted_by_client_and_take_no_place_of_whole_requests() {
    let places = Places::new(64);
    let client = |last| Some([192, 0, 2, last].into());
    let held: Vec<_> = std::iter::from_fn(|| places.receive_form(client(1)).ok()).collect();
    assert_eq!(held.len(), FORMS_OF_ONE_CLIENT);
    assert!(places.receive_form(client(2)).is_ok());
    assert!(places.enter(anybody(1), Work::Warm).is_ok());
}
